"""Claims about a set looked at as a whole: what is wrong in all of it is told, once."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils.epath import Path as EtilsPath
from pycocotools import mask as coco_mask

from solojax.data import annotations
from solojax.data.annotations import instances, suspicions
from solojax.data.findings import Finding
from solojax.types import InputError

WIDTH, HEIGHT = 320, 240
IMAGES, IN_IMAGE = 12, 4


def make() -> dict[str, Any]:
    """A sound set: triangles of some sizes all over its images, those at a border cut by it."""
    draw = np.random.default_rng(7)
    images = [
        {"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(IMAGES)
    ]
    entries = []
    for number in range(IMAGES * IN_IMAGE):
        w, h = draw.uniform(20, 60, 2)
        x, y = draw.uniform(-5, [WIDTH - w + 5, HEIGHT - h + 5])
        points = np.array([[x, y], [x + w, y + h / 3], [x + w / 2, y + h]])
        points = np.clip(points, 0, [WIDTH, HEIGHT])
        entries.append(draw_as(points, number))
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    return {"images": images, "annotations": entries, "categories": categories}


def draw_as(points: np.ndarray, number: int) -> dict[str, Any]:
    low, high = points.min(0), points.max(0)
    (x0, y0), (x1, y1), (x2, y2) = points
    return {
        "id": number + 1,
        "image_id": number % IMAGES,
        "category_id": 1 + number % 2,
        "segmentation": [points.reshape(-1).tolist()],
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / 2),
        "iscrowd": 0,
    }


def look(folder: Path, content: dict[str, Any]) -> list[Finding]:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    for image in content["images"]:
        (folder / image["file_name"]).touch()
    return list(annotations.read(EtilsPath(path), EtilsPath(folder)).findings)


def with_points(content: dict[str, Any], change: Any) -> dict[str, Any]:
    """The set with all points, and the boxes around them, changed."""
    content = copy.deepcopy(content)
    for number, entry in enumerate(content["annotations"]):
        points = change(np.array(entry["segmentation"][0]).reshape(-1, 2))
        entry.update(draw_as(points, number))
    return content


def with_boxes(content: dict[str, Any], change: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    for entry in content["annotations"]:
        entry["bbox"] = list(change(*entry["bbox"]))
    return content


def test_nothing_is_said_of_a_sound_set(tmp_path: Path) -> None:
    assert look(tmp_path, make()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p * 2.5, "times the width"),
        (lambda p: p[:, ::-1], "x and y exchanged"),
        (lambda p: p * [1, -1] + [0, 1e-6], "y negated"),
        (lambda p: p / [WIDTH, HEIGHT], "points in 0..1"),
        (lambda p: p / [WIDTH, HEIGHT] * 100, "percent"),
        (lambda p: p / 2, "upper left 0.50 of the width"),
    ],
)
def test_points_of_another_frame_are_told(change: Any, told: str, tmp_path: Path) -> None:
    try:
        found = look(tmp_path, with_points(make(), change))
        doubts = [str(one) for one in found if one.effect == "doubtful"]
    except InputError as error:  # where no mask is left at all, the reason is in the line
        doubts = [str(error)]
    assert len(doubts) == 1
    assert "likely wrong: " in doubts[0] and told in doubts[0] and "annotation 1" in doubts[0]


def test_points_of_a_larger_image_come_with_how_much_larger_it_is(tmp_path: Path) -> None:
    content = with_points(make(), lambda p: p * 2.5)
    (found,) = [one for one in look(tmp_path, content) if one.effect == "doubtful"]
    assert found.count > IMAGES
    assert "reach to 2.5" in found.cure or "reach to 2.4" in found.cure


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y, w, h: (x, y, x + w, y + h), "as corners x0 y0 x1 y1"),
        (lambda x, y, w, h: (y, x, h, w), "x and y exchanged"),
        (lambda x, y, w, h: (x + w / 2, y + h / 2, w, h), "as a centre"),
        (lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT), "as parts"),
        (lambda x, y, w, h: (x, HEIGHT - y - h, w, h), "from the bottom"),
        (lambda x, y, w, h: (x * 3, y * 3, w * 3, h * 3), "another scale"),
        (lambda x, y, w, h: (x % 7 * 9, y % 5 * 9, w * 1.5, h), "boxes or masks are wrong, in all"),
    ],
)
def test_boxes_that_do_not_fit_are_told_with_what_they_are(
    change: Any, told: str, tmp_path: Path
) -> None:
    doubts = [one for one in look(tmp_path, with_boxes(make(), change)) if one.effect != "told"]
    assert [one.effect for one in doubts] == ["doubtful"]
    assert "boxes do not fit their masks" in doubts[0].what and told in doubts[0].cure


def test_masks_that_count_from_the_corner_of_their_box_are_told(tmp_path: Path) -> None:
    content = make()
    for entry in content["annotations"]:
        points = np.array(entry["segmentation"][0]).reshape(-1, 2) - entry["bbox"][:2]
        entry["segmentation"] = [points.reshape(-1).tolist()]
    doubts = [one for one in look(tmp_path, content) if "boxes do not fit" in one.what]
    assert [one.effect for one in doubts] == ["doubtful"]
    assert "moved by their boxes' corners" in doubts[0].cure


@pytest.mark.parametrize(
    ("with_boxes", "sides"),
    [(True, (WIDTH, HEIGHT)), (False, (WIDTH, HEIGHT)), (True, (WIDTH, WIDTH))],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_run_lengths_counted_by_rows_are_told(
    order: str, with_boxes: bool, sides: tuple[int, int], tmp_path: Path
) -> None:
    content = make()
    for image in content["images"]:
        image |= {"width": sides[0], "height": sides[1]}
    for entry in content["annotations"]:
        encoded = coco_mask.frPyObjects(entry["segmentation"], *sides[::-1])
        flat = coco_mask.decode(encoded)[..., 0].ravel(order=order)
        runs = np.diff(np.flatnonzero(np.diff(flat, prepend=0, append=2)), prepend=0)
        entry["segmentation"] = {"size": sides[::-1], "counts": runs.tolist()}
        if not with_boxes:
            del entry["bbox"], entry["area"]
    doubts = [one.cure for one in look(tmp_path, content) if one.effect == "doubtful"]
    assert [("counted by rows" in cure, "leave bbox" in cure) for cure in doubts] == [
        (True, False)
    ] * (order == "C")


def test_boxes_a_few_pixels_off_are_as_annotators_draw_them(tmp_path: Path) -> None:
    assert look(tmp_path, with_boxes(make(), lambda x, y, w, h: (x - 3, y + 2, w + 4, h))) == []


def everywhere(key: str, value: Any) -> Any:
    return lambda content: [entry.update({key: value}) for entry in content["annotations"]]


def whole(content: dict[str, Any]) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [9, HEIGHT * WIDTH - 9]}
    for entry in content["annotations"]:
        entry |= {"segmentation": runs, "bbox": [0, 0, WIDTH, HEIGHT]}
        entry |= {"area": HEIGHT * WIDTH - 9, "category_id": entry["id"]}
    content["categories"] = [{"id": i + 1, "name": str(i)} for i in range(IMAGES * IN_IMAGE)]


def twice(content: dict[str, Any]) -> None:
    entry = content["annotations"][3]
    content["annotations"].append({**entry, "id": 999})


@pytest.mark.parametrize(
    ("change", "effect", "told"),
    [
        (everywhere("iscrowd", 1), "doubtful", "crowds (iscrowd 1)"),
        (everywhere("image_id", 3), "doubtful", "one of 12 images"),
        (everywhere("area", 0), "told", "the area 0"),
        (everywhere("area", -5), "repaired", " area"),
        (everywhere("area", True), "repaired", " area"),
        (everywhere("bbox", [True, 1, 2, 3]), "repaired", " boxes "),
        (everywhere("area", 3.5), "doubtful", "area far from"),
        (everywhere("category_id", 2), "told", "1 of 2 classes have no instance (one)"),
        (whole, "doubtful", "cover their whole image"),
        (twice, "doubtful", "annotation 999 as 4 of image 3"),
    ],
)
def test_what_is_wrong_as_a_whole_is_told(
    change: Any, effect: str, told: str, tmp_path: Path
) -> None:
    content = make()
    change(content)
    found = [one for one in look(tmp_path, content) if told in str(one)]
    assert [one.effect for one in found] == [effect]


def test_areas_of_boxes_and_masks_made_of_boxes_are_told(tmp_path: Path) -> None:
    content = make()
    for entry in content["annotations"]:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    assert ["area of their box" in str(one) for one in look(tmp_path, content)] == [True]
    for entry in content["annotations"]:
        x, y, w, h = map(round, entry["bbox"])
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (found,) = look(tmp_path, content)
    assert (found.effect, found.count) == ("told", IMAGES * IN_IMAGE)
    assert "are rectangles" in found.what


@pytest.mark.parametrize("other", [" mâle  cat", "ma\u0302le Cat"])
def test_classes_of_one_name_are_told_with_their_ids(tmp_path: Path, other: str) -> None:
    content = make()
    content["categories"] = [{"id": 1, "name": "Mâle cat"}, {"id": 2, "name": other}]
    (found,) = look(tmp_path, content)
    assert (found.effect, found.count) == ("doubtful", 2)
    assert found.places == ("'Mâle cat' is 1", f"{other!r} is 2")


def test_a_set_of_crowds_only_is_not_trained_on(tmp_path: Path) -> None:
    images = [instances.Image(i, tmp_path, 9, 9, [], "") for i in range(2)]
    suspicions.check_learnable(tmp_path, images)  # told of elsewhere
    one = instances.Instance(7, 0, b"", (0, 0, 1, 1), 1.0, (0, 0), True)
    images[1].instances.append(one)
    with pytest.raises(InputError, match=r"all 1 instances are crowds .*annotation 7 of image 1"):
        suspicions.check_learnable(tmp_path, images)
    images[0].instances.append(one._replace(is_crowd=False))
    suspicions.check_learnable(tmp_path, images)


def test_coordinates_that_no_float_holds_are_survived(tmp_path: Path) -> None:
    content = make()
    content["annotations"][0] |= {"segmentation": [[10**400, 0, 9, 0, 9, 9]], "area": 10**400}
    content["annotations"][1] |= {"bbox": [10**400, "x", None, {}]}
    assert "lost" in {one.effect for one in look(tmp_path, content)}


@pytest.mark.parametrize(("key", "shift"), [("category_id", -1), ("image_id", 1)])
def test_ids_that_are_counted_from_another_number_are_told(
    key: str, shift: int, tmp_path: Path
) -> None:
    content = make()
    for entry in content["annotations"]:
        entry[key] += shift
    with pytest.raises(InputError, match=rf"every {key} is known with \{-shift:+d} added to it"):
        look(tmp_path, content)
