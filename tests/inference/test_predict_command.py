"""Claims about ``solojax predict``, with a stand-in that finds what is bright."""

import dataclasses
import itertools
import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from solojax import cli
from solojax.config import Category
from solojax.data import rle
from solojax.inference import predictor, tracking
from solojax.inference.result import Result
from solojax.inference.thresholds import Thresholds
from solojax.types import InputError
from tests.inference.save.scene import decode, load, names_in
from tests.inference.test_videos import Camera, make_video, zero_frames


class Predictor:
    """Finds bright pixels with score 0.9 and all others with score 0.1, two images at a time."""

    categories = (Category(3, "light"), Category(4, "dark"))
    value_range = None
    finds_instances, labels_pixels = True, False
    thresholds = Thresholds()
    asked: dict[str, Any] = {}

    @classmethod
    def from_pretrained(
        cls, run: Path, checkpoint: str = "latest", *, batch_size: int = 1
    ) -> "Predictor":
        if not run.is_dir():
            raise InputError(f"{run} is not a run folder: it has no config.json")
        cls.asked = {"run": run, "checkpoint": checkpoint, "batch_size": batch_size}
        return cls()

    def __call__(self, image: np.ndarray) -> Result:
        size = image.shape[0], image.shape[1]
        bright = image.max(-1) > 127
        packed = np.packbits(np.stack([bright, ~bright]), axis=-1)
        scores = np.array([0.9, 0.1], np.float32)
        labels = np.array([0, 1], np.int32)
        rles, least = rle.encode_packed(packed, size), self.thresholds.of(self.categories)
        found = Result(image, scores, labels, rles, self.categories, least_scores=least)
        return found.take(np.flatnonzero(found.areas))

    def stream(self, images: Iterable[np.ndarray]) -> Iterator[Result]:
        coming = iter(images)
        while window := list(itertools.islice(coming, 2)):
            yield from map(self, window)

    def at(self, mask_threshold: float) -> "Predictor":
        self.asked["mask_threshold"] = mask_threshold
        return self

    def tiled(self, image: np.ndarray, tile: int) -> Result:
        if tile < 64:
            raise InputError(f"--tiles {tile} must be at least 64 pixels")
        self.asked["tile"] = tile
        return self(image)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a run."""
    monkeypatch.setattr(predictor, "Predictor", Predictor)
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    return tmp_path


def draw_image(path: str, bright: int) -> None:
    """16 x 20 pixels, the first so many of the upper row bright."""
    image = np.zeros((16, 20, 3), np.uint8)
    image[0, :bright] = 255
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(path, image)


def predict(*arguments: str) -> int:
    return cli.main(["predict", *arguments, "--run", "run"])


def refusal(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line of stderr of a command that must fail, without progress bars."""
    capfd.readouterr()
    assert predict(*arguments) == 2
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert lines[-1].startswith("solojax: error: ")
    # Else there are bars alone.
    assert all("it/s" in line or "image" in line or "frame" in line for line in lines[:-1] if line)
    return lines[-1].removeprefix("solojax: error: ")


def test_a_folder_becomes_overlays_and_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (2, 10, 1):
        draw_image(f"photos/{number}.png", number)
    assert predict("photos", "--save", "json,rle,polygons,png", "--batch", "2") == 0
    assert Predictor.asked == {"run": Path("run"), "checkpoint": "latest", "batch_size": 2}
    rows = load(Path("predictions/detections.json"))
    found = [(row["file"], row["id"], [one["area"] for one in row["detections"]]) for row in rows]
    assert found == [
        ("photos/1.png", 1, [1]),
        ("photos/2.png", 2, [2]),
        ("photos/10.png", 10, [10]),
    ]
    assert names_in(Path("predictions")) == {
        *(f"{number}.{ending}" for number in (1, 2, 10) for ending in ("png", "ids.png")),
        "detections.json",
        "results.json",
        "instances.json",
    }
    images = load(Path("predictions/instances.json"))["images"]
    assert [(image["id"], image["file_name"]) for image in images] == [
        (1, "1.png"),
        (2, "2.png"),
        (10, "10.png"),
    ]
    printed = capsys.readouterr()
    assert printed.out == (
        "shows what scores at least 0.3: none was chosen, as solojax eval does on validation "
        "images; --score sets another\n"
        "results.json lacks what scores less, which an AP counts; --score 0 keeps all\n"
        "3 detections in 3 images; in predictions: overlays, detections.json, results.json, "
        f"instances.json (of images in {Path.cwd() / 'photos'}), *.ids.png\n"
    )
    assert "3/3" in printed.err


