"""Files whose pixels are ids of instances: gray, palette, of 1 to 32 bits, PNG or TIFF."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from solojax.data.findings import Findings
from solojax.data.foreign.files import decode
from solojax.data.images.files import describe_fault
from solojax.types import InputError

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm")
FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")  # those that keep values as they are
SOFT = 8, 64  # grays, or the brightest, from which on grays may be soft edges
THIN = 0.02  # of the pixels of soft edges have the same gray on all four sides, at most
THICK = 0.1  # of the pixels of objects do, at least
FEW, MANY = 2.2, 6  # parts of a gray, on average
SPECK, SPOT = 1.7, 2  # pixels of a part of a gray, on average
TOUCHING = 0.9  # of the pixels of soft edges lie beside others that are set
VOID = (224, 224, 192)  # the colour of 255 in Pascal VOC: the seam around objects


def read_ids(path: Path, place: str, findings: Findings, are_labels: bool = False) -> np.ndarray:
    """The ids of a mask file, ``H W`` of unsigned integers, turned as EXIF asks for.

    Indices are the ids of a palette, unless it is of grays, which are then. Bits that are set in a
    mask of one bit are 255. Where values ``are_labels``, all are as they are written.

    Raises:
      InputError: the file is damaged or has colours, fractions or numbers below 0.
    """
    what = "classes" if are_labels else "ids"
    encoded = path.read_bytes()
    pixels = _decode(encoded, place, findings, are_labels)
    if pixels is None:
        kind = f"is a JPEG, which changes {what};" if encoded[:2] == b"\xff\xd8" else ""
        raise InputError(
            f"{path} {kind or describe_fault(encoded).partition(';')[0] + ';'} save masks as PNG "
            "or TIFF of one channel"
        )
    if pixels.ndim == 3:
        if (pixels[..., :1] != pixels[..., :3]).any():
            raise InputError(
                f"{path} has colours, not one channel of {what}; save {what} as gray or palette"
                + ("" if are_labels else ", 0 for the background")
            )
        pixels = pixels[..., 0]
        findings.add("repaired", "masks of three equal channels, read as one", place)
    if pixels.dtype == np.uint8 and not are_labels:
        _check_edges(pixels, path)
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
            raise InputError(f"{path} has fractions for {what}; save it as whole numbers")
        pixels = pixels.astype(np.int64)
    if pixels.dtype.kind == "i":
        if pixels.size and pixels.min() < 0:
            none = "what is no class as 255" if are_labels else "the background as 0"
            raise InputError(f"{path} has the value {pixels.min()}; save {none}")
        pixels = pixels.astype(np.uint64 if pixels.dtype.itemsize > 4 else np.uint32)
    return pixels


def _check_edges(pixels: np.ndarray, path: Path) -> None:
    """Raises InputError where grays are the soft edges of a mask of 0 and 255, and no ids.

    Edges are thin: hardly a pixel has its own gray on all sides. They lie along objects that are
    brighter and thick, or fall into specks, many of each gray. Ids are thick, or by themselves.
    """
    counts = np.bincount(pixels.ravel(), minlength=256)
    top = int(np.flatnonzero(counts)[-1]) if pixels.size else 0
    grays = np.flatnonzero(counts[1:top]) + 1
    if not len(grays) or (len(grays) < SOFT[0] and top < SOFT[1]):
        return
    across, down = pixels[:, 1:] == pixels[:, :-1], pixels[1:] == pixels[:-1]
    inside = across[1:-1, 1:] & across[1:-1, :-1] & down[1:, 1:-1] & down[:-1, 1:-1]
    within = np.bincount(pixels[1:-1, 1:-1][inside], minlength=256)
    count = counts[grays].sum()
    if within[grays].sum() > THIN * count:
        return
    # The parts of grays, less their holes, by Euler's formula.
    equal = [pixels[:, 1:][across], pixels[1:][down]]
    tiles = pixels[1:, 1:][across[1:] & across[:-1] & down[:, 1:]]
    between = [int(((one > 0) & (one < top)).sum()) for one in (*equal, tiles)]
    parts = count - between[0] - between[1] + between[2]
    beside = np.zeros(pixels.shape, bool)  # others that are set
    beside[:, 1:] |= ~across & (pixels[:, :-1] > 0)
    beside[:, :-1] |= ~across & (pixels[:, 1:] > 0)
    beside[1:] |= ~down & (pixels[:-1] > 0)
    beside[:-1] |= ~down & (pixels[1:] > 0)
    touching = beside[(pixels > 0) & (pixels < top)].mean() >= TOUCHING
    several, many = parts >= FEW * len(grays), parts >= MANY * len(grays)
    thick = within[top] >= THICK * counts[top]
    if (
        (several and (thick or count <= SPECK * parts))
        or (touching and thick and parts > 1)
        or (touching and (many or count <= SPOT * parts))
    ):
        raise InputError(
            f"{path} is a mask of 0 and {top} with {len(grays)} grays between, the soft edges of "
            f"a smoothed or JPEG image; save it again with 0 and {top} alone"
        )


def _decode(encoded: bytes, place: str, findings: Findings, are_labels: bool) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                pages = getattr(image, "n_frames", 1)
                ids = _ids_of(ImageOps.exif_transpose(image), place, findings, are_labels)
    except Image.DecompressionBombError:  # its limit is lower than what OpenCV holds
        return decode(encoded, cv2.IMREAD_UNCHANGED)
    except Exception:  # whatever a damaged file brings about
        return None
    if pages > 1:
        findings.add(
            "doubtful",
            "masks of more than one page, of which the first is read",
            f"{place}: {pages} pages",
            cure="save each page as a file, beside the image it belongs to",
        )
    return ids


def _ids_of(image: Image.Image, place: str, findings: Findings, are_labels: bool) -> np.ndarray:
    if image.mode == "1" and are_labels:
        return np.array(image, np.uint8)
    if image.mode in ("1", "LA", "La"):
        return np.array(image.convert("L"))
    if image.mode == "PA":
        image = image.convert("P")
    pixels = np.array(image)
    if image.mode != "P":
        return pixels
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    is_gray = bool((colours == colours[:, :1]).all())
    colours = np.concatenate([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    used = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    if is_gray and not (0 in used and colours[0].any()):  # that a program made smaller
        return colours[pixels, 0]
    if are_labels:
        return pixels
    if tuple(colours[255]) == VOID and 255 in used:
        what = "masks of a palette in which 255 is Pascal VOC's seam, left out"
        findings.add("told", what, place)
        pixels[pixels == 255] = 0
    if colours[0].any() and 0 in used:
        what = "masks of a palette whose colour 0 is not black, read as background all the same"
        findings.add("doubtful", what, place, cure="save ids as gray, 0 for the background")
    return pixels
