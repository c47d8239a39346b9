"""Claims about the files of each form: programs read back what was found, people see it."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from solojax.inference import save
from solojax.inference.save import id_maps
from solojax.inference.streams import Origin
from solojax.types import InputError
from tests.inference.save.scene import (
    NONE,
    TWO,
    box,
    frame,
    load,
    names_in,
    origin,
    result_of,
    write,
)


def test_detections_name_the_file_the_class_and_the_box(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json")
    (row,) = load(tmp_path / "detections.json")
    first, second = row.pop("detections")
    assert row == {"file": "in/5.jpg", "id": 5, "name": "5", "height": 20, "width": 30}
    assert first.pop("score") == pytest.approx(0.9)
    assert first == {"class": "circle", "category_id": 1, "box": [2, 3, 12, 9], "area": 60}
    assert second.pop("score") == pytest.approx(0.8)
    assert second == {"class": "square", "category_id": 7, "box": [8, 5, 20, 15], "area": 120}


def test_results_are_those_that_pycocotools_loads(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO), (origin(6), NONE)], "rle")
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": 20, "width": 30} for i in (5, 6)],
        "categories": [{"id": 1}, {"id": 7}],
        "annotations": [],
    }
    truth.createIndex()
    found = truth.loadRes(str(tmp_path / "results.json"))
    assert [one["area"] for one in found.loadAnns(found.getAnnIds([5]))] == [60, 120]
    assert [one["category_id"] for one in found.dataset["annotations"]] == [1, 7]
    np.testing.assert_array_equal(found.annToMask(found.dataset["annotations"][0]), TWO.masks[0])


def test_results_name_their_images(tmp_path: Path) -> None:
    known = Origin("in/6.jpg", "6", 60, known_as="val/6.jpg")
    write(tmp_path, [(origin(5), TWO), (known, TWO), (frame(7, 0.1), TWO)], "rle")
    names = {row["image_id"]: row["file_name"] for row in load(tmp_path / "results.json")}
    assert names == {5: "in/5.jpg", 60: "val/6.jpg", 8: "film/000007.jpg"}


def test_id_maps_number_detections_from_one_and_show_better_ones_on_top(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "png")
    ids = cv2.imread(str(tmp_path / "5.ids.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16 and ids.shape == (20, 30)
    wanted = np.where(TWO.masks[0], 1, np.where(TWO.masks[1], 2, 0))
    np.testing.assert_array_equal(ids, wanted)
    assert (ids == 1).sum() == 60 and ids[5, 8] == 1


def test_an_id_map_holds_more_detections_than_16_bits_can_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert id_maps.MOST == 2**16 - 1
    monkeypatch.setattr(id_maps, "MOST", 20)  # so many detections take long
    count, (height, width) = 21, (257, 256)
    few = dataclasses.replace(TWO, image=np.zeros((height, width, 3), np.uint8))
    pixels = np.arange(count)
    runs = [
        {"size": [height, width], "counts": [p, 1, height * width - p - 1]} for p in pixels.tolist()
    ]
    rles = [one["counts"] for one in coco_mask.frPyObjects(runs, height, width)]
    many = dataclasses.replace(
        few, rles=rles, scores=np.ones(count, np.float32), labels=np.zeros(count, np.int32)
    )
    for result, ending, other in ((few, "png", "tif"), (many, "tif", "png"), (few, "png", "tif")):
        write(tmp_path, [(origin(5), result)], "png")
        assert (tmp_path / f"5.ids.{ending}").exists()
        assert not (tmp_path / f"5.ids.{other}").exists()
    write(tmp_path, [(origin(5), many)], "png")
    ids = cv2.imread(str(tmp_path / "5.ids.tif"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(ids.ravel("F")[:count], pixels + 1)
    assert not ids.ravel("F")[count:].any()


def test_an_overlay_shows_the_masks(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO), (origin(6), NONE)], overlays=True)
    drawn, plain = (cv2.imread(str(tmp_path / f"{i}.png"))[..., ::-1] for i in (5, 6))
    np.testing.assert_array_equal(drawn, TWO.plot())
    assert (plain == 90).all() and plain.shape == drawn.shape
    assert names_in(tmp_path) == {"5.png", "6.png"}


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    broken = result_of([box(0, 0, 5, 5)])
    broken.scores[0] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, [(origin(5), broken)], "json")


def test_forms_are_checked() -> None:
    assert save.check_forms("png, json,png") == ("png", "json")
    assert save.check_forms("") == ()
    with pytest.raises(InputError, match="--save jsn is none of json, rle, polygons, png"):
        save.check_forms("json,jsn")
