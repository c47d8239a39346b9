"""Claims about whole scenes that other programs wrote: what is read, what is refused, the page."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solojax import cli
from solojax.config import Category
from solojax.data import panoptic_ids
from solojax.data.panoptic_ids import Segment
from solojax.evaluation import scores
from solojax.evaluation.metrics import panoptic, semantic
from solojax.evaluation.report import page
from solojax.evaluation.report import scenes as report
from tests.evaluation import scenes
from tests.evaluation.rectangles import truth_of
from tests.evaluation.scenes import LABELS, SIZE, THINGS
from tests.evaluation.test_report import Outline

# A truth of these lists stuff first, and no category by its id: labels follow neither.
CATEGORIES = [
    {"id": LABELS[label].id, "name": LABELS[label].name, "isthing": int(label < THINGS)}
    for label in (3, 1, 2, 0)
]


def save_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def save(path: Path, parts: list[tuple[np.ndarray, list[Segment]]], **more: Any) -> dict[str, Any]:
    annotations = []
    for number, (ids, segments) in enumerate(parts):
        save_png(path.with_suffix("") / f"{number}.png", panoptic_ids.to_rgb(ids))
        about = [
            {"id": one.id, "category_id": LABELS[one.label].id, "iscrowd": int(one.is_crowd)}
            for one in segments
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": about}
        )
    content = {**more, "annotations": annotations}
    path.write_text(json.dumps(content))
    return content


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A panoptic truth of two images, and results."""
    drawn = [scenes.drawn(seed) for seed in (0, 1)]
    images = [
        {"id": n, "file_name": f"city/{n}.jpg", "height": SIZE[0], "width": SIZE[1]} for n in (0, 1)
    ]
    truth, results = tmp_path / "truth.json", tmp_path / "panoptic.json"
    about = {"images": images, "categories": CATEGORIES}
    save(truth, [(one.truth, one.truths) for one in drawn], **about)
    save(results, [(one.found, one.founds) for one in drawn])
    return truth, results


def counted() -> tuple[panoptic.Counts, semantic.Counts]:
    segments, pixels = panoptic.Counts(len(LABELS)), semantic.Counts(len(LABELS))
    for number in (0, 1):
        one = scenes.drawn(number)
        segments.add(number, *one)
        maps = label_map(one.truth, one.truths), label_map(one.found, one.founds)
        pixels.add(number, *maps)
    return segments, pixels


def label_map(ids: np.ndarray, segments: list[Segment]) -> np.ndarray:
    labels = np.full(SIZE, 255, np.uint8)
    for one in segments:
        labels[ids == one.id] = one.label
    return labels


def evaluate(results: Path, truth: Path, *more: str) -> int:
    return cli.main(["eval", "--results", str(results), "--gt", str(truth), *more])


