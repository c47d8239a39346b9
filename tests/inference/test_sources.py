"""Claims about what comes in: images as they are meant to be seen, and faults told in one line."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from solojax.data.images import files as image_files
from solojax.inference import sources
from solojax.types import InputError
from tests.data.test_coco import bomb
from tests.inference.test_videos import make_video

RED, GREEN, BLUE, WHITE = (254, 0, 0), (0, 255, 1), (0, 0, 254), (255, 255, 255)
QUADRANTS = {"a": RED, "b": GREEN, "c": BLUE, "d": WHITE}
# What a camera stores, by EXIF orientation, of a picture whose quadrants are a b over c d.
STORED = {
    1: ("ab", "cd"),
    2: ("ba", "dc"),
    3: ("dc", "ba"),
    4: ("cd", "ab"),
    5: ("ac", "bd"),
    6: ("bd", "ac"),
    7: ("db", "ca"),
    8: ("ca", "db"),
}


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def ramp(steps: int = 32) -> np.ndarray:
    """32 x 40 uint8, every row 0, 6, 12, ..."""
    return np.tile(np.arange(40, dtype=np.uint8) * 6, (steps, 1))


def colors() -> np.ndarray:
    """32 x 40 x 3, all channels different."""
    return np.stack([ramp(), 255 - ramp(), ramp() // 2], -1)


def fault_of(path: Path) -> str:
    with pytest.raises(InputError) as told:
        sources.read_image(path)
    message = str(told.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    # Upright the picture has blocks of 16 x 32; where it lies on its side they are stored so.
    block = (32, 16) if orientation > 4 else (16, 32)
    stored = np.concatenate(
        [
            np.concatenate([np.full((*block, 3), QUADRANTS[one], np.uint8) for one in row], 1)
            for row in STORED[orientation]
        ]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.fromarray(stored), "JPEG", exif=exif, quality=100))
    image = sources.read_image(path)
    assert image.shape == (32, 64, 3)
    for (y, x), wanted in zip([(8, 16), (8, 48), (24, 16), (24, 48)], "abcd", strict=True):
        assert np.abs(image[y, x].astype(int) - QUADRANTS[wanted]).max() < 4


GREY = np.repeat(ramp()[..., None], 3, -1)
DEEP = ramp().astype(np.uint16) * 257  # the same in 16 bits
FILES: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "rgb.png": (lambda: encode(Image.fromarray(colors()), "PNG"), colors()),
    "rgb.bmp": (lambda: encode(Image.fromarray(colors()), "BMP"), colors()),
    "rgb.webp": (lambda: encode(Image.fromarray(colors()), "WEBP", lossless=True), colors()),
    "grey.png": (lambda: encode(Image.fromarray(ramp()), "PNG"), GREY),
    "grey.tif": (lambda: encode(Image.fromarray(ramp()), "TIFF"), GREY),
    "grey alpha.png": (lambda: encode(Image.fromarray(ramp()).convert("LA"), "PNG"), GREY),
    "alpha.png": (
        lambda: encode(Image.fromarray(np.dstack([colors(), ramp()])), "PNG"),
        colors(),
    ),
    "alpha.tif": (
        lambda: encode(Image.fromarray(np.dstack([colors(), ramp()])), "TIFF"),
        colors(),
    ),
    "palette.png": (lambda: encode(Image.fromarray(ramp()).convert("P"), "PNG"), GREY),
    "one bit.png": (
        lambda: encode(Image.fromarray(ramp() > 127), "PNG"),
        np.where(GREY > 127, 255, 0),
    ),
    "cmyk.tif": (lambda: encode(Image.fromarray(colors()).convert("CMYK"), "TIFF"), colors()),
    "grey 16.png": (lambda: encode(Image.fromarray(DEEP), "PNG"), GREY),
    "grey 16.tif": (lambda: encode(Image.fromarray(DEEP), "TIFF"), GREY),
    "rgb 16.png": (
        lambda: cv2.imencode(".png", colors()[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
        colors(),
    ),
    "animated.gif": (
        lambda: encode(
            Image.fromarray(ramp()),
            "GIF",
            save_all=True,
            append_images=[Image.fromarray(255 - ramp())],
        ),
        GREY,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_image_becomes_rgb_of_known_values(name: str, tmp_path: Path) -> None:
    make, wanted = FILES[name]
    (tmp_path / name).write_bytes(make())
    image = sources.read_image(tmp_path / name)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, wanted)


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    path.write_bytes(encode(Image.fromarray(colors()).convert("CMYK"), "JPEG", quality=100))
    difference = sources.read_image(path).astype(int) - colors()
    assert np.abs(difference).max() < 8


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_an_image_of_one_pixel_or_one_row_is_an_image(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "strip.png"
    path.write_bytes(encode(Image.new("RGB", size[::-1], RED), "PNG"))
    image = sources.read_image(path)
    assert image.shape == (*size, 3)
    assert (image == RED).all()


def test_an_image_is_what_a_training_sees(tmp_path: Path) -> None:
    encoded = encode(Image.fromarray(colors()), "JPEG")
    (tmp_path / "a.jpg").write_bytes(encoded)
    decoded = image_files.decode_image(encoded)
    assert decoded is not None
    np.testing.assert_array_equal(sources.read_image(tmp_path / "a.jpg"), decoded)


JPEG = encode(Image.fromarray(colors()), "JPEG")
FAULTS = {
    "empty": (b"", "is empty"),
    "cut": (JPEG[: len(JPEG) * 9 // 10], "is a JPEG image of 40x32 pixels (RGB) that was cut"),
    "cut png": (encode(Image.fromarray(colors()), "PNG")[:-40], "is a PNG image of 40x32 pixels"),
    "first bytes": (
        JPEG[:20],
        "is no image: it seems to be the start of a JPEG image; copy it again",
    ),
    "first bytes of a png": (b"\x89PNG\r\n", "seems to be the start of a PNG image"),
    "page": (b"\n<!DOCTYPE HTML><html>404</html>", "is no image: it seems to be a web page"),
    "svg": (b'<?xml version="1.0"?><svg/>', "seems to be XML, such as SVG"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "seems to be a pointer of Git"),
    "pdf": (b"%PDF-1.7", "seems to be a PDF"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "seems to be a HEIC photo"),
    "video": (b"\0\0\0\x18ftypisom\0\0\2\0", "seems to be a video (MP4); name it .mp4"),
    "text": (b"see\tthe\r\nother folder\n", "is no image: it seems to be text"),
    "tiff": (
        b"II*\0\0\0\0\0",
        "seems to be a TIFF that was cut, or of a kind that is not read; copy it",
    ),
    "random": (bytes(range(200, 250)), "begins with c8 c9 ca cb cc cd ce cf"),
    "floats": (
        encode(Image.fromarray(np.full((4, 4), -3, np.float32)), "TIFF"),
        "has values from -3 to -3, of which none is known to be black or white; set data.value",
    ),
    "bomb": (bomb(), "60000x60000 pixels (L), 3600 megapixels where 400 are read at once; make it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_sound_image_is_named_for_what_it_seems_to_be(
    fault: str, tmp_path: Path
) -> None:
    encoded, wanted = FAULTS[fault]
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded)
    assert wanted in fault_of(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_file_never_becomes_a_half_grey_image(
    form: str, share: float, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    encoded = encode(Image.fromarray(noise), form)
    path = tmp_path / "cut"
    path.write_bytes(encoded[: int(len(encoded) * share)])
    fault_of(path)


def test_a_missing_file_and_a_folder_are_no_images(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "gone.jpg").endswith("no such file; check the path")
    assert fault_of(tmp_path).endswith("is a folder where a file is meant; correct the path")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_of(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_stands_for_its_own_images_as_people_count(tmp_path: Path) -> None:
    touch(tmp_path, "img10.jpg", "img2.JPG", "b.png", ".hidden.jpg", "notes.txt", "c/deep.jpg")
    touch(tmp_path, "film.mp4")
    found = sources.find([str(tmp_path)])
    assert names_of(found.images, tmp_path) == ["b.png", "img2.JPG", "img10.jpg"]
    assert found.videos == found.webcams == []


def test_a_pattern_reaches_into_folders_and_finds_videos(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/x.mp4", "a/x.txt", "3.jpg")
    found = sources.find([str(tmp_path / "**" / "*.*")])
    assert names_of(found.images, tmp_path) == ["3.jpg", "b/2.jpg", "b/10.jpg"]
    assert names_of(found.videos, tmp_path) == ["a/x.mp4"]


def test_inputs_keep_their_order_and_come_once(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "1.jpg")
    given = [str(tmp_path / "2.jpg"), str(tmp_path), "webcam", "webcam:3", "webcam:0"]
    found = sources.find(given)
    assert names_of(found.images, tmp_path) == ["2.jpg", "1.jpg"]
    assert found.webcams == [0, 3]


def test_a_file_is_taken_once_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "folder/2.jpg", "1.jpg")
    monkeypatch.chdir(tmp_path)
    found = sources.find(["folder/2.jpg", "1.jpg", str(tmp_path / "1.jpg"), "folder/../1.jpg"])
    assert found.images == [Path("folder/2.jpg"), Path("1.jpg")]


def test_a_video_is_no_image(tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4")
    assert "is a video; solojax.inference.videos.read_video" in fault_of(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "photo[1].jpg",
        "a b  c.jpg",
        "фото ☃.jpg",
        "x" * 251 + ".jpg",
        "no ending",
        "*.jpg",
        "a:b.png",
    ],
)
def test_a_file_that_is_named_is_taken_whatever_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(encode(Image.fromarray(colors()), "PNG"))
    assert sources.find([str(path)]).images == [path]
    assert sources.read_image(path).shape == (32, 40, 3)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("gone.jpg", "gone.jpg: no such file or folder; check the path"),
        ("folder", "; for what is in its folders give a pattern such as"),
        ("*.png", "*.png matches no image and no video; check the pattern, in which a ["),
        ("https://a.b/c.jpg", "is an address of the web; download the file"),
    ],
)
def test_nothing_found_is_an_error_that_names_it(
    given: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "folder/deep/a.jpg", "folder/film.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as told:
        sources.find([given])
    assert wanted in str(told.value)


class Named:
    """A path as ``os.PathLike`` has it, of no library."""

    def __init__(self, path: Path):
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_any_path_is_taken_and_what_can_be_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert sources.read_image(Named(tmp_path / "a.png")).shape == (4, 4, 3)
    for path, wanted in (
        ("http://h/x.png", "http://h/x.png is an address of the web; download the file"),
        ("", "the path of an input is empty"),
        ("a\0b.png", r"'a\\x00b.png' cannot be a path"),
    ):
        with pytest.raises(InputError, match=wanted):
            sources.read_image(path)
    with pytest.raises(InputError, match="no webcam has such a number"):
        sources.find(["webcam:" + "9" * 20])
