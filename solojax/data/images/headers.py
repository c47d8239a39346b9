"""What an image file says of itself, read without decoding a pixel; most of it by Pillow."""

import ctypes
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import PIL
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    PpmImagePlugin,
    TiffImagePlugin,
    features,
)

from solojax.data.images import chunks as image_chunks
from solojax.data.images.chunks import HEAVY, LIGHT, ORIENTATION, Header

# What Pillow says of odd files would stand between our lines, and we say it ourselves.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _silence_libtiff() -> None:
    """The same of the libtiff in Pillow's wheels, which takes the process's standard error."""
    home = Path(PIL.__file__).parent
    for path in (*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")):
        libtiff = ctypes.CDLL(str(path))
        for handler in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


_silence_libtiff()

TIFF_OF_PILLOW = ("RGBA", "LAB")  # OpenCV would multiply by alpha, or mistake colours
# Of OpenCV as of Pillow: what both do not decode is damaged.
TIFF_PACKINGS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JP2_STARTS = (b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")
BIG_TIFF = (b"+\0", b"\0+")  # after the first two bytes: places are of eight bytes, not of four
PAGE_OF_OTHER = 1  # bit of TIFF's NewSubfileType: a smaller version of another page

Page = tuple[int, dict[int, Any]]  # where its tags lie in the file, and they


def read(encoded: bytes) -> Header | None:
    """The header of an image, or None where it is none that is decoded here, or is damaged."""
    try:
        return _read(encoded)
    except Exception:  # whatever a damaged header brings about in Pillow
        return None


def _read(encoded: bytes) -> Header | None:
    if encoded[:3] == b"\xff\xd8\xff":
        return image_chunks.read_jpeg(encoded)
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return image_chunks.read_png(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return image_chunks.read_webp(encoded)
    if encoded.startswith(JP2_STARTS):
        return image_chunks.read_jp2(encoded)
    if encoded[:4] in TIFF_STARTS:
        return _read_tiff(encoded)
    stream = io.BytesIO(encoded)
    if encoded[:2] == b"BM":
        return _read_bmp(encoded, BmpImagePlugin.BmpImageFile(stream))
    if encoded[:4] == b"\x28\0\0\0":  # a BMP without its first 14 bytes
        dib = BmpImagePlugin.DibImageFile(stream)
        return _of_pillow(dib) if dib.tile[0].codec_name == "raw" else None
    if encoded[:4] == b"GIF8":
        return _of_pillow(GifImagePlugin.GifImageFile(stream))
    if encoded[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        return _read_pnm(encoded, PpmImagePlugin.PpmImageFile(stream))
    if encoded[4:8] == b"ftyp":
        return _read_heif(encoded)
    return None


def _read_tiff(encoded: bytes) -> Header:
    found = list(_walk_tiff(encoded))
    first = found[0][1] if found else {}
    width, height, channels = (
        int(first[256]),
        int(first[257]),
        max(int(first.get(277, 1)), len(first.get(258, (1,)))),
    )
    depth, is_plain = max(first.get(258, (1,))), set(first.get(339, (1,))) == {1}
    colors = {2: "RGB", 3: "P", 5: "CMYK", 6: "YCbCr", 8: "LAB"}.get(first.get(262, 1), "L")
    colors += "A" if colors in ("L", "RGB") and channels in (2, 4) else ""
    tile = int(first.get(322, 0)) * int(first.get(323, 0))
    if tile > width * height + 2**20:  # as much would be decoded
        width, height = tile, 1
    is_deep = depth > 8 or not is_plain
    by_pillow = colors in TIFF_OF_PILLOW and not is_deep
    planes = channels if colors == "L" else 1
    unread = ""
    strips = len(first.get(273, ())) if not tile else 0
    rows = int(first.get(278, 0)) or height  # of a strip
    is_planar = first.get(284) == 2 or strips > -(-height // rows)  # as of a tag that was lost
    if is_planar and channels > 1 and (is_deep or colors in ("L", "LA")):
        # OpenCV would give what was in memory before.
        unread = f"a TIFF of separate colour planes ({colors}, {depth} bits)"
    elif is_deep and first.get(262) == 2 and int(first.get(277, 1)) < 3:
        unread = "a TIFF of colours that does not say how many"
    elif is_deep and (planes > 1 or colors not in ("L", "LA", "RGB", "RGBA")):
        what = f"{planes} grey planes" if planes > 1 else f"colours {colors}"
        unread = f"a TIFF of {what} of more than 8 bits"  # OpenCV takes all for grey or RGB
    offsets = first.get(324) or first.get(273) or ()
    lengths = first.get(325) or first.get(279) or ()
    return Header(
        *("TIFF", height, width, colors),
        cost=(depth // 8 + 1) * channels * 2 + 4 if is_deep else HEAVY if by_pillow else LIGHT,
        is_deep=is_deep,
        white=0xFFFF if depth in (10, 12, 14) else 0,  # OpenCV moves them to the upper bits
        is_dark_high=first.get(262) == 0,
        orientation=first.get(274, 1) if first.get(274, 1) in range(1, 9) else 1,
        pages=len(tiff_pages(encoded, found)),
        is_whole=max(map(sum, zip(offsets, lengths, strict=False)), default=0) <= len(encoded),
        opened=TiffImagePlugin.TiffImageFile(io.BytesIO(encoded)) if by_pillow else None,
        is_odd=first.get(259, 1) not in TIFF_PACKINGS or tile > 0 or depth < 8 or channels > 4,
        planes=planes,
        unread=unread,
    )


def tiff_pages(encoded: bytes, found: Iterable[Page] = ()) -> list[int]:
    """Where the pages of a TIFF lie: the first, and others but for smaller versions of pages."""
    return [
        place
        for number, (place, tags) in enumerate(found or _walk_tiff(encoded))
        if not (number and int(tags.get(254, 0)) & PAGE_OF_OTHER)
    ] or [0]


def _walk_tiff(encoded: bytes) -> Iterator[Page]:
    """Each page, up to the first that is damaged."""
    stream = io.BytesIO(encoded)
    tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if encoded[2:4] in BIG_TIFF else 8))
    seen = set[int]()
    while (place := tags.next) and place not in seen:
        seen.add(place)
        try:
            stream.seek(place)
            tags.load(stream)
        except Exception:
            break
        yield place, dict(tags)


def _read_bmp(encoded: bytes, opened: ImageFile.ImageFile) -> Header:
    header = Header("BMP", opened.height, opened.width, opened.mode)
    (tile,) = opened.tile
    assert isinstance(tile.args, tuple)
    if tile.codec_name == "raw":
        end = tile.offset + tile.args[1] * opened.height
        return header._replace(is_whole=end <= len(encoded))
    rows = _count_rows(encoded, tile.offset, bool(tile.args[1]))
    return header._replace(cost=HEAVY, is_whole=rows >= opened.height - 1)


def _count_rows(encoded: bytes, place: int, is_of_4: bool) -> int:
    """The rows of a BMP of run lengths, of 4 bits or 8, that are ended: the last need not be."""
    rows = 0
    while place + 1 < len(encoded):
        count, value = encoded[place], encoded[place + 1]
        place += 2
        if count:  # a run
            continue
        if value == 1:
            break
        if value == 0:
            rows += 1
        elif value == 2:  # a way to the right and down
            rows += encoded[place + 1]
            place += 2
        else:  # single pixels, filled up to an even number of bytes
            size = (value + 1) // 2 if is_of_4 else value
            place += size + size % 2
    return rows


def _read_pnm(encoded: bytes, opened: ImageFile.ImageFile) -> Header:
    header = _of_pillow(opened)
    values = opened.height * opened.width * len(opened.getbands())
    body = len(encoded) - opened.tile[0].offset
    if encoded[:2] == b"P4":
        values = opened.height * -(-opened.width // 8)
    elif encoded[:2] in (b"P2", b"P3"):  # digits with spaces between them
        values = 2 * values - 1
    header = header._replace(is_whole=values <= body)
    white = opened.tile[0].args[1] if isinstance(opened.tile[0].args, tuple) else 0
    if opened.mode == "I" or white > 255:
        header = header._replace(is_deep=True, cost=22, white=white if white < 0xFFFF else 0)
    return header


def _read_heif(encoded: bytes) -> Header | None:
    brands = encoded[8 : min(int.from_bytes(encoded[:4]), 256)]
    if (b"avif" in brands or b"avis" in brands) and features.check("avif"):
        from PIL import AvifImagePlugin

        return _of_pillow(AvifImagePlugin.AvifImageFile(io.BytesIO(encoded)))
    if any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1")):
        try:
            from pillow_heif import HeifImageFile  # type: ignore[import-not-found]
        except ImportError:
            return None
        return _of_pillow(HeifImageFile(io.BytesIO(encoded)))
    return None


def _of_pillow(opened: ImageFile.ImageFile) -> Header:
    exif = opened.getexif() if opened.format in ("AVIF", "HEIF") else {}
    orientation = exif.get(ORIENTATION, 1)
    try:
        pages = getattr(opened, "n_frames", 1)
        opened.seek(0)
    except Exception:  # what follows the first frame is damaged
        pages = 2
    # An image that carries others, such as a depth map, is not animated.
    pages = pages if opened.format != "HEIF" else 1
    return Header(
        *(str(opened.format), opened.height, opened.width, opened.mode, HEAVY),
        orientation=orientation if orientation in range(1, 9) else 1,
        pages=pages,
        opened=opened,
    )
