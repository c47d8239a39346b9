"""Files whose pixels are ids of instances: gray, palette, of 1 to 32 bits, PNG or TIFF."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from solojax.data.findings import Findings
from solojax.data.foreign.files import decode
from solojax.data.image_files import describe_fault
from solojax.types import InputError

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm")
FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")  # those that keep values as they are
SOFT = 8  # grays between black and white, from which on they are edges where they are few pixels
VOID = (224, 224, 192)  # the colour of 255 in Pascal VOC: the seam around objects


def read_ids(path: Path, place: str, findings: Findings) -> np.ndarray:
    """The ids of a mask file, ``H W`` of unsigned integers, turned as EXIF asks for.

    Indices are the ids of a palette, unless it is of grays, which are then. Bits that are set in a
    mask of one bit are 255.

    Raises:
      InputError: the file is damaged or has colours, fractions or numbers below 0.
    """
    encoded = path.read_bytes()
    pixels = _decode(encoded, place, findings)
    if pixels is None:
        kind = "is a JPEG, which changes ids;" if encoded[:2] == b"\xff\xd8" else ""
        raise InputError(
            f"{path} {kind or describe_fault(encoded).partition(';')[0] + ';'} save masks as PNG "
            "or TIFF of one channel"
        )
    if pixels.ndim == 3:
        if (pixels[..., :1] != pixels[..., :3]).any():
            raise InputError(
                f"{path} has colours, not one channel of ids; save ids as gray or palette, 0 for "
                "the background"
            )
        pixels = pixels[..., 0]
        findings.add("repaired", "masks of three equal channels, read as one", place)
    if pixels.dtype == np.uint8:
        _check_edges(pixels, path)
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
            raise InputError(f"{path} has fractions for ids; save it as whole numbers")
        pixels = pixels.astype(np.int64)
    if pixels.dtype.kind == "i":
        if pixels.size and pixels.min() < 0:
            raise InputError(f"{path} has the id {pixels.min()}; save the background as 0")
        pixels = pixels.astype(np.uint64 if pixels.dtype.itemsize > 4 else np.uint32)
    return pixels


def _check_edges(pixels: np.ndarray, path: Path) -> None:
    """Raises InputError where grays are the soft edges of a mask of 0 and 255, and no ids."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    between = counts[1:255]
    if np.count_nonzero(between) >= SOFT and counts[255] > between.sum():
        raise InputError(
            f"{path} is a mask of 0 and 255 with {np.count_nonzero(between)} grays between, the "
            "soft edges of a smoothed or JPEG image; save it again with 0 and 255 alone"
        )


def _decode(encoded: bytes, place: str, findings: Findings) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                pages = getattr(image, "n_frames", 1)
                ids = _ids_of(ImageOps.exif_transpose(image), place, findings)
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


def _ids_of(image: Image.Image, place: str, findings: Findings) -> np.ndarray:
    if image.mode in ("1", "LA", "La"):
        return np.array(image.convert("L"))
    if image.mode == "PA":
        image = image.convert("P")
    pixels = np.array(image)
    if image.mode != "P":
        return pixels
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours = np.concatenate([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    used = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    if (colours[used] == colours[used, :1]).all():  # a gray image that a program made smaller
        return colours[pixels, 0]
    if tuple(colours[255]) == VOID and 255 in used:
        what = "masks of a palette in which 255 is Pascal VOC's seam, left out"
        findings.add("told", what, place)
        pixels[pixels == 255] = 0
    if colours[0].any() and 0 in used:
        what = "masks of a palette whose colour 0 is not black, read as background all the same"
        findings.add("doubtful", what, place, cure="save ids as gray, 0 for the background")
    return pixels
