"""The headers of JPEG, PNG, WebP and JPEG 2000, read byte by byte.

They say where a file ends, which no decoder tells, and of most images they are all that is needed.
"""

import struct
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

from PIL import Image

LIGHT, HEAVY = 6, 12  # bytes a pixel that decoding takes at most, if it is straight or takes copies
ORIENTATION = 0x0112
ANIMATION = (b"acTL", b"fcTL", b"fdAT")  # chunks of an animated PNG
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Of an image as it is stored, EXIF orientation aside."""

    form: str  # as Pillow calls it
    height: int
    width: int
    mode: str  # such as RGB, for people
    cost: int = LIGHT  # bytes a pixel that decoding takes
    is_deep: bool = False  # whether its values have more than 8 bits, or a sign, or are floats
    white: int = 0  # the value of white, where more than 8 bits are decoded and the file tells
    is_dark_high: bool = False  # whether the highest value is black
    orientation: int = 1  # EXIF's, 1 to 8
    pages: int = 1  # or frames
    is_whole: bool = True  # whether it has its end
    body: int = 0  # of a JPEG: the place of its first scan
    opened: Any = None  # Pillow's image, where that one decodes it
    is_odd: bool = False  # whether Pillow may read it where OpenCV does not
    planes: int = 1  # of grey, of which the first alone is read
    unread: str = ""  # what it is, where no decoder here reads such a one rightly


def orientation_of(exif: bytes) -> int:
    """The orientation that EXIF asks for, 1 where it asks for none."""
    entries = Image.Exif()
    try:
        entries.load(exif)
        value = entries.get(ORIENTATION, 1)
    except Exception:  # damaged: the pixels are sound all the same
        return 1
    return value if value in range(1, 9) else 1


def read_jpeg(encoded: bytes) -> Header | None:
    """The header of a JPEG, None where its first scan is not reached."""
    place, frame, orientation, length = 2, None, None, len(encoded)
    while place + 4 <= length:
        if encoded[place] != 0xFF:  # bytes between segments are passed over, as by libjpeg
            place += 1
            continue
        marker = encoded[place + 1]
        if marker in (0, 1, 0xFF) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(encoded[place + 2 : place + 4])
        body = encoded[place + 4 : place + 2 + size]
        if marker == 0xE1 and orientation is None and body[:6] == b"Exif\0\0":
            orientation = orientation_of(body)
        elif marker in JPEG_FRAMES and frame is None:
            frame = marker, *struct.unpack(">BHHB", body[:6])
        elif marker == 0xD9:
            return None
        elif marker == 0xDA:
            break
        place += 2 + size
    if frame is None or place + 4 > length:
        return None
    kind, depth, height, width, channels = frame
    # Where scans do not hold all channels, libjpeg keeps the coefficients of all of the image.
    in_parts = kind not in (0xC0, 0xC1, 0xC9) or encoded[place + 4] < channels
    return Header(
        "JPEG",
        height,
        width,
        {1: "L", 3: "RGB", 4: "CMYK"}.get(channels, f"{channels} channels"),
        cost=HEAVY if in_parts or channels == 4 else LIGHT,
        is_deep=depth > 8,
        orientation=orientation or 1,
        is_whole=encoded.endswith(b"\xff\xd9") or encoded.find(b"\xff\xd9", place) >= 0,
        body=place,
    )


def read_png(encoded: bytes) -> Header:
    """The header of a PNG; raises whatever a damaged one brings about, as those below."""
    width, height, depth, color = struct.unpack(">IIBB", encoded[16:26])
    orientation, pages, is_whole, place = 1, 1, False, 8
    while place + 12 <= len(encoded):
        size, kind = struct.unpack(">I4s", encoded[place : place + 8])
        end = place + 12 + size
        if end > len(encoded):
            break
        if kind == b"eXIf":
            orientation = orientation_of(encoded[place + 8 : end - 4])
        elif kind == b"acTL":
            pages = int.from_bytes(encoded[place + 8 : place + 12])
        elif kind == b"IEND":
            is_whole = True
            break
        place = end
    mode = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}[color] + (";16" if depth > 8 else "")
    cost = 22 if depth > 8 and color in (2, 6) else HEAVY if depth > 8 else LIGHT
    return Header(
        *("PNG", height, width, mode, cost, depth > 8),
        orientation=orientation,
        pages=pages,
        is_whole=is_whole,
    )


def has_sound_chunks(encoded: bytes) -> bool:
    """Whether the pixels of a whole PNG are those that were written, by their check sums."""
    place, view = 8, memoryview(encoded)
    while place + 12 <= len(encoded):
        size, kind = struct.unpack(">I4s", view[place : place + 8])
        end = place + 12 + size
        # Capital first letters mark what is needed to show it.
        if kind[:1].isupper() and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end]
        ):
            return False
        if kind == b"IEND":
            break
        place = end
    return True


def without_remarks(encoded: bytes, keep: Collection[bytes] = ()) -> bytes:
    """A PNG without what its pixels do not need, of whose faults libpng would speak aloud.

    Chunks of the kinds ``keep`` stay, and files of other forms are as they were.
    """
    if encoded[:4] != b"\x89PNG":
        return encoded
    place, begin, view = 8, 0, memoryview(encoded)
    kept: list[memoryview] = []
    while place + 12 <= len(encoded):
        size, kind = struct.unpack_from(">I4s", encoded, place)
        end = place + 12 + size
        if not kind[:1].isupper() and kind not in ANIMATION and kind not in keep:
            kept.append(view[begin:place])
            begin = end
        place = end
    return b"".join([*kept, view[begin:]]) if kept else encoded


def read_webp(encoded: bytes) -> Header:
    """The header of a WebP image."""
    size = int.from_bytes(encoded[4:8], "little")
    kind = encoded[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(encoded[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", encoded[26:30]))
    orientation, frames, place = 1, 0, 12
    while place + 8 <= len(encoded):
        kind, length = struct.unpack("<4sI", encoded[place : place + 8])
        if kind == b"EXIF":
            orientation = orientation_of(encoded[place + 8 : place + 8 + length])
        frames += kind == b"ANMF"
        place += 8 + length + length % 2
    return Header(
        *("WEBP", height, width, "RGB"),
        orientation=orientation,
        pages=max(frames, 1),
        is_whole=size + 8 <= len(encoded),
    )


def read_jp2(encoded: bytes) -> Header:
    """The header of a JPEG 2000 image, in boxes or without."""
    # Its boxes may say what they like: the decoder goes by this.
    place = encoded.index(b"\xff\x4f\xff\x51") + 8
    right, bottom, left, top = struct.unpack(">4I", encoded[place : place + 16])
    (channels,) = struct.unpack(">H", encoded[place + 32 : place + 34])
    precision = encoded[place + 34]
    return Header(
        "JPEG2000",
        bottom - top,
        right - left,
        {1: "L", 3: "RGB"}.get(channels, f"{channels} channels"),
        cost=4 + 4 * channels,
        is_deep=precision > 7,  # less one; the highest bit is the sign
        white=2 ** (precision + 1) - 1 if 7 < precision < 15 else 0,
        is_whole=b"\xff\xd9" in encoded[-16:] or encoded.rfind(b"\xff\xd9", place) > 0,
    )
