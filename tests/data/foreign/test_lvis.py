"""Claims about LVIS: what it says beyond COCO stays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solojax.data.foreign import lvis
from tests.data.foreign.scene import (
    BOX,
    TRIANGLE,
    bring,
    content_of,
    drawn,
    lost,
    lvis_json,
    masks,
    png,
    put,
    put_lvis,
    raw,
    read,
    refusal,
)


def test_lvis_keeps_ids_names_and_all_further_keys(source: Path, out: Path) -> None:
    bring("lvis", put_lvis(source), out)
    given, found = lvis_json(), raw(out, "val")
    name = {"file_name": "val2017/000000397133.jpg"}
    assert found["images"] == [{**given["images"][0], **name}]
    assert found["annotations"] == [{**given["annotations"][0], "iscrowd": 0}]
    assert found["categories"] == given["categories"]
    assert found["licenses"] == given["licenses"]
    assert found["info"]["version"] == "v1"
    assert not (out / "annotations/instances_train.json").exists()
    (image,) = read(out, "val").images
    np.testing.assert_array_equal(masks(image), [drawn(TRIANGLE)])


def test_lvis_file_name_precedes_the_url(source: Path, out: Path) -> None:
    (image,) = lvis_json()["images"]
    put_lvis(source, lvis_json(images=[{**image, "file_name": "mine/a.jpg"}]), "train")
    put(source / "mine/a.jpg", png(3, end=".jpg"))
    (source / "lvis_v1_train.json").rename(put(source / "annotations/lvis_v1_train.json", ""))
    bring("lvis", source, out)
    assert content_of(out / "images") == {"mine/a.jpg": png(3, end=".jpg")}


def test_lvis_names_of_2014_mean_the_files_of_2017(source: Path, out: Path) -> None:
    (image,) = lvis_json()["images"]
    image = {**image, "file_name": "COCO_val2014_000000397133.jpg", "coco_url": None}
    bring("lvis", put_lvis(source, lvis_json(images=[image])), out)
    assert list(content_of(out / "images")) == ["val2017/000000397133.jpg"]


def test_lvis_boxes_areas_and_crowds_are_added_where_absent(source: Path, out: Path) -> None:
    (entry,) = lvis_json()["annotations"]
    for key in ("bbox", "area"):
        del entry[key]
    entry["segmentation"] = [np.ravel(BOX).tolist()]
    crowd = {**entry, "id": 13, "iscrowd": 1}
    bring("lvis", put_lvis(source, lvis_json(annotations=[entry, crowd])), out)
    found = raw(out, "val")["annotations"]
    assert [a["bbox"] for a in found] == [[40, 10, 20, 15]] * 2
    assert [a["area"] for a in found] == [300] * 2
    assert [a["iscrowd"] for a in found] == [0, 1]


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "a segmentation that is no list of polygons"),
        ([], "no polygon of three points"),
        ([[1, 1, 9, 9]], "no polygon of three points"),
        ({"size": [3, 3], "counts": "abc"}, "a segmentation that is no list of polygons"),
        ([[5, 5, 5, 5, 5, 5]], "mask without a pixel"),
    ],
)
def test_lvis_instance_without_a_mask_is_skipped(
    segmentation: Any, reason: str, source: Path
) -> None:
    (entry,) = lvis_json()["annotations"]
    bad = {**entry, "id": 13, "segmentation": segmentation}
    put_lvis(source, lvis_json(annotations=[bad, entry]))
    found = lvis.read(source).splits["val"]
    assert lost(found) == {reason: 1}
    assert [i["id"] for i in found.pictures[0].instances] == [12]


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("images", {"id": None}, "an entry has no integer 'id'"),
        ("images", {"coco_url": None}, "the image"),
        ("images", {"coco_url": "http://x/val2017/lost.jpg"}, "lost.jpg is missing"),
        ("images", {"coco_url": "http://x/../.."}, "leads out of the folder of images"),
        ("images", {"file_name": "../a.jpg"}, "leads out of the folder of images"),
        ("images", {"file_name": "/etc/passwd"}, "leads out of the folder of images"),
        ("images", {"file_name": "a\0.jpg"}, "leads out of the folder of images"),
        ("images", {"height": 47}, "height, width are (48, 64), not (47, 64)"),
        ("images", {"width": None}, "height, width are (48, 64), not (48, None)"),
        ("annotations", {"id": "a"}, "an entry has no integer 'id'"),
        ("annotations", {"image_id": 5}, "annotation 12 has no image or category"),
        ("annotations", {"image_id": [5]}, "an entry has no integer 'image_id'"),
        ("annotations", {"category_id": 5}, "annotation 12 has no image or category"),
        (
            "annotations",
            {"segmentation": [[1, 1, 9, 9, 5, float("nan")]]},
            "annotation 12: a coord",
        ),
        ("annotations", {"segmentation": ["abcdef"]}, "annotation 12: a coordinate is no number"),
        ("categories", {"id": 1.5}, "an entry has no integer 'id'"),
    ],
)
def test_bad_lvis_entry_is_named(part: str, changes: dict, words: str, source: Path) -> None:
    content = lvis_json()
    content[part][0].update(changes)
    message = refusal("lvis", put_lvis(source, content))
    assert words in message
    assert str(source) in message


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_json_without_a_list_of_lvis_is_refused(part: str, source: Path) -> None:
    no_lists: tuple[Any, ...] = (None, {}, [3])
    for bad in no_lists:
        message = refusal("lvis", put_lvis(source, lvis_json(**{part: bad})))
        assert f"lvis_v1_val.json is not an LVIS file: it has no list {part!r}" in message


def test_two_lvis_files_of_a_split_are_refused(source: Path) -> None:
    put_lvis(source)
    put(source / "annotations/lvis_v0.5_val.json", json.dumps(lvis_json()))
    assert "are both of val; move one elsewhere" in refusal("lvis", source)
