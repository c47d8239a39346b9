"""Claims about videos and webcams: every sound frame, upright, with its time, and what is not."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from solojax.inference import videos

TIMES = [0.0, 0.033, 0.1, 0.11, 0.5, 0.51, 1.2]  # of a variable rate, seconds


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


def read(path: Path) -> tuple[list[videos.Frame], list[str]]:
    faults: list[str] = []
    return list(videos.read_video(path, faults)), faults


def test_every_frame_of_a_video_comes_in_order_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a:b.mp4"  # no protocol
    made = make_video(path)
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xfcvf"))  # a tag that is no UTF-8
    frames, faults = read(path)
    assert faults == []
    assert videos.count_frames(path) == len(frames) == 45
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
        f"{tmp_path / 'cut.mp4'} is cut or damaged from frame {count} on; those before it are "
        "done; copy it again"
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
    assert " of 4.4 seconds; what is there is done; copy it again for the rest" in fault


@pytest.mark.parametrize("ending", [".ts", ".m2ts"])
def test_a_transport_stream_that_ends_inside_of_a_packet_was_cut(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    make_video(path)
    assert read(path)[1] == []
    encoded = path.read_bytes()
    for share in (0.3, 0.77, 0.95):
        path.write_bytes(encoded[: int(len(encoded) * share) | 1])
        frames, (fault,) = read(path)
        assert 0 < len(frames) < 45 or share == 0.95
        assert "cut" in fault and "copy it again" in fault


def test_a_frame_that_a_decoder_passes_over_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 96, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    frames, faults = read(path)
    assert (len(frames), faults) == (20, [])
    encoded = path.read_bytes()
    place = encoded.index(b"\0\0\1\xb6", len(encoded) // 2)  # the start of a frame
    path.write_bytes(encoded[:place] + b"\xff" * 40 + encoded[place + 40 :])
    frames, faults = read(path)
    assert len(frames) < 20
    (fault,) = faults
    assert "lacks 1 of its 20 frames" in fault or "cut or damaged from frame" in fault


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
    assert videos.count_frames(path) in (None, 2)


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
    frames = list(videos.read_webcam(2, faults))
    assert len(frames) == 3
    assert all((frame.image == (0, 0, 255)).all() for frame in frames)
    assert frames[0].time == 0.0 <= frames[1].time <= frames[2].time
    assert faults == ["webcam:2 gives no more frames; see that it is plugged in"]
    assert Camera.released == before + 1


def test_a_webcam_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "plugged", False)
    faults: list[str] = []
    assert list(videos.read_webcam(0, faults)) == []
    assert faults == ["webcam:0 cannot be opened; see that it is there and not in use"]