def refusal(capsys, results: Path, truth: Path, *more: str) -> str:
    assert evaluate(results, truth, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_panoptic_results_are_scored_by_segments_and_by_pixels(files, tmp_path, capsys):
    truth, results = files
    assert evaluate(results, truth, "--out", str(tmp_path / "out")) == 0
    told = capsys.readouterr().out
    scored = json.loads((tmp_path / "out" / "eval.json").read_text())
    segments, pixels = counted()
    expected = panoptic.score(segments, LABELS, THINGS), semantic.score(pixels, LABELS)
    assert scored == json.loads(json.dumps({"semantic": expected[1], "panoptic": expected[0]}))
    assert f"PQ of {results} on 2 images" in told and f"{expected[1]['mIoU']:.3f}" in told
    html = (tmp_path / "out" / "report.html").read_text()
    text = " ".join(Outline(html).text)
    for part in ("Panoptic quality", "Segments without a match", "Pixels by label", "Worst images"):
        assert part in text
    assert html.count("data:image/jpeg") == 2 + report.PICTURED


def test_a_folder_of_label_maps_is_scored_by_pixels(files, tmp_path, capsys):
    truth, _ = files
    maps = [label_map(one.found, one.founds) for one in map(scenes.drawn, (0, 1))]
    save_png(tmp_path / "maps" / "0.labels.png", maps[0])
    save_png(tmp_path / "maps" / "1.png", maps[1])
    save_png(tmp_path / "maps" / "0.png", np.zeros((3, 3, 3), np.uint8))  # some picture
    assert evaluate(tmp_path / "maps", truth, "--out", str(tmp_path / "out")) == 0
    scored = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert scored == json.loads(json.dumps({"semantic": semantic.score(counted()[1], LABELS)}))
    assert "mIoU of" in capsys.readouterr().out
    assert "Panoptic" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("values", "told"), [((1, 2, 3), "counted from 1"), ((3, 0, 1), "ids of categories")]
)
def test_labels_that_fit_better_read_otherwise_are_told(tmp_path, capsys, values, told):
    ids = np.repeat([[1, 2, 3]], 6, 0)
    segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 0}]
    segments.append({"id": 3, "category_id": 1})  # labels 0, 1, 2: the thing comes first
    content = {
        "images": [{"id": 0, "file_name": "0.jpg", "height": 6, "width": 3}],
        "categories": [{"id": i, "name": str(i), "isthing": int(i == 3)} for i in range(4)],
        "annotations": [{"image_id": 0, "file_name": "0.png", "segments_info": segments}],
    }
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(content))
    save_png(tmp_path / "truth" / "0.png", panoptic_ids.to_rgb(ids))
    save_png(tmp_path / "maps" / "0.png", np.array([0, *values], np.uint8)[ids])
    assert evaluate(tmp_path / "maps", truth) == 0
    assert f"which is 1.000 if they are {told}" in capsys.readouterr().out


def test_what_is_wrong_with_panoptic_results_is_one_line(files, capsys):
    truth, results = files
    sound = json.loads(results.read_text())

    def told(change: Any) -> str:
        content = json.loads(json.dumps(sound))
        change(content["annotations"])
        results.write_text(json.dumps(content))
        return refusal(capsys, results, truth)

    def segment(**changes: Any) -> Any:
        return lambda those: those[1]["segments_info"][0].update(changes)

    assert "[1] is of the unknown image 7" in told(lambda those: those[1].update(image_id=7))
    assert "[1] is of image 0, which" in told(lambda those: those[1].update(image_id=0))
    assert "no annotation of image 1; where nothing" in told(lambda those: those.pop())
    assert "panoptic/9.png is missing" in told(lambda those: those[1].update(file_name="9.png"))
    assert "leads out" in told(lambda those: those[1].update(file_name="../0.png"))
    assert "no list segments_info" in told(lambda those: those[1].update(segments_info=3))
    assert "of the category 99, which the truth" in told(segment(category_id=99))
    assert "a segment 0, which is no id of its own" in told(segment(id=0))
    assert "has the id" in (line := told(lambda those: those[0]["segments_info"].pop()))
    assert "0.png" in line and "which segments_info does not list" in line
    extra = {"id": 5, "category_id": 3}
    line = told(lambda those: those[0]["segments_info"].append(extra))
    assert "has no pixel of the id 5, which segments_info lists" in line
    results.write_text(json.dumps(sound))
    save_png(results.with_suffix("") / "1.png", np.zeros((3, 4, 3), np.uint8))
    assert "1.png is 4x3 where its image is 56x40" in refusal(capsys, results, truth)


def test_what_is_wrong_with_a_truth_is_one_line(files, capsys):
    truth, results = files
    sound = json.loads(truth.read_text())

    def told(change: Any) -> str:
        content = json.loads(json.dumps(sound))
        change(content)
        truth.write_text(json.dumps(content))
        return refusal(capsys, results, truth)

    line = told(lambda whole: whole["categories"][1].pop("isthing"))
    assert "category 70 has the isthing None, where things have 1 and stuff has 0" in line
    assert "images[1] has no id of its own" in told(lambda whole: whole["images"][1].update(id=0))
    assert "no list 'images'" in told(lambda whole: whole.pop("images"))
    assert "[0] is of the unknown image 0" in told(lambda whole: whole["images"].pop(0))
    assert "of the category 10, which the truth" in told(lambda whole: whole["categories"].pop(0))


