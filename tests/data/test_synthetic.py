"""Claims about the "shapes" data set, checked on small sets in temporary folders."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.config import Data
from solojax.data import synthetic
from solojax.data.records import coco
from solojax.data.synthetic import layout, textures
from solojax.types import InputError

SMALL: dict[str, Any] = {"train": 24, "val": 8, "seed": 3}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the small set, drawn by one process."""
    root = tmp_path_factory.mktemp("shapes")
    synthetic.draw_shapes(root, **SMALL, processes=1)
    return root


def read_set(root: Path, split: str = "train") -> dict[str, Any]:
    """Reads the COCO dictionary of a split."""
    return dict(json.loads((root / "annotations" / f"instances_{split}.json").read_text()))


def read_masks(coco: dict[str, Any]) -> dict[int, np.ndarray]:
    """Returns the masks [N, H, W] of every image id."""
    found: dict[int, list[np.ndarray]] = {image["id"]: [] for image in coco["images"]}
    for a in coco["annotations"]:
        found[a["image_id"]].append(coco_mask.decode(a["segmentation"]))
    return {k: np.stack(masks) for k, masks in found.items()}


def read_bytes(root: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder."""
    files = [p for p in root.rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture, BGR, that must be there."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture


def records_of(root: Path) -> coco.Records:
    return coco.prepare(Data(root=str(root), records=f"{root}-records"), "train")


def lay_out_many(count: int, size: int = 128) -> list[tuple[list[Any], list[np.ndarray]]]:
    """Lays out many pictures without painting them."""
    return [layout.lay_out(np.random.default_rng((9, k)), size) for k in range(count)]


def test_folder_is_an_ordinary_coco_folder(drawn: Path) -> None:
    for split in ("train", "val"):
        coco = read_set(drawn, split)
        assert [c["name"] for c in coco["categories"]] == list(layout.CLASSES)
        assert [c["id"] for c in coco["categories"]] == [1, 2, 3, 4, 5]
        assert [i["id"] for i in coco["images"]] == list(range(1, SMALL[split] + 1))
        ids = [a["id"] for a in coco["annotations"]]
        assert ids == list(range(1, len(ids) + 1))
        assert all(a["iscrowd"] == 0 and 1 <= a["category_id"] <= 5 for a in coco["annotations"])
        for image in coco["images"]:
            picture = read_picture(drawn / "images" / image["file_name"])
            assert picture.shape == (image["height"], image["width"], 3) == (128, 128, 3)


def test_boxes_and_areas_fit_the_visible_masks_tightly(drawn: Path) -> None:
    for a in read_set(drawn)["annotations"]:
        mask = coco_mask.decode(a["segmentation"])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y, w, h = a["bbox"]
        assert (x, y) == (columns[0], rows[0])
        assert (x + w - 1, y + h - 1) == (columns[-1], rows[-1])
        assert a["area"] == mask.sum() >= layout.MIN_PIXELS


def test_label_maps_have_shapes_where_their_masks_are_and_one_texture_elsewhere(
    drawn: Path,
) -> None:
    records = records_of(drawn)
    assert [one.name for one in records.stuff] == list(textures.NAMES)
    grounds = set()
    for index, masks in enumerate(read_masks(read_set(drawn)).values()):
        record = coco.read(records, index)
        labels = coco.labels_of(records, record)
        assert labels is not None
        for one, mask in zip(record.instances, masks, strict=True):
            assert (labels[mask > 0] == one.label).all()
        (ground,) = np.unique(labels[masks.sum(0) == 0]).tolist()
        grounds.add(ground - len(layout.CLASSES))
    assert grounds == set(range(len(textures.NAMES)))


def test_a_folder_without_label_maps_gets_them_and_nothing_else(tmp_path: Path) -> None:
    synthetic.draw_shapes(tmp_path, **TINY, seed=1)
    whole = read_bytes(tmp_path)
    for path in (tmp_path / "annotations").glob("panoptic*.json"):
        path.unlink()
        shutil.rmtree(path.with_suffix(""))
    synthetic.draw_shapes(tmp_path, **TINY, seed=1)
    assert read_bytes(tmp_path) == whole


def test_masks_of_one_image_never_overlap(drawn: Path) -> None:
    for masks in read_masks(read_set(drawn)).values():
        assert masks.sum(0).max() == 1


def test_one_to_six_shapes_per_image_and_every_class_occurs() -> None:
    layouts = lay_out_many(300)
    numbers = Counter(len(shapes) for shapes, _ in layouts)
    assert set(numbers) == {1, 2, 3, 4, 5, 6}
    assert 3.0 < sum(n * k for n, k in numbers.items()) / len(layouts) < 3.7
    labels = Counter(s.label for shapes, _ in layouts for s in shapes)
    assert set(labels) == set(range(5))
    assert max(labels.values()) < 1.6 * min(labels.values())


def test_every_shape_stays_visible_although_shapes_overlap() -> None:
    covered = 0
    for shapes, visible in lay_out_many(100):
        for shape, mask in zip(shapes, visible, strict=True):
            assert mask.sum() >= layout.MIN_VISIBLE * shape.area
            assert mask.sum() >= layout.MIN_PIXELS
            covered += mask.sum() < (shape.coverage >= 0.5).sum()
    assert covered > 50


def test_the_hole_of_a_ring_is_not_in_its_mask() -> None:
    rings = [s for shapes, _ in lay_out_many(40) for s in shapes if s.label == 4]
    for ring in rings:
        x, y = ring.centre.astype(int)
        assert ring.coverage[y, x] < 0.5
    assert len(rings) > 10


def test_colour_says_nothing_about_the_class(tmp_path: Path) -> None:
    synthetic.draw_shapes(tmp_path, train=100, val=1, size=96, processes=1)
    coco = read_set(tmp_path)
    colours, labels = [], []
    for a in coco["annotations"]:
        picture = read_picture(tmp_path / f"images/train/{a['image_id']:06d}.jpg")
        colours.append(picture[coco_mask.decode(a["segmentation"]) > 0].mean(0))
        labels.append(a["category_id"])
    points, classes = np.array(colours), np.array(labels)
    # Share of the colour variance that the class explains: chance gives about 4 / 330.
    means = np.stack([points[classes == k].mean(0) for k in range(1, 6)])
    explained = ((means[classes - 1] - points.mean(0)) ** 2).sum()
    assert explained < 0.04 * ((points - points.mean(0)) ** 2).sum()


def test_shapes_stand_out_from_the_ground(drawn: Path) -> None:
    contrasts = []
    for k, masks in read_masks(read_set(drawn)).items():
        picture = read_picture(drawn / f"images/train/{k:06d}.jpg").astype(np.float32) / 255
        lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)
        ground = lab[masks.sum(0) == 0].mean(0)
        contrasts += [np.linalg.norm(lab[m > 0].mean(0) - ground) for m in masks]
    assert min(contrasts) > 10


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    drawn: Path, tmp_path: Path
) -> None:
    synthetic.draw_shapes(tmp_path, **SMALL, processes=2)
    assert read_bytes(tmp_path) == read_bytes(drawn)


def test_another_seed_gives_other_pictures_and_val_differs_from_train(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    synthetic.draw_shapes(first, train=1, val=1, seed=1, processes=1)
    synthetic.draw_shapes(second, train=1, val=1, seed=2, processes=1)
    pictures = {v for root in (first, second) for k, v in read_bytes(root).items() if "jpg" in k}
    assert len(pictures) == 4


def test_a_finished_set_is_left_alone_and_an_unfinished_one_is_redrawn(tmp_path: Path) -> None:
    few: dict[str, Any] = {"train": 2, "val": 1, "processes": 1}
    synthetic.draw_shapes(tmp_path, **few)
    whole = read_bytes(tmp_path)
    picture = tmp_path / "images/train/000001.jpg"
    picture.write_bytes(b"touched")
    synthetic.draw_shapes(tmp_path, **few)
    assert picture.read_bytes() == b"touched"
    (tmp_path / "annotations/instances_val.json").unlink()
    synthetic.draw_shapes(tmp_path, **few)
    assert read_bytes(tmp_path) == whole
    synthetic.draw_shapes(tmp_path, **few, seed=1)
    assert picture.read_bytes() != whole["images/train/000001.jpg"]


def test_a_foreign_coco_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "annotations/instances_train.json"
    path.parent.mkdir()
    path.write_text('{"info": {}, "images": []}')
    with pytest.raises(InputError, match="instances_train.json"):
        synthetic.draw_shapes(tmp_path, train=1, val=1, processes=1)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 31}, "size is 31, but must be at least 32"),
        ({"train": 0}, "train is 0, but must be at least 1"),
        ({"val": -2}, "val is -2, but must be at least 1"),
        ({"processes": 0}, "processes is 0, but must be at least 1"),
    ],
)
def test_bad_arguments_name_value_and_limit(
    tmp_path: Path, wrong: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        synthetic.draw_shapes(tmp_path, **wrong)


def test_smallest_pictures_still_hold_shapes() -> None:
    for shapes, visible in lay_out_many(20, layout.MIN_SIZE):
        assert 1 <= len(shapes) == len(visible)


def test_smooth_noise_varies_alike_in_both_directions() -> None:
    y, x = np.mgrid[:256, :256].astype(np.float32) * 0.8 + 100
    noise = textures.smooth_noise(np.random.default_rng(0), x, y, 4, 4)
    along, across = np.abs(np.diff(noise, axis=1)).mean(), np.abs(np.diff(noise, axis=0)).mean()
    assert 0.8 < along / across < 1.25


TINY: dict[str, Any] = {"train": 2, "val": 1, "size": 32, "processes": 1}


@pytest.mark.parametrize("how", ["file", "link", "beyond the set", "changed since"])
def test_pictures_by_others_are_never_drawn_over(how: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    theirs = root / "images/train/000002.jpg"
    if how in ("beyond the set", "changed since"):
        synthetic.draw_shapes(root, **{**TINY, "train": 1 if how == "beyond the set" else 2})
    theirs.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        (tmp_path / "mine.jpg").write_bytes(b"mine")
        theirs.symlink_to(tmp_path / "mine.jpg")
    else:
        theirs.write_bytes(b"mine")
        os.utime(theirs, (2e9, 2e9))
    before = read_bytes(tmp_path)
    with pytest.raises(InputError, match=r"000002\.jpg was not drawn for this set; move it away"):
        synthetic.draw_shapes(root, **TINY, seed=1)
    assert read_bytes(tmp_path) == before


def test_drawing_that_was_interrupted_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.draw_shapes(tmp_path, **{**TINY, "train": 3})
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "collect", lambda drawn, *_: next(iter(drawn)) and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            synthetic.draw_shapes(tmp_path, **TINY, seed=1)
    synthetic.draw_shapes(tmp_path, **{**TINY, "train": 3}, seed=2)
    assert sorted(path for path in read_bytes(tmp_path) if path.endswith(".json")) == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "annotations/panoptic_train.json",
        "annotations/panoptic_val.json",
    ]
