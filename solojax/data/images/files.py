"""Image files: which ones are, how they are read and decoded."""

import io
import os
import stat
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from solojax.data.images import chunks as image_chunks
from solojax.data.images import faults as image_faults
from solojax.data.images import headers as image_headers
from solojax.data.images import values as image_values
from solojax.data.images.chunks import Header
from solojax.data.images.endings import IMAGE_ENDINGS, VIDEO_ENDINGS
from solojax.data.images.values import Note, Range
from solojax.types import InputError

MOST_BYTES = 24 * 10**8  # that decoding may take: 400 megapixels, or 200 where it takes copies
MOST_FILE = 2**32  # bytes of a file
DEEP = ("PNG", "TIFF", "JPEG2000", "PPM")  # forms that OpenCV gives all bits of
SMALL = 2**25  # pixels: beyond, Pillow's copies cost more than its silence is worth
GREY = 128  # what libjpeg fills in where bytes are missing
PADS = (b"\x55" * 512, b"\xaa" * 512)  # bytes that stand for missing ones

cv2.utils.logging.setLogLevel(0)  # what it says of damaged files would stand between our lines


PAGES = Note(
    "told",
    "images of several pages or frames, of which the first is read",
    "predict --page 2 reads the second; for a training save the others as files of their own",
)


class Decoded(NamedTuple):
    """An image, and what people should hear of it."""

    pixels: np.ndarray  # H W 3 uint8 RGB
    notes: list[image_values.Note]


def why_left_out(path: str | os.PathLike) -> tuple[str, str] | None:
    """What a file is that is not taken for an image by its ending, and the cure if there is one.

    None of an image, and of what starts with a dot: leftovers of file managers.
    """
    name = os.path.basename(os.fspath(path))
    ending = os.path.splitext(name)[1].lower()
    if ending in IMAGE_ENDINGS or name.startswith("."):
        return None
    if ending in image_faults.UNREAD:
        what, cure = image_faults.UNREAD[ending]
        return f"{what} ({ending})", cure
    if ending in VIDEO_ENDINGS:
        return f"videos ({ending})", "name them, for predict alone reads them"
    return f"no images by their ending ({ending or 'none'})", ""