def test_options_reach_where_they_belong() -> None:
    draw_image("a.png", 5)
    options = ["--score", "0.05", "--tiles", "64", "--checkpoint", "best", "--no-overlays"]
    options += ["--mask-threshold", "0.6"]
    assert predict("a.png", "--out", "deep/er", "--save", "json", *options) == 0
    wanted = {"run": Path("run"), "checkpoint": "best", "batch_size": 1, "tile": 64}
    wanted["mask_threshold"] = 0.6
    assert Predictor.asked == wanted
    (row,) = load(Path("deep/er/detections.json"))
    assert [one["class"] for one in row["detections"]] == ["light", "dark"]
    assert names_in(Path("deep")) == {"er/detections.json"}


def test_a_page_is_predicted_on_and_of_others_the_option_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw_image("1.png", 5)
    draw_image("2.png", 9)
    first, second = Image.open("1.png"), Image.open("2.png")
    first.save("stack.tif", save_all=True, append_images=[second])
    options = ["stack.tif", "--save", "json", "--no-overlays"]
    areas = []
    for number in ([], ["--page", "1"], ["--page", "2"]):
        assert predict(*options, *number) == 0
        (row,) = load(Path("predictions/detections.json"))
        areas.append(row["detections"][0]["area"])
        assert ("predict --page 2 reads the second" in capsys.readouterr().out) == (not number)
    assert areas == [5, 5, 9]