def test_what_is_wrong_with_label_maps_is_one_line(files, tmp_path, capsys):
    truth, results = files
    maps = tmp_path / "maps"
    save_png(maps / "0.png", np.zeros(SIZE, np.uint8))
    assert "has no label map 1.png (image 1)" in refusal(capsys, maps, truth)
    for pixels, line in (
        (np.full(SIZE, 4, np.uint8), "has the value 4; labels are 0 to 3"),
        (np.zeros((3, 4), np.uint8), "1.png is 4x3 where its image is 56x40"),
        (np.zeros((*SIZE, 3), np.uint8), "1.png is no PNG of one channel"),
        (np.zeros(SIZE, np.uint16), "1.png is no PNG of one channel"),
    ):
        save_png(maps / "1.png", pixels)
        assert line in refusal(capsys, maps, truth)


def test_a_label_map_is_of_one_image(files, tmp_path, capsys):
    truth, _ = files
    content = json.loads(truth.read_text())
    for number, image in enumerate(content["images"]):
        image["file_name"] = f"{'ab'[number]}/x.jpg"
    truth.write_text(json.dumps(content))
    maps = [label_map(one.found, one.founds) for one in map(scenes.drawn, (0, 1))]
    save_png(tmp_path / "maps" / "x.png", maps[0])
    line = refusal(capsys, tmp_path / "maps", truth)
    assert "x.png is called as image 0 and as image 1; put label maps into folders" in line
    for folder, pixels in zip("ab", maps, strict=True):
        save_png(tmp_path / "maps" / folder / "x.png", pixels)
    assert evaluate(tmp_path / "maps", truth) == 0


def test_files_of_another_kind_are_refused(files, tmp_path, capsys):
    truth, results = files
    other = tmp_path / "instances.json"
    other.write_text("[]")
    assert f"and {other} is none" in refusal(capsys, results, other)
    assert f"{other} has no segments_info" in refusal(capsys, other, truth)
    other.write_text(json.dumps(json.loads(results.read_text())["annotations"]))
    assert f"{other} is not a panoptic JSON: it holds a list" in refusal(capsys, other, truth)
    assert "is not there" in refusal(capsys, tmp_path / "none.json", truth)
    assert "leave them out" in refusal(capsys, results, truth, "--iou-type", "segm")
    save_png(tmp_path / "bare" / "0.png", np.zeros(SIZE, np.uint8))
    alone = tmp_path / "alone.json"
    alone.write_text(results.read_text())
    assert f"PNGs are missing; put them into {tmp_path / 'alone'}" in refusal(capsys, alone, truth)


def test_a_page_takes_scenes_beside_instances_and_nothing_at_all_has_a_page():
    segments, pixels = counted()
    name = "<b>sky</b>"
    labels = [Category(one.id, name) if one.name == "sky" else one for one in LABELS]
    scored = {
        "panoptic": panoptic.score(segments, labels, THINGS),
        "semantic": semantic.score(pixels, labels),
    }
    html = page.render("x", scores.score(truth_of([]), []), scenes=report.sections(scored))
    text = Outline(html).text
    assert name in text and name not in html, "it is escaped once"
    assert {"Average precision and recall", "Panoptic quality", "Pixels by label"} <= {*text}
    nothing = (
        panoptic.score(panoptic.Counts(4), LABELS, 2),
        semantic.score(semantic.Counts(4), LABELS),
    )
    for some in ({"panoptic": nothing[0]}, {"semantic": nothing[1]}):
        Outline(report.render("x", some))


def test_a_picture_has_a_colour_for_each_label_and_an_outline_for_each_segment():
    labels = np.array([[0, 0, 0, 255]], np.uint8)
    drawn = report.picture(labels, np.array([[1, 1, 2, 0]]))
    first, second, edge, _ = map(tuple, drawn[0].tolist())
    assert first == second != edge == report.EDGE
    image = np.full((1, 4, 3), 100, np.uint8)
    seen = report.picture(labels, image=image)
    assert tuple(seen[0, 0].tolist()) not in (first, (100, 100, 100))
