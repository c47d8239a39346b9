"""Image files: which ones are, how they are decoded, what a file that is none seems to be."""

import contextlib
import importlib.util
import io
import os
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

JPEG_ENDINGS = (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo")
PNM_ENDINGS = (".pbm", ".pgm", ".pnm", ".ppm")
HEIC_ENDINGS = (".heic", ".heif", ".hif") if importlib.util.find_spec("pillow_heif") else ()
# Of all that is decoded here, wherever images are looked for: in lower case.
IMAGE_ENDINGS = (
    *JPEG_ENDINGS,
    *PNM_ENDINGS,
    *HEIC_ENDINGS,
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".jp2", ".png", ".tif", ".tiff", ".webp"),
)
VIDEO_ENDINGS = (
    *(".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"),
)
# Pictures by their endings that are not decoded: what they are, the cure.
UNREAD = {
    **dict.fromkeys(
        (".heic", ".heif", ".hif"), ("HEIC photos", "pip install pillow-heif reads them")
    ),
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
        ("a camera's raw photos", "develop them to JPEG or TIFF"),
    ),
    **dict.fromkeys(
        (".czi", ".lif", ".mrxs", ".nd2", ".ndpi", ".oib", ".svs", ".vsi", ".zarr"),
        ("a microscope's own files", "export them as TIFF"),
    ),
    **dict.fromkeys((".dcm", ".nii", ".nrrd"), ("medical volumes", "export their slices as PNG")),
    **dict.fromkeys(
        (".exr", ".hdr", ".ico", ".j2k", ".jpx", ".jxl", ".npy", ".pcx", ".psd", ".svg", ".tga"),
        ("pictures of a kind that is not read", "save them as PNG"),
    ),
}
# What files that are no images begin with: their bytes from that place on, what they are, the cure.
STRANGERS = (
    (0, b"\xff\xd8\xff", "the start of a JPEG image", "copy it again"),
    (0, b"\x89png", "the start of a PNG image", "copy it again"),
    (0, b"<!doctype html", "a web page (HTML)", "download the image itself"),
    (0, b"<html", "a web page (HTML)", "download the image itself"),
    (0, b"<", "XML, such as SVG", "save it as PNG"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "run git lfs pull"),
    (0, b"%pdf", "a PDF", "save its page as PNG"),
    (0, b"pk\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"\x1ae\xdf\xa3", "a video (Matroska)", "name it .mkv"),
    (4, b"ftyphei", "a HEIC photo", "save it as JPEG or PNG"),
    (4, b"ftypmif", "a HEIC photo", "save it as JPEG or PNG"),
    (4, b"ftyp", "a video (MP4)", "name it .mp4"),
    (8, b"avi ", "a video (AVI)", "name it .avi"),
    (0, b"ii*\0", "a TIFF of a kind that is not read", "save it as PNG"),
    (0, b"mm\0*", "a TIFF of a kind that is not read", "save it as PNG"),
)


def why_left_out(path: str | os.PathLike) -> tuple[str, str] | None:
    """What a file is that is not taken for an image by its ending, and the cure if there is one.

    None of an image, and of what starts with a dot: leftovers of file managers.
    """
    name = os.path.basename(os.fspath(path))
    ending = os.path.splitext(name)[1].lower()
    if ending in IMAGE_ENDINGS or name.startswith("."):
        return None
    if ending in UNREAD:
        what, cure = UNREAD[ending]
        return f"{what} ({ending})", cure
    if ending in VIDEO_ENDINGS:
        return f"videos ({ending})", "name them, for predict alone reads them"
    return f"no images by their ending ({ending or 'none'})", ""


def decode_image(encoded: bytes, as_stored: bool = False) -> np.ndarray | None:
    """The bytes of an image file -> ``H W 3`` uint8 RGB, or None where they are damaged.

    Turned as its EXIF orientation asks for, unless it is wanted ``as_stored``.
    """
    if not encoded:
        return None
    if encoded[:4] in (b"II*\0", b"MM\0*") and not as_stored:
        image = _decode_rgba_tiff(encoded)
        if image is not None:
            return image
    flags = cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # a header that promises more pixels than OpenCV is willing to hold
        return None


def _decode_rgba_tiff(encoded: bytes) -> np.ndarray | None:
    """A TIFF whose colours OpenCV would multiply by their alpha; None where it is another image."""
    with contextlib.suppress(Exception):  # of what is damaged OpenCV will say so
        with TiffImagePlugin.TiffImageFile(io.BytesIO(encoded)) as image:
            if image.mode == "RGBA":
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return None


def describe_fault(encoded: bytes) -> str:
    """What is wrong with the bytes of a file that could not be decoded, and what to do."""
    if not encoded:
        return "is empty; copy it again"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded)) as header:
                width, height = header.size
                return (
                    f"is a {header.format} image of {width}x{height} pixels ({header.mode}), cut, "
                    "damaged or of a kind that is not read; copy it again or save it as PNG"
                )
    except Image.DecompressionBombError:
        return "says to have more pixels than are read at once, or is damaged; cut it into parts"
    except UnidentifiedImageError:
        pass
    except Exception:  # whatever a damaged header brings about
        return "is an image whose first bytes are damaged; copy it again"
    start = encoded.lstrip()[:64].lower()
    for place, signature, what, cure in STRANGERS:
        if start[place:].startswith(signature):
            return f"is no image: it seems to be {what}; {cure}"
    if not encoded[:1024].translate(None, bytes(range(32, 127)) + b"\t\n\r"):
        return "is no image: it seems to be text"
    return f"is no image: no kind of file known here begins with {encoded[:8].hex(' ')}"
