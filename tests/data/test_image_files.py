"""Claims about image files: which are taken, and that what is taken is decoded."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from solojax.data.images import endings
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import pages as image_pages
from solojax.types import InputError

FORMS = {  # by which Pillow writes a file of an ending
    **dict.fromkeys(endings.JPEG_ENDINGS, "JPEG"),
    **dict.fromkeys(endings.PNM_ENDINGS, "PPM"),
    ".apng": "PNG",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".dib": "DIB",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".mpo": "MPO",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("ending", endings.IMAGE_ENDINGS)
def test_what_is_taken_for_an_image_is_decoded(ending: str) -> None:
    if ending in endings.HEIC_ENDINGS:
        pytest.skip("written by no one here")
    encoded = encode(Image.new("RGB", (40, 32), (200, 100, 50)), FORMS[ending])
    image = image_files.decode_image(encoded)
    assert image is not None and image.shape == (32, 40, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() < 8
    assert image_files.why_left_out(f"a{ending.upper()}") is None


def test_what_is_left_out_is_told_with_what_it_is_and_the_cure() -> None:
    assert image_files.why_left_out("a/b.CR2") == (
        "a camera's raw photos (.cr2)",
        "develop them to JPEG or TIFF",
    )
    assert image_files.why_left_out("notes.txt") == ("no images by their ending (.txt)", "")
    assert image_files.why_left_out("notes") == ("no images by their ending (none)", "")
    assert image_files.why_left_out(".DS_Store") is None
    if not endings.HEIC_ENDINGS:
        what = ("HEIC photos (.heic)", "pip install pillow-heif reads them")
        assert image_files.why_left_out("x/IMG_1.HEIC") == what


RED, GREEN, BLUE, WHITE = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)
UPRIGHT = np.repeat(np.repeat(np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8), 16, 0), 32, 1)
TURNS = {  # what a camera does to the upright picture, by the orientation that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def colors() -> np.ndarray:
    """32 x 40 x 3, all channels different."""
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (32, 1))
    return np.stack([ramp, 255 - ramp, ramp // 2], -1)


def noise() -> Image.Image:
    """60 x 60, so that no part of its file can be missed."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))


def fault_of(encoded: bytes) -> str:
    with pytest.raises(InputError) as told:
        image_files.decode(encoded)
    assert image_files.decode_image(encoded) is None
    assert "\n" not in str(told.value)
    return str(told.value)


def told_of(encoded: bytes) -> list[str]:
    return [note.what for note in image_files.decode(encoded).notes]