def read_file(path: Any) -> bytes:
    """The bytes of a file; of a path of any kind, ``pathlib``'s or one of a bucket.

    Raises:
      InputError: it is missing, no regular file, of more than ``MOST_FILE`` bytes or unreadable;
        the line begins with the path.
    """
    try:
        if "://" not in os.fspath(path):  # reading a pipe would wait for ever
            about = os.stat(path)
            if stat.S_ISDIR(about.st_mode):
                raise InputError(f"{path} is a folder where a file is meant; correct the path")
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{path} is a pipe or a device and no file; correct the path")
            if about.st_size > MOST_FILE:
                raise InputError(f"{path} has more than {MOST_FILE} bytes; cut it into parts")
        return path.read_bytes()
    except InputError:
        raise
    except ValueError:  # a zero, or letters that no file system takes
        raise InputError(f"{str(path)!r} cannot be a path; correct it") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def decode(
    encoded: bytes,
    *,
    as_stored: bool = False,
    value_range: Range | None = None,
    most_pixels: int | None = None,
) -> Decoded:
    """The bytes of an image file -> its pixels, and what is to be told of it.

    Of pages and frames the first is taken, transparency is dropped, values of more than 8 bits
    become 8 (``image_values.to_bytes``).

    Args:
      encoded: the file.
      as_stored: whether it stays as it is stored; else it is turned as its EXIF orientation asks.
      value_range: which values become black and white, where they have more than 8 bits.
      most_pixels: the most that it may have; where it is left out, those that ``MOST_BYTES`` hold.

    Raises:
      InputError: it is no image, damaged, cut or too large; the line begins with a verb, and its
        subject is the file.
    """
    header = image_headers.read(encoded)
    if header is None:
        raise InputError(image_faults.describe(encoded))
    if header.unread:
        raise InputError(f"is {header.unread}; save it as PNG")
    check_size(header, most_pixels)
    if header.form == "PPM":
        encoded += b"\n"  # without which OpenCV misses the last number in digits
    value_range = (0, header.white) if header.white else value_range
    pixels: np.ndarray | None = None
    notes: list[Note] = []
    try:
        if header.form == "JPEG":
            pixels, notes = _decode_jpeg(encoded, header)
        elif not header.is_whole or (
            header.form == "PNG" and not image_chunks.has_sound_chunks(encoded)
        ):
            pixels = None
        elif header.is_deep and header.form in DEEP:
            pixels, notes = _decode_deep(encoded, header, value_range)
        elif header.opened is not None:
            pixels, notes = image_values.of_pillow(header.opened, value_range)
        else:
            pixels = _opencv(encoded)
            size = header.height * header.width
            if pixels is None and header.is_odd and size * image_chunks.HEAVY <= MOST_BYTES:
                pixels, notes = image_values.of_pillow(_pillow(encoded, header), value_range)
        if header.form == "TIFF" and pixels is not None:  # its decoders turn it, asked to or not
            back = {6: 8, 8: 6}.get(header.orientation, header.orientation)
            pixels = image_values.turn(pixels, back)
    except InputError:
        raise
    except Exception:  # of Pillow's decoders, which raise whatever they like
        pixels = None
    if pixels is None or pixels.shape != (header.height, header.width, 3):
        raise InputError(image_faults.describe_damaged(header))
    if header.pages > 1:
        notes = [*notes, PAGES]
    if header.planes > 1:
        what = "TIFFs of several grey planes, of which the first is read"
        notes = [
            *notes,
            Note("told", what, "save them as RGB, or the others as files of their own"),
        ]
    return Decoded(pixels if as_stored else image_values.turn(pixels, header.orientation), notes)


def describe_fault(encoded: bytes) -> str:
    """What ``decode`` says of bytes that it does not read."""
    try:
        decode(encoded)
    except InputError as fault:
        return str(fault)
    return "is of a kind that is not read here; save it as PNG"


def decode_image(
    encoded: bytes, as_stored: bool = False, value_range: Range | None = None
) -> np.ndarray | None:
    """The bytes of an image file that ``decode`` has read before -> the same pixels, faster.

    Returns:
      ``H W 3`` uint8 RGB, or None where it is damaged.
    """
    if encoded[:3] == b"\xff\xd8\xff" or (encoded[:4] == b"\x89PNG" and encoded[24:25] <= b"\x08"):
        header = image_headers.read(encoded)
        if (
            header is not None
            and header.is_whole
            and header.cost * header.height * header.width <= MOST_BYTES
        ):
            pixels = _opencv(encoded)
            if pixels is not None:
                return pixels if as_stored else image_values.turn(pixels, header.orientation)
    try:
        return decode(encoded, as_stored=as_stored, value_range=value_range).pixels
    except InputError:
        return None


def of_pillow(image: Image.Image, value_range: Range | None = None) -> np.ndarray:
    """An image of Pillow, of any mode -> ``H W 3`` uint8 RGB, turned as its EXIF asks for.

    Raises:
      InputError: it is damaged or too large, or its values have no known meaning.
    """
    name = f"an image of Pillow, {image.width}x{image.height} pixels ({image.mode}),"
    check_size(Header(str(image.format), image.height, image.width, image.mode, image_chunks.HEAVY))
    try:
        image.load()  # which turns a TIFF
        orientation = image.getexif().get(image_chunks.ORIENTATION, 1)
        pixels, _ = image_values.of_pillow(image, value_range)
    except InputError as fault:
        raise InputError(f"{name} {fault}") from None
    except Exception as error:  # of a file that is decoded only now
        why = " ".join(str(error).split())
        raise InputError(f"{name} cannot be decoded ({why}); copy its file again") from error
    return image_values.turn(pixels, orientation)


