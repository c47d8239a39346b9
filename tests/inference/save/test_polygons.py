"""Claims about polygons: they enclose the very mask, and a set of them is one to train on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from etils import epath
from pycocotools import mask as coco_mask

from solojax.data import annotations, rle
from solojax.inference.save import polygons
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from tests.inference.save.scene import (
    CATEGORIES,
    NONE,
    TWO,
    box,
    frame,
    load,
    names_in,
    result_of,
    write,
)


def blob(seed: int, size: tuple[int, int], smoothness: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(size)
    smooth = cv2.GaussianBlur(noise, (0, 0), smoothness)
    return (smooth > smooth.std() / 2).astype(np.uint8)


RING = box(2, 2, 18, 18) - box(6, 6, 14, 14)
MASKS = {
    "pixel": box(4, 4, 5, 5),
    "row": box(0, 7, 30, 8),
    "all": box(0, 0, 30, 20),
    "two parts": box(0, 0, 5, 5) + box(20, 10, 30, 20),
    "touching corners": box(2, 2, 5, 5) + box(5, 5, 9, 9),
    "ring": RING,
    "ring with an island": RING + box(9, 9, 11, 11),
    "two holes": box(1, 1, 29, 19) - box(3, 3, 9, 9) - box(15, 4, 25, 16),
    "diagonal": np.eye(20, 30, dtype=np.uint8),
    **{f"blob {seed}": blob(seed, (61, 83), 1 + seed / 2) for seed in range(6)},
}


@pytest.mark.parametrize("name", MASKS)
def test_polygons_are_filled_to_the_very_mask_again(name: str) -> None:
    mask = MASKS[name]
    (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), mask.shape)
    shapes = polygons.polygons(counts, mask.shape[0])
    assert all(len(shape) >= 6 and len(shape) % 2 == 0 for shape in shapes)
    filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(shapes, *mask.shape)))
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("name", ["all", "ring", "two holes", "blob 2", "blob 5"])
def test_the_area_within_polygons_is_that_of_the_mask(name: str) -> None:
    mask = MASKS[name]
    (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), mask.shape)
    shapes = [np.reshape(shape, (-1, 2)) for shape in polygons.polygons(counts, mask.shape[0])]
    x, y = np.concatenate([shape - np.roll(shape, 1, 0) for shape in shapes]).T
    area = abs(
        sum(np.sum(s[:, 0] * np.roll(s[:, 1], 1) - s[:, 1] * np.roll(s[:, 0], 1)) for s in shapes)
    )
    bound = polygons.SLACK * np.hypot(x, y).sum()  # no border lies farther off
    assert abs(area / 2 - mask.sum()) <= min(bound, 0.03 * mask.sum())


def test_a_saved_set_is_one_that_a_training_reads(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("5.jpg", "6.jpg"):
        (images / name).touch()
    ring = result_of([RING, box(20, 10, 30, 20)])
    pairs = [
        (Origin(str(images / "5.jpg"), "5", 5), ring),
        (Origin(str(images / "6.jpg"), "6", 6), NONE),
    ]
    inputs = Inputs([images / "5.jpg", images / "6.jpg"], [], [])
    write(tmp_path / "out", pairs, "polygons", inputs=inputs)
    path = tmp_path / "out" / "instances.json"
    read = annotations.read(epath.Path(path), epath.Path(images))
    assert not list(read.findings)
    assert read.categories == CATEGORIES
    assert [(image.id, image.height, image.width) for image in read.images] == [
        (5, 20, 30),
        (6, 20, 30),
    ]
    first, second = read.images[0].instances
    assert (first.rle, second.rle) == tuple(ring.rles)
    assert first.box == (2, 2, 18, 18)
    assert first.area == RING.sum()
    assert (first.label, second.label) == (0, 1)
    assert load(path)["info"]["images"] == str(images)


def test_frames_of_a_saved_set_lie_beside_it(tmp_path: Path) -> None:
    pairs = [(frame(0, 0.0), TWO), (frame(1, 0.5), NONE)]
    write(tmp_path, pairs, "polygons", "json", "png", inputs=Inputs([], [Path("film.mov")], []))
    read = annotations.read(epath.Path(tmp_path / "instances.json"), epath.Path(tmp_path))
    assert [str(image.path.relative_to(tmp_path)) for image in read.images] == [
        "film/000000.jpg",
        "film/000001.jpg",
    ]
    picture = cv2.imread(str(tmp_path / "film/000001.jpg"))
    assert picture.shape == (20, 30, 3)
    assert np.abs(picture.astype(int) - 90).max() < 3
    rows = load(tmp_path / "detections.json")
    assert [(row["id"], row["frame"], row["time"]) for row in rows] == [(1, 0, 0.0), (2, 1, 0.5)]
    assert names_in(tmp_path) == {
        "instances.json",
        "detections.json",
        *(f"film/00000{i}.{ending}" for i in (0, 1) for ending in ("jpg", "ids.png")),
    }
