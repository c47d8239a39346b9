"""Claims about what comes in: images as they are meant to be seen, and faults told in one line."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from solojax.data import image_files
from solojax.inference import sources
from solojax.types import InputError
from tests.data.test_coco import bomb

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
TIMES = [0.0, 0.033, 0.1, 0.11, 0.5, 0.51, 1.2]  # of a variable rate, seconds


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
    "cut": (JPEG[: len(JPEG) * 9 // 10], "is a JPEG image of 40x32 pixels (RGB), cut, damaged"),
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
    "tiff": (b"II*\0\0\0\0\0", "seems to be a TIFF of a kind that is not read; save it as PNG"),
    "random": (bytes(range(200, 250)), "begins with c8 c9 ca cb cc cd ce cf"),
    "floats": (
        encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
        "is a TIFF image of 4x4 pixels (F), cut, damaged or of a kind that is not read",
    ),
    "bomb": (bomb(), "says to have more pixels than are read at once"),
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
    assert fault_of(tmp_path).endswith("cannot be read: Is a directory")


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
    assert "is a video; solojax.inference.sources.read_video" in fault_of(tmp_path / "clip.mp4")


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
        ("folder", "folder has no image in it; for what is in its folders give a pattern such as"),
        ("*.png", "*.png matches no image and no video; check the pattern, in which a ["),
        ("https://a.b/c.jpg", "no such file or folder"),
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


def make_video(
    path: Path, times: list[float] | None = None, *, rotation: int = 0
) -> list[np.ndarray]:
    """Noise with a brighter and brighter left upper corner, 96 x 64, 30 a second; its frames."""
    times = times or [i / 30 for i in range(45)]
    noise = np.random.default_rng(0).integers(0, 100, (64, 96, 3), np.uint8)
    frames = []
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "2", "g": "9"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, seconds in enumerate(times):
            picture = noise.copy()
            picture[:32, :48] = 20 + 5 * number
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(seconds * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
            frames.append(picture)
        container.mux(stream.encode())
    return frames


def read(path: Path) -> tuple[list[sources.Frame], list[str]]:
    faults: list[str] = []
    return list(sources.read_video(path, faults)), faults


def test_every_frame_of_a_video_comes_in_order_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a:b.mp4"  # no protocol
    made = make_video(path)
    frames, faults = read(path)
    assert faults == []
    assert sources.count_frames(path) == len(frames) == 45
    assert [frame.time for frame in frames] == pytest.approx([i / 30 for i in range(45)], abs=1e-4)
    for frame, picture in zip(frames, made, strict=True):
        assert frame.image.dtype == np.uint8
        assert abs(frame.image[16, 24].astype(int) - picture[16, 24]).max() < 6


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_variable_rate_keeps_its_times(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    make_video(path, [5 + seconds for seconds in TIMES])
    frames, faults = read(path)
    assert faults == []
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=1e-4)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))]
)
def test_a_video_held_on_its_side_is_turned_upright(
    rotation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "phone.mp4"
    make_video(path, [i / 30 for i in range(30)], rotation=rotation)
    image = read(path)[0][-1].image
    assert image.shape == ((96, 64, 3) if rotation % 180 else (64, 96, 3))
    height, width = image.shape[0] // 2, image.shape[1] // 2
    means = image.reshape(2, height, 2, width, 3).mean((1, 3, 4))
    assert np.unravel_index(means.argmax(), (2, 2)) == corner
    # OpenCV turns frames by the same matrix.
    capture = cv2.VideoCapture(str(path))
    assert capture.read()[1].shape == image.shape
    capture.release()


@pytest.mark.parametrize("share", [0.5, 0.75, 0.95])
def test_of_a_cut_video_every_frame_before_the_cut_is_read(share: float, tmp_path: Path) -> None:
    make_video(tmp_path / "whole.mp4")
    encoded = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(encoded[: int(len(encoded) * share)])
    whole = {round(one.time * 30): one.image for one in read(tmp_path / "whole.mp4")[0]}
    frames, faults = read(tmp_path / "cut.mp4")
    count = len(frames)
    assert 0 < count < 45
    assert faults == [
        f"{tmp_path / 'cut.mp4'} is cut or damaged from frame {count} on; those before it are done"
    ]
    for frame in frames:  # none of them half grey
        np.testing.assert_array_equal(frame.image, whole[round(frame.time * 30)])


def test_a_video_that_ends_before_its_time_is_told(tmp_path: Path) -> None:
    make_video(tmp_path / "whole.mkv", [i / 10 for i in range(45)])
    encoded = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(encoded[: len(encoded) // 2])
    frames, faults = read(tmp_path / "cut.mkv")
    assert 0 < len(frames) < 40
    (fault,) = faults
    assert f"cut.mkv was cut after frame {len(frames) - 1}, at " in fault
    assert " of 4.4 seconds; what is there is done" in fault


def zero_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()


def unknown_codec(path: Path) -> None:
    make_video(path, [0.0, 0.1])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zz77"))


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(bytes(range(256)) * 20), "is no video, or its end is"),
        (lambda path: path.write_bytes(b"<html></html>"), "is no video, or its end is missing"),
        (zero_frames, "has no video in it"),
        (sound_alone, "has no video in it"),
        (unknown_codec, "has a codec that is not known here; convert it to H.264"),
        (lambda path: None, "cannot be read: No such file"),
    ],
    ids=["empty", "random", "page", "no frame", "sound", "codec", "gone"],
)
def test_a_video_without_a_frame_is_told_in_a_line(
    make: Callable[[Path], object], wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    make(path)
    frames, faults = read(path)
    assert frames == []
    assert len(faults) == 1
    assert faults[0].startswith(str(path)) and wanted in faults[0] and "\n" not in faults[0]
    assert sources.count_frames(path) in (None, 2)


class Camera:
    """Stands in for OpenCV's: three blue frames, then it is unplugged."""

    plugged, released = True, 0

    def __init__(self, number: int):
        self._left = 3

    def isOpened(self) -> bool:  # noqa: N802
        return self.plugged

    def read(self) -> tuple[bool, np.ndarray | None]:
        self._left -= 1
        return (
            (True, np.full((4, 6, 3), (255, 0, 0), np.uint8)) if self._left >= 0 else (False, None)
        )

    def release(self) -> None:
        type(self).released += 1


def test_a_webcam_gives_rgb_until_it_is_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    faults: list[str] = []
    before = Camera.released
    frames = list(sources.read_webcam(2, faults))
    assert len(frames) == 3
    assert all((frame.image == (0, 0, 255)).all() for frame in frames)
    assert frames[0].time == 0.0 <= frames[1].time <= frames[2].time
    assert faults == ["webcam:2 gives no more frames; see that it is plugged in"]
    assert Camera.released == before + 1


def test_a_webcam_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "plugged", False)
    faults: list[str] = []
    assert list(sources.read_webcam(0, faults)) == []
    assert faults == ["webcam:0 cannot be opened; see that it is there and not in use"]