def test_tiles_are_proposed_for_a_giant_image(capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("map.png", np.zeros((2, 10_001, 3), np.uint8))
    command = ["map.png", "--no-overlays", "--save", "json"]
    assert predict(*command) == 0
    assert "longer than 10000 pixels: 1 images; --tiles 1024" in capsys.readouterr().out
    assert predict(*command, "--tiles", "1024") == 0
    assert "longer than" not in capsys.readouterr().out


def test_a_damaged_image_is_left_out_and_told_at_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    draw_image("photos/1.png", 1)
    draw_image("photos/3.png", 3)
    Path("photos/2.png").write_bytes(b"<html>404</html>")
    told = refusal(capfd, "photos", "--save", "json")
    assert told == (
        "1 of 3 inputs: photos/2.png is no image: it seems to be a web page (HTML); download the "
        "file itself"
    )
    rows = load(Path("predictions/detections.json"))
    assert [(row["id"], row["detections"][0]["area"]) for row in rows] == [(1, 1), (3, 3)]


def test_a_ground_truth_gives_images_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x", "y", "z"):
        draw_image(f"val/{name}.png", 1)
    sides = {"height": 16, "width": 20}
    names = {7: "val/z.png", 3: "x.png", 5: "gone.png", 4: "train/z.png"}
    images = [{"id": number, "file_name": name, **sides} for number, name in names.items()]
    Path("gt.json").write_text(json.dumps({"images": images}))
    assert predict("val", "--gt", "gt.json", "--save", "json,rle", "--no-overlays") == 0
    rows = load(Path("predictions/results.json"))
    assert [(row["image_id"], row["file_name"]) for row in rows] == [(3, "x.png"), (7, "val/z.png")]
    assert [row["id"] for row in load(Path("predictions/detections.json"))] == [3, 7]
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [
        "1 images are left out, which gt.json does not have: val/y.png",
        "2 images of gt.json are not predicted on, and score as if nothing were found: gone.png, "
        "train/z.png",
    ]


@pytest.mark.parametrize(
    ("names", "inputs", "wanted"),
    [
        (["c.png"], ["a.png"], "has none of the 1 images: its names are such as 'c.png', not 'a."),
        (["x/a.png", "y/a.png"], ["a.png"], "may be 'x/a.png' (image 0) or 'y/a.png' (image 1)"),
        (["a.png"], ["a.png", "b/a.png"], "a.png and b/a.png are both its image 0, 'a.png'"),
        ([""], ["a.png"], "names no image files"),
        (["a.png"], ["webcam"], "leave videos and webcams out"),
    ],
)
def test_images_that_are_not_those_of_a_ground_truth_are_told(
    names: list[str], inputs: list[str], wanted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    draw_image("a.png", 1)
    draw_image("b/a.png", 1)
    sides = {"height": 16, "width": 20}
    images = [{"id": number, "file_name": name, **sides} for number, name in enumerate(names)]
    Path("gt.json").write_text(json.dumps({"images": images}))
    assert wanted in refusal(capfd, *inputs, "--gt", "gt.json")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["gone.png"], "gone.png: no such file or folder"),
        (["a.png", "--save", "jsn"], "--save jsn is none of json, rle, polygons, png"),
        (["a.png", "--score", "30"], "--score 30 must be in 0..1"),
        (["a.png", "--track"], "--track is for videos and webcams, and there is none"),
        (["a.png", "--score", "nan"], "--score nan must be in 0..1"),
        (["a.png", "--mask-threshold", "5"], "--mask-threshold 5 must be in 0..1"),
        (["a.png", "--no-overlays"], "--no-overlays leaves nothing to do; give --save"),
        (["a.png", "--out", "."], "--out . is the folder of an input; choose another one"),
        (["a.png", "--tiles", "0"], "--tiles 0 must be at least 64 pixels"),
        (["a.png", "--out", "a.png"], "--out a.png is a file; give a folder"),
        (["a.png", "--page", "0"], "--page 0 must be at least 1, the first page"),
        (["a.png", "--page", "2"], "a.png has one page and no page 2; give another --page"),
        (["empty.png"], "empty.png is empty; copy it again"),
    ],
)
def test_what_a_user_got_wrong_is_told_in_a_line(
    arguments: list[str], wanted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    draw_image("a.png", 1)
    Path("empty.png").touch()
    assert wanted in refusal(capfd, *arguments)


def test_a_wrong_run_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    draw_image("a.png", 1)
    assert cli.main(["predict", "a.png", "--run", "elsewhere"]) == 2
    assert "elsewhere is not a run folder" in capsys.readouterr().err


def test_nothing_found_is_no_error() -> None:
    draw_image("a.png", 0)
    assert predict("a.png", "--save", "json") == 0
    (row,) = load(Path("predictions/detections.json"))
    assert row["detections"] == []


def test_a_video_becomes_a_film_with_its_times(capsys: pytest.CaptureFixture[str]) -> None:
    times = [0.0, 0.1, 0.15, 0.9, 1.0]
    make_video(Path("walk.mp4"), times)
    draw_image("7.png", 7)
    assert predict("walk.mp4", "7.png", "--save", "json,png") == 0
    frames = decode(Path("predictions/walk.mp4"))
    assert [time for time, _ in frames] == pytest.approx(times, abs=1e-4)
    assert {picture.shape for _, picture in frames} == {(512, 768, 3)}
    image, *rows = load(Path("predictions/detections.json"))
    assert (image["file"], image["id"]) == ("7.png", 1)
    assert [row["frame"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["id"] for row in rows] == [2, 3, 4, 5, 6]
    assert [row["time"] for row in rows] == pytest.approx(times, abs=1e-4)
    ids = {f"walk/00000{number}.ids.png" for number in range(5)}
    kept = {"detections.json", "walk.mp4", "7.png", "7.ids.png"}
    assert names_in(Path("predictions")) == ids | kept
    printed = capsys.readouterr()
    assert "in 1 images and 5 frames" in printed.out
    assert "5/5" in printed.err


class Tracker:
    """Stands for ``tracking.Tracker``: ids are how many frames it has seen."""

    frames = 0

    def __call__(self, result: Result) -> Result:
        self.frames += 1
        return dataclasses.replace(result, ids=np.full(len(result), self.frames, np.int32))


def test_ids_are_of_one_film_and_images_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "Tracker", Tracker)
    for name in ("walk.mp4", "run.mp4"):
        make_video(Path(name), [0.0, 0.1, 0.2])
    draw_image("7.png", 7)
    options = "--track", "--score", "0", "--save", "json", "--no-overlays", "--batch", "2"
    assert predict("walk.mp4", "7.png", "run.mp4", *options) == 0
    image, *rows = load(Path("predictions/detections.json"))
    assert image["detections"] and not any("track_id" in one for one in image["detections"])
    found = [{one["track_id"] for one in row["detections"]} for row in rows]
    assert found == [{1}, {2}, {3}] * 2


def test_of_a_cut_video_what_is_there_is_done_and_the_code_is_2(
    capfd: pytest.CaptureFixture[str],
) -> None:
    make_video(Path("whole.mp4"))
    encoded = Path("whole.mp4").read_bytes()
    Path("cut.mp4").write_bytes(encoded[: len(encoded) * 3 // 4])
    told = refusal(capfd, "cut.mp4", "--save", "json")
    count = len(decode(Path("predictions/cut.mp4")))
    assert 10 < count < 45
    fault = f"cut.mp4 is cut or damaged from frame {count} on; those before it are done"
    assert told == f"{fault}; copy it again"
    assert len(load(Path("predictions/detections.json"))) == count


def test_a_video_without_frames_leaves_no_files(capfd: pytest.CaptureFixture[str]) -> None:
    zero_frames(Path("zero.mp4"))
    assert refusal(capfd, "zero.mp4", "--save", "json") == "zero.mp4 has no video in it"
    assert names_in(Path("predictions")) == set()


def test_an_unplugged_webcam_leaves_a_film_and_the_code_is_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    told = refusal(capfd, "webcam:1")
    assert told == "webcam:1 gives no more frames; see that it is plugged in"
    assert len(decode(Path("predictions/webcam1.mp4"))) == 3


class Endless(Camera):
    """Presses Ctrl-C while its fifth frame is taken."""

    taken = 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self._left, self.taken = 3, self.taken + 1
        if self.taken == 5:
            signal.raise_signal(signal.SIGINT)
        return super().read()


def test_ctrl_c_ends_a_webcam_with_a_film_that_plays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Endless)
    before = signal.getsignal(signal.SIGINT)
    released = Endless.released
    assert predict("webcam", "--save", "json") == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert Endless.released == released + 1
    assert len(decode(Path("predictions/webcam0.mp4"))) == 4
    assert [row["frame"] for row in load(Path("predictions/detections.json"))] == [0, 1, 2, 3]
    assert "in 4 frames; in predictions" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_done_of_images(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in range(1, 7):
        draw_image(f"photos/{photo}.png", photo)
    call = Predictor.__call__

    def interrupted(self: Predictor, image: np.ndarray) -> Result:
        if np.count_nonzero(image[0, :, 0]) == 3:
            signal.raise_signal(number)
        return call(self, image)

    monkeypatch.setattr(Predictor, "__call__", interrupted)
    assert predict("photos", "--save", "json") == 130
    rows = json.loads(Path("predictions/detections.json").read_text())
    assert [row["id"] for row in rows] == [1, 2, 3, 4]  # the batch is ended
    assert not [name for name in names_in(Path("predictions")) if name.endswith(".part")]
    assert capsys.readouterr().err.endswith("solojax: stopped\n")


def test_the_scores_that_the_run_has_chosen_are_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Thresholds(0.95, {4: 0.05}, "chosen")
    monkeypatch.setattr(Predictor, "thresholds", chosen)
    draw_image("a.png", 1)
    assert predict("a.png", "--no-overlays", "--save", "json") == 0
    assert "shows what scores at least 0.95 (0.05 to 0.95 by class): chosen; --score" in (
        capsys.readouterr().out
    )
    (row,) = load(Path("predictions/detections.json"))
    assert [one["class"] for one in row["detections"]] == ["dark"]
    assert predict("a.png", "--no-overlays", "--save", "json", "--score", ".9") == 0
    assert "shows" not in capsys.readouterr().out
    (row,) = load(Path("predictions/detections.json"))
    assert [one["class"] for one in row["detections"]] == ["light"]