@pytest.mark.parametrize(
    ("encoded", "told"),
    [
        *((b"\0\0\0\x20ftyp" + brand, "name it .mp4") for brand in (b"mp42", b"mp41", b"M4V ")),
        (b"\0\0\0\x20ftypqt  ", "name it .mov"),
        (b"\0\0\0\x20ftypmif1", "a HEIC photo"),
        (bytes(400), "nothing but zeros, as of a copy that broke off; copy it again"),
        (b"8BPS\0\1", "a Photoshop picture; save it as PNG"),
        (bytes(128) + b"DICM", "a DICOM file; export its slices as PNG"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw photo; develop it"),
        (b"what?", "text; read what it says, and copy the image again"),
        (b"\1\2", "begins with 01 02; copy it again"),
    ],
)
def test_what_is_no_image_is_named_with_the_cure(encoded: bytes, told: str) -> None:
    assert told in fault_of(encoded)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_applied_once_in_every_form(form: str) -> None:
    for orientation, turned in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(UPRIGHT).transpose(turned)
        encoded = encode(stored, form, exif=exif, quality=100)
        for pixels in (image_files.decode(encoded).pixels, image_files.decode_image(encoded)):
            assert pixels is not None and pixels.shape == UPRIGHT.shape
            assert np.abs(pixels.astype(int) - UPRIGHT)[4::8, 4::8].max() < 12, orientation
        kept = image_files.decode(encoded, as_stored=True).pixels
        assert kept.shape[:2] == stored.size[::-1]
        if form in ("PNG", "TIFF"):
            np.testing.assert_array_equal(kept, stored)
        as_object = image_files.of_pillow(Image.open(io.BytesIO(encoded)))
        np.testing.assert_array_equal(as_object, image_files.decode(encoded).pixels)


def test_heic_photos_are_turned_once_by_their_plug_in() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()  # for this test to write them
    for orientation, turned in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(UPRIGHT).transpose(turned)
        encoded = encode(stored, "HEIF", exif=exif.tobytes(), quality=100)
        decoded = image_files.decode(encoded)
        assert np.abs(decoded.pixels.astype(int) - UPRIGHT)[4::8, 4::8].max() < 12, orientation
        assert decoded.notes == []
        for pixels in (
            image_files.decode_image(encoded),
            image_files.decode_image(encoded, as_stored=True),  # libheif gives none but these
            image_files.of_pillow(Image.open(io.BytesIO(encoded))),
        ):
            np.testing.assert_array_equal(pixels, decoded.pixels)
    assert ".heic" in endings.IMAGE_ENDINGS


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_deep_image_is_turned_as_well(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = Image.fromarray(RAMP)
    pixels = image_files.decode(encode(deep, form, exif=exif)).pixels
    turned = Image.fromarray(TWELVE).transpose(TURNS[{6: 8, 8: 6}.get(orientation, orientation)])
    np.testing.assert_array_equal(pixels[..., 0], turned)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_transparency_is_dropped_and_colours_keep_their_places(form: str) -> None:
    picture = np.dstack([colors(), np.full((32, 40), 128, np.uint8)])
    pixels = image_files.decode(encode(Image.fromarray(picture), form, quality=100)).pixels
    assert np.abs(pixels.astype(int) - colors())[:, 4:].max() < 16


@pytest.mark.parametrize("quality", [75, 100])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_first_look_at_a_jpeg_shows_what_a_training_sees(quality: int, options: dict) -> None:
    for image in (noise(), noise().convert("L")):
        encoded = encode(image, "JPEG", quality=quality, **options)
        first, later = image_files.decode(encoded).pixels, image_files.decode_image(encoded)
        np.testing.assert_array_equal(first, later)
        sight = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(first, sight)


# Values of more than 8 bits

RAMP = np.tile(np.arange(40, dtype=np.uint16) * 105, (32, 1))  # up to 4095, as of twelve bits
TWELVE = (RAMP >> 4).astype(np.uint8)
DEEP = {
    "png": (lambda: encode(Image.fromarray(RAMP), "PNG"), TWELVE),
    "tiff": (lambda: encode(Image.fromarray(RAMP), "TIFF"), TWELVE),
    "packed tiff": (lambda: encode(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"), TWELVE),
    "pgm": (lambda: encode(Image.fromarray(RAMP), "PPM"), TWELVE),
    "jp2": (lambda: encode(Image.fromarray(RAMP), "JPEG2000"), TWELVE),
    "whole numbers": (lambda: encode(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), TWELVE),
    "floats": (lambda: encode(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), TWELVE),
    "shares": (
        lambda: encode(Image.fromarray(RAMP.astype(np.float32) / 4095), "TIFF"),
        np.rint(RAMP / 4095 * 255).astype(np.uint8),
    ),
    "all bits": (lambda: encode(Image.fromarray(RAMP * 16), "PNG"), TWELVE),
    "eight bits": (lambda: encode(Image.fromarray(RAMP // 16), "PNG"), TWELVE),
}


@pytest.mark.parametrize("name", DEEP)
def test_values_of_more_than_8_bits_are_scaled_by_one_rule_and_told(name: str) -> None:
    make, wanted = DEEP[name]
    encoded = make()
    pixels, notes = image_files.decode(encoded)
    np.testing.assert_array_equal(pixels, np.repeat(wanted[..., None], 3, -1))
    np.testing.assert_array_equal(pixels, image_files.decode_image(encoded))
    (note,) = notes
    assert "of more than 8 bits read as of" in note.what or "shares of white" in note.what


@pytest.mark.parametrize("ending", [".png", ".tif", ".ppm"])
def test_colours_of_16_bits_are_scaled_together(ending: str) -> None:
    deep = np.dstack([RAMP, RAMP // 2, RAMP // 4])
    pixels, _ = image_files.decode(cv2.imencode(ending, deep[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(pixels, deep >> 4)


def test_a_given_range_is_black_to_white_in_first_and_later_looks() -> None:
    encoded = encode(Image.fromarray(RAMP), "PNG")
    pixels, notes = image_files.decode(encoded, value_range=(105, 1155))
    assert notes == []
    assert pixels[0, [0, 1, 6, 11, 39], 0].tolist() == [0, 0, 128, 255, 255]
    np.testing.assert_array_equal(pixels, image_files.decode_image(encoded, False, (105, 1155)))


def test_a_file_that_tells_its_white_is_taken_at_its_word() -> None:
    pixels, notes = image_files.decode(b"P5\n2 1\n1000\n" + struct.pack(">2H", 1000, 500))
    assert (pixels[0, :, 0].tolist(), notes) == ([255, 128], [])
    pixels, _ = image_files.decode(b"P2\n2 1\n4095\n4095 2048")  # with no line's end
    assert pixels[0, :, 0].tolist() == [255, 128]
    pixels, _ = image_files.decode(b"P5\n3 1\n15\n\x00\x0f\x05")
    assert pixels[0, :, 0].tolist() == [0, 255, 85]


def test_the_highest_value_can_be_black() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    encoded = encode(Image.fromarray(RAMP), "TIFF")
    # The tag of what black is, of one short number.
    encoded = encoded.replace(
        struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0)
    )
    np.testing.assert_array_equal(image_files.decode(encoded).pixels[..., 0], 255 - TWELVE)
    as_object = image_files.of_pillow(Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(as_object[..., 0], 255 - TWELVE)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.full((4, 4), -5, np.int32), "has values from -5 to -5, of which none is known"),
        (np.full((4, 4), 70_000, np.int32), "has values from 70000 to 70000"),
        (np.full((4, 4), 1.5, np.float32), "set data.value_range (predict --range) to both"),
        (np.full((4, 4), np.nan, np.float32), "has values that are no finite numbers"),
    ],
)
def test_values_without_one_meaning_are_refused_with_the_cure(
    values: np.ndarray, wanted: str
) -> None:
    assert wanted in fault_of(encode(Image.fromarray(values), "TIFF"))


def test_an_image_that_is_nearly_black_is_told() -> None:
    hot = np.full((40, 40), 300, np.uint16)
    hot[0, 0] = 65_535  # one pixel that is out of order
    assert (
        "images of more than 8 bits are nearly black"
        in told_of(encode(Image.fromarray(hot), "PNG"))[1]
    )


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG", "AVIF"])
def test_of_pages_and_frames_the_first_is_read_and_the_others_are_told(form: str) -> None:
    pages = [Image.new("RGB", (20, 10), color) for color in (RED, GREEN, BLUE)]
    encoded = encode(pages[0], form, save_all=True, append_images=pages[1:], quality=100)
    pixels, notes = image_files.decode(encoded)
    assert np.abs(pixels.astype(int) - RED).max() < 8
    assert [note.what for note in notes] == [
        "images of several pages or frames, of which the first is read"
    ]


@pytest.mark.parametrize("form", ["TIFF", "BIG", "GIF", "WEBP", "PNG", "AVIF"])
def test_any_page_is_read_as_a_file_of_its_own(form: str) -> None:
    pages = [Image.new("RGB", (20, 10), color) for color in (RED, GREEN, BLUE)]
    options = {"big_tiff": True} if form == "BIG" else {"quality": 100}
    form = "TIFF" if form == "BIG" else form
    encoded = encode(pages[0], form, save_all=True, append_images=pages[1:], **options)
    for number, color in enumerate((RED, GREEN, BLUE), 1):
        pixels = image_files.decode(image_pages.take(encoded, number)).pixels
        assert np.abs(pixels.astype(int) - color).max() < 8
    with pytest.raises(InputError, match="has 3 pages and no page 4; give another --page"):
        image_pages.take(encoded, 4)
    with pytest.raises(InputError, match="has one page and no page 2"):
        image_pages.take(encode(pages[0], "JPEG"), 2)


def test_a_page_is_turned_and_scaled_by_its_own_tags() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep, upright = Image.fromarray(RAMP), Image.new("L", (20, 10), 7)
    encoded = encode(upright, "TIFF", save_all=True, append_images=[deep], exif=exif)
    pixels, notes = image_files.decode(image_pages.take(encoded, 2))
    turned = Image.fromarray(TWELVE).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(pixels[..., 0], turned)
    assert any("read as of 12" in note.what for note in notes)


# TIFFs


def tiff_of(
    data: bytes, photometric: int, samples: int, bits: int = 8, *, parts: int = 1, tile: int = 0
) -> bytes:
    """A plain TIFF of 40 x 32 pixels: in planes where it has several ``parts``, or in tiles."""
    parts = parts if not tile else -(-40 // tile) * -(-32 // tile)
    size = len(data) // parts
    planar = 2 if parts > 1 and not tile else 1
    tags = [
        (256, 4, 40), (257, 4, 32), (258, 3, *[bits] * samples), (259, 3, 1), (262, 3, photometric),
        (277, 3, samples), (284, 3, planar),
        (324 if tile else 273, 4, *[8 + i * size for i in range(parts)]),
        (325 if tile else 279, 4, *[size] * parts),
    ]  # fmt: skip
    tags += [(322, 3, tile), (323, 3, tile)] if tile else [(278, 4, 32)]
    tags += [(338, 3, 2)] if samples in (2, 4) and photometric < 3 else []
    entries, place = b"", 8 + len(data)
    for number, kind, *values in sorted(tags):
        packed = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        entry = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", place)
        if len(packed) > 4:
            data, place = data + packed, place + len(packed)
        entries += struct.pack("<HHI", number, kind, len(values)) + entry
    head = b"II*\0" + struct.pack("<I", place)
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("photometric", "samples"), [(2, 3), (2, 4)])
def test_colour_planes_of_8_bits_are_read_and_deeper_ones_refused(
    photometric: int, samples: int
) -> None:
    planes = np.concatenate([colors(), colors()[..., :1]], -1)[..., :samples].transpose(2, 0, 1)
    encoded = tiff_of(planes.tobytes(), photometric, samples, parts=samples)
    np.testing.assert_array_equal(image_files.decode(encoded).pixels, colors())
    np.testing.assert_array_equal(image_files.decode_image(encoded), colors())
    grey = tiff_of(planes[:2].tobytes(), 1, 2, parts=2)
    assert fault_of(grey).startswith("is a TIFF of separate colour planes (LA, 8 bits)")
    for kind in (np.uint16, np.uint32):
        deep = planes.astype(kind).tobytes()
        bits = 8 * kind().itemsize
        fault = fault_of(tiff_of(deep, photometric, samples, bits, parts=samples))
        untold = tiff_of(deep, photometric, samples, bits, parts=samples).replace(
            struct.pack("<HHI", 284, 3, 1), struct.pack("<HHI", 285, 3, 1)
        )
        assert fault_of(untold) == fault
        assert fault.startswith("is a TIFF of separate colour planes") and "as PNG" in fault


def test_deep_colours_that_no_decoder_here_knows_are_refused() -> None:
    deep = bytes(40 * 32 * 2 * 4)
    assert "is a TIFF of colours CMYK" in fault_of(tiff_of(deep, 5, 4, 16))
    unsaid = tiff_of(deep[: 40 * 32 * 6], 2, 3, 16).replace(
        struct.pack("<HHI", 277, 3, 1), struct.pack("<HHI", 276, 3, 1)
    )
    assert "is a TIFF of colours that does not say how many" in fault_of(unsaid)
    assert "is a TIFF of 3 grey planes" in fault_of(tiff_of(deep[: 40 * 32 * 6], 1, 3, 16))


def test_pillow_says_nothing_of_what_it_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    assert fault_of(tiff_of(bytes(40 * 32 * 8), 2, 8))
    assert caplog.records == []


def test_of_several_grey_planes_the_first_is_read_and_the_others_are_told() -> None:
    encoded = tiff_of(colors().tobytes(), 1, 3)
    pixels, (note,) = image_files.decode(encoded)
    np.testing.assert_array_equal(pixels, np.repeat(colors()[..., :1], 3, -1))
    assert note.what == "TIFFs of several grey planes, of which the first is read"


def test_tiffs_that_opencv_does_not_know_are_read() -> None:
    grey = np.pad(colors()[..., 0], ((0, 0), (0, 8)))
    tiles = grey.reshape(2, 16, 3, 16).transpose(0, 2, 1, 3).tobytes()
    wanted = np.repeat(colors()[..., :1], 3, -1)
    np.testing.assert_array_equal(image_files.decode(tiff_of(tiles, 1, 1, tile=16)).pixels, wanted)
    few = np.arange(40 * 32).reshape(32, 40) % 16
    packed = (few[:, ::2] * 16 + few[:, 1::2]).astype(np.uint8).tobytes()
    pixels = image_files.decode(tiff_of(packed, 1, 1, 4)).pixels
    np.testing.assert_array_equal(pixels[..., 0], few * 17)


# Objects of Pillow


@pytest.mark.parametrize(
    ("mode", "slack"),
    [("RGB", 0), ("RGBA", 0), ("RGBX", 0), ("CMYK", 0), ("YCbCr", 3), ("HSV", 7), ("LAB", 9)],
)
def test_an_image_of_pillow_in_colour_becomes_rgb(mode: str, slack: int) -> None:
    image = Image.fromarray(colors())
    if mode == "LAB":
        image = Image.new("LAB", (40, 32), (136, 128, 128))  # a grey of L* 53
        wanted = np.full((32, 40, 3), 127)
    else:
        image, wanted = image.convert(mode), colors()
    pixels = image_files.of_pillow(image)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - wanted).max() <= slack


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "1", "La"])
def test_an_image_of_pillow_without_colour_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (32, 20)))
    image = grey.convert("LA").convert("La") if mode == "La" else grey.convert(mode)
    wanted = np.repeat(np.asarray(grey)[..., None], 3, -1)
    np.testing.assert_array_equal(image_files.of_pillow(image), wanted)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, ">u2"])
def test_a_deep_image_of_pillow_is_scaled_as_a_file(kind: object) -> None:
    image = Image.fromarray(RAMP.astype(kind))
    np.testing.assert_array_equal(image_files.of_pillow(image)[..., 0], TWELVE)


def test_a_damaged_image_of_pillow_is_told_in_a_line() -> None:
    encoded = encode(noise(), "PNG")
    with pytest.raises(InputError, match=r"an image of Pillow, 60x60 pixels \(RGB\), cannot be"):
        image_files.of_pillow(Image.open(io.BytesIO(encoded[:-500])))


# Damage


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000"])
def test_a_cut_file_is_never_half_an_image_and_no_decoder_speaks(
    form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    encoded = encode(noise(), form)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert "copy it again" in fault_of(encoded[: int(len(encoded) * share)])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("packing", ["zstd", "tiff_lzw", "tiff_adobe_deflate", "group4"])
def test_of_a_damaged_tiff_no_decoder_speaks(
    packing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stream, rng = io.BytesIO(), np.random.default_rng(0)
    image = noise().convert("1" if packing == "group4" else "RGB")
    image.save(stream, "TIFF", compression=packing)
    for _ in range(30):
        content = bytearray(stream.getvalue())
        for place in rng.integers(8, len(content), 9):
            content[place] = rng.integers(256)
        image_files.decode_image(bytes(content))
        with contextlib.suppress(Exception):  # Pillow's own way, as of objects that it opened
            image_files.of_pillow(Image.open(io.BytesIO(content)))
    assert capfd.readouterr() == ("", "")


def test_a_bmp_of_run_lengths_whose_rows_are_not_there_was_cut() -> None:
    def bmp(height: int, runs: bytes, packing: int = 1, bits: int = 8) -> bytes:
        about = struct.pack("<IiiHHIIiiII", 40, 4, height, 1, bits, packing, len(runs), 1, 1, 2, 0)
        head = b"BM" + struct.pack("<IHHI", 62 + len(runs), 0, 0, 62)
        return head + about + bytes(4) + b"\xff\xff\xff\0" + runs

    row, end = b"\4\1\0\0", b"\0\1"
    for whole in (row * 2 + end, row + b"\0\4\1\1\1\1" + end):
        assert (image_files.decode(bmp(2, whole)).pixels == 255).all()
    for cut in (end, row + end):
        assert "that was cut" in fault_of(bmp(3, cut))
    assert "BMP image that was cut, or of a kind" in fault_of(bmp(2, row, 3, 32))


@pytest.mark.parametrize(
    ("encoded", "wanted"),
    [
        (b"P5\n4000000000 4000000000\n255\n", "that was cut"),
        (b"P5\n0 0\n255\n", "is a PNM image of no pixels"),
        (b"P5\n2 1\n70000\nabcd", "whose numbers make no sense; copy it again"),
    ],
)
def test_a_pnm_that_cannot_be_is_told_as_such(encoded: bytes, wanted: str) -> None:
    assert wanted in fault_of(encoded)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read_and_told(progressive: bool) -> None:
    whole = encode(noise(), "JPEG", progressive=progressive)
    for encoded in (whole[:-2], whole[:-1], whole[:-2] + bytes(100)):
        pixels, (note,) = image_files.decode(encoded)
        np.testing.assert_array_equal(pixels, image_files.decode(whole).pixels)
        np.testing.assert_array_equal(pixels, image_files.decode_image(encoded))
        assert note.effect == "repaired" and "without their last bytes" in note.what
    for cut in (20, 3):
        assert "that was cut" in fault_of(whole[:-cut])


def test_a_jpeg_whose_middle_was_lost_is_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    encoded = encode(noise(), "JPEG")
    half = encoded[: len(encoded) // 2]
    with pytest.raises(InputError, match="cut, damaged or of a kind"):
        image_files.decode(half + b"\xff\xd9")
    with pytest.raises(InputError, match="that was cut"):
        image_files.decode(half + bytes(len(half)))  # a copy that stopped, in a file made before
    grey = encode(Image.new("RGB", (60, 60), (128,) * 3), "JPEG")
    assert (image_files.decode(grey).pixels == 128).all()
    image_files.decode(half[:-40] + bytes(range(40)) + encoded[len(half) :])
    assert capfd.readouterr() == ("", "")


def test_a_png_whose_bytes_changed_is_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    encoded = bytearray(encode(noise(), "PNG"))
    encoded[len(encoded) // 2] ^= 0x55
    with pytest.raises(InputError, match="is a PNG image of 60x60 pixels .*damaged"):
        image_files.decode(bytes(encoded))
    assert capfd.readouterr() == ("", "")


def test_faults_beside_the_pixels_of_a_png_are_passed_over_in_silence(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + bytes(4)  # a wrong check sum

    for image in (noise(), noise().convert("P"), noise().convert("I;16")):
        encoded = encode(image, "PNG")
        odd = b"".join(chunk(kind, b"\x99" * 3) for kind in (b"iCCP", b"sBIT", b"tRNS", b"tEXt"))
        odd = encoded[:33] + odd + encoded[33:]
        for decode in (lambda one: image_files.decode(one).pixels, image_files.decode_image):
            np.testing.assert_array_equal(decode(odd), decode(encoded))
    assert capfd.readouterr() == ("", "")


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for path, wanted in (
        (tmp_path / "pipe.jpg", "is a pipe or a device and no file"),
        (Path("/dev/zero"), "is a pipe or a device and no file"),
        (tmp_path / "folder.jpg", "is a folder where a file is meant"),
        (tmp_path / "gone.jpg", "no such file"),
    ):
        with pytest.raises(InputError) as told:
            image_files.read_file(path)
        assert str(told.value).startswith(str(path)) and wanted in str(told.value)


# Bombs


def png_of(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    """Some hundred bytes that claim that many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def claim(form: str) -> bytes:
    """A small image whose header is made to claim 40,000 x 40,000 pixels or near it."""
    encoded, side = encode(Image.new("RGB", (7, 7)), form), 40_000
    two = {"JPEG": ">HH", "GIF": "<HH"}.get(form)
    if form == "WEBP":
        return (
            b"RIFF"
            + struct.pack("<I", 30)
            + b"WEBPVP8X"
            + struct.pack("<I", 10)
            + bytes(4)
            + ((side - 1).to_bytes(3, "little") * 2)
            + encoded[12:]
        )
    if two:
        start = encoded.index(b"\xff\xc0") + 5 if form == "JPEG" else 6
        return encoded[:start] + struct.pack(two, side, side) + encoded[start + 4 :]
    if form == "TIFF":
        for tag in (256, 257):
            new = struct.pack("<HHII", tag, 4, 1, side)
            start = next(
                encoded.index(struct.pack("<HH", tag, kind))
                for kind in (3, 4)
                if struct.pack("<HH", tag, kind) in encoded
            )
            encoded = encoded[:start] + new + encoded[start + 12 :]
        return encoded
    if form == "JPEG2000":  # of the code stream alone: its boxes say 7 x 7
        start = encoded.index(b"\xff\x4f\xff\x51") + 8
        return encoded[:start] + struct.pack(">II", side, side) + encoded[start + 8 :]
    if form == "PPM":
        return b"P6\n40000 40000\n255\n" + bytes(9)
    start = 18  # of BMP
    return encoded[:start] + struct.pack("<ii", side, side) + encoded[start + 8 :]


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "TIFF", "JPEG2000", "PPM", "BMP"])
def test_a_header_that_claims_too_much_is_refused_before_decoding(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)  # not reached
    message = fault_of(claim(form))
    if form in ("PPM", "BMP"):  # whose pixels have a size in the file
        assert "x40000 pixels (RGB) that was cut" in message
        return
    assert "x40000 pixels" in message and "megapixels where " in message
    assert "--megapixels 1600" in message


def test_the_limit_is_what_decoding_takes_and_can_be_raised() -> None:
    for width, depth, color, most in ((20_001, 8, 2, 400), (15_000, 16, 0, 200)):
        assert f"{most} are read at once" in fault_of(png_of(width, 20_000, depth, color))
    header = image_headers.read(png_of(20_000, 20_000, 8, 2))
    assert header is not None
    image_files.check_size(header)  # just as many as are read
    with pytest.raises(InputError, match="400 megapixels where 100 are read"):
        image_files.check_size(header, 100 * 10**6)
    large = image_headers.read(png_of(30_000, 30_000))
    assert large is not None
    image_files.check_size(large, 900 * 10**6)