def check_size(header: Header, most_pixels: int | None = None) -> None:
    """Raises InputError where decoding would take too much memory, as of ``decode``."""
    pixels = header.height * header.width
    if pixels and not header.is_whole and header.form in ("BMP", "PPM"):  # no claim of theirs holds
        raise InputError(image_faults.describe_damaged(header))
    most = MOST_BYTES // header.cost if most_pixels is None else most_pixels
    if pixels > most:
        raise InputError(
            f"is {image_faults.describe_header(header)}, {-(-pixels // 10**6)} megapixels where "
            f"{most // 10**6} are read at once; make it smaller, or where it is meant predict with "
            f"--megapixels {-(-pixels // 10**6)}"
        )
    if not pixels:
        raise InputError(f"is {image_faults.describe_header(header)}; copy it again")


def _opencv(encoded: bytes, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray | None:
    """What OpenCV makes of it, as stored; None where it is damaged."""
    flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        silent = image_chunks.without_remarks(encoded)
        return cv2.imdecode(np.frombuffer(silent, np.uint8), flags)
    except cv2.error:
        return None


def _decode_jpeg(encoded: bytes, header: Header) -> tuple[np.ndarray | None, list[Note]]:
    """The pixels of a JPEG as stored, None where it is damaged or cut."""
    if header.is_whole:
        pixels = _libjpeg(encoded, header)
        corners = () if pixels is None else (pixels[0, 0], pixels[-1, -1])
        end = encoded.find(b"\xff\xd9", header.body)
        if any((corner == GREY).all() for corner in corners) and not _is_complete(
            encoded[:end], header
        ):
            return None, []
        return pixels, []
    body = encoded.rstrip(b"\0").removesuffix(b"\xff")
    if not _is_complete(body, header):
        return None, []
    note = Note("repaired", "JPEG images without their last bytes, which hold no pixel", "")
    return _libjpeg(body + b"\xff\xd9", header), [note]


def _is_complete(body: bytes, header: Header) -> bool:
    """Whether a JPEG without its end has all its pixels: those are as they are whatever follows."""
    pixels = _libjpeg(body + b"\xff\xd9", header)
    others = [_libjpeg(body + pad + b"\xff\xd9", header) for pad in PADS]
    return pixels is not None and all(
        other is not None and np.array_equal(pixels, other) for other in others
    )


def _libjpeg(encoded: bytes, header: Header) -> np.ndarray | None:
    """The pixels of a JPEG as stored, None where it is damaged.

    Pillow and OpenCV decode by the same library to the same pixels, but it is silent in Pillow.
    """
    if header.mode in ("L", "RGB") and header.height * header.width <= SMALL:
        try:
            opened = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
            return np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
        except Exception:  # stricter than OpenCV in what does not matter
            pass
    return _opencv(encoded)


def _pillow(encoded: bytes, header: Header) -> Image.Image:
    """Pillow's image, not yet decoded: of TIFFs tiled or packed as OpenCV does not know."""
    return Image.open(io.BytesIO(encoded), formats=[header.form])


def _decode_deep(
    encoded: bytes, header: Header, value_range: Range | None
) -> tuple[np.ndarray | None, list[Note]]:
    """The pixels of an image of more than 8 bits, as stored; None where it is damaged."""
    values = _opencv(encoded, cv2.IMREAD_UNCHANGED)
    if values is None and header.white:  # Pillow has another white
        return None, []
    if values is None:
        values = np.asarray(_pillow(encoded, header))
    elif values.ndim == 3 and values.shape[2] > 2:
        values = values[..., [2, 1, 0]]
    pixels, notes = image_values.to_bytes(values, value_range)
    return image_values.to_rgb(255 - pixels if header.is_dark_high else pixels), notes
