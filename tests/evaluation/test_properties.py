"""Random cases: what is scored in memory is what plain pycocotools makes of files, to the bit."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solojax.config import Category
from solojax.data import rle
from solojax.data.annotations import Instance
from solojax.evaluation.metrics import coco

# The same cases everywhere and every time.
CASES = settings(derandomize=True, deadline=None, database=None)
SIZES = ((100, 97), (40, 120), (5, 3), (33, 64))
IMAGE_IDS = (9, 4, 100, 7)  # of which nothing may be said
CATEGORIES = tuple(Category(number, f"class {number}") for number in (3, 70, 71))

shapes = st.tuples(
    st.integers(0, 20),  # top
    st.integers(0, 20),  # left
    st.sampled_from([(32, 32), (96, 96), (31, 33), (20, 12), (1, 1), (0, 0), (100, 120)]),
    st.sampled_from([0, 0, 0, 1, 2]),  # how ragged
)
places = st.tuples(st.integers(0, len(SIZES) - 1), st.integers(0, len(CATEGORIES) - 1), shapes)
truths = st.lists(
    st.tuples(places, st.booleans(), st.sampled_from([None, 1023.5, 32.0**2, 96.0**2, 9216.5])),
    max_size=7,
)
detections = st.lists(st.tuples(places, st.sampled_from([0.1, 0.5, 0.5, 0.9, 1 / 3])), max_size=12)


def draw(shape: tuple[int, int, tuple[int, int], int], size: tuple[int, int]) -> np.ndarray:
    top, left, (height, width), ragged = shape
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    if ragged:
        y, x = np.indices(size)
        mask[(y * 7 + x * (ragged + 2)) % 5 < ragged] = 0
    return mask


def as_text(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def as_file(truth: list[dict], found: list[dict]) -> dict[str, Any]:
    """What other programs would do: two files, and pycocotools."""
    images = [
        {"id": number, "height": height, "width": width}
        for number, (height, width) in zip(IMAGE_IDS, SIZES, strict=True)
    ]
    categories = [{"id": category.id, "name": category.name} for category in CATEGORIES]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        paths = [str(Path(folder) / name) for name in ("gt.json", "results.json")]
        content = {"images": images, "categories": categories, "annotations": truth}
        Path(paths[0]).write_text(json.dumps(content))
        Path(paths[1]).write_text(json.dumps(found))
        gold = COCO(paths[0])
        judged = COCOeval(gold, gold.loadRes(paths[1]), "segm")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return {"stats": judged.stats.tolist(), **judged.eval}


def check_scores(true: list[tuple], found: list[tuple]) -> None:
    instances: list[list[Instance]] = [[] for _ in SIZES]
    truth_file, result_file, results = [], [], []
    for number, ((image, label, shape), is_crowd, area) in enumerate(true, 1):
        mask = draw(shape, SIZES[image])
        area = float(mask.sum()) if area is None else area
        x, y, width, height = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask)))
        (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), SIZES[image])
        box = (x, y, x + width, y + height)
        instances[image].append(Instance(number, label, counts, box, area, (0.0, 0.0), is_crowd))
        truth_file.append(
            {
                "id": number,
                "image_id": IMAGE_IDS[image],
                "category_id": CATEGORIES[label].id,
                "segmentation": as_text(mask),
                "bbox": [x, y, width, height],
                "area": area,
                "iscrowd": int(is_crowd),
            }
        )
    for (image, label, shape), score in found:
        mask = draw(shape, SIZES[image])
        one = dict(image_id=IMAGE_IDS[image], category_id=CATEGORIES[label].id, score=score)
        (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), SIZES[image])
        results.append({**one, "segmentation": {"size": list(mask.shape), "counts": counts}})
        result_file.append({**one, "segmentation": as_text(mask)})
    truth = coco.truth_of(IMAGE_IDS, SIZES, instances, CATEGORIES)
    numbers = list(coco.mask_ap(truth, results).values())
    if not found:  # which pycocotools refuses to load
        assert set(numbers) <= {0.0, -1.0}
        return
    expected = as_file(truth_file, result_file)
    assert numbers == expected["stats"]
    those = coco.masks_found(results)
    judged = coco.judge(truth, those, "segm", coco.overlap(truth, those, "segm"))
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(judged.eval[name], expected[name])


@settings(CASES, max_examples=60)
@given(truths, detections)
def test_random_cases_score_as_pycocotools_scores_them_from_files(true, found):
    check_scores(true, found)


@pytest.mark.slow
@pytest.mark.long
@settings(CASES, max_examples=940)
@given(truths, detections)
def test_more_random_cases_score_as_pycocotools_scores_them_from_files(true, found):
    check_scores(true, found)


def test_cases_that_must_not_depend_on_luck_score_as_pycocotools_scores_them():
    square, large, whole = (0, 0, (32, 32), 0), (1, 1, (96, 96), 0), (0, 0, (100, 120), 0)
    exact = [((0, 0, square), False, None), ((0, 1, large), False, None)]
    found = [((0, 0, square), 0.5), ((0, 1, large), 0.5), ((0, 0, large), 0.5)]
    check_scores(exact, found)
    check_scores([((0, 0, whole), True, None), *exact], found)
    check_scores([], found)
    check_scores(exact, [])
    check_scores(exact, [((0, 0, square), 0.5)] * 130)


@st.composite
def patches(draw: Any) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Two patches, the corner where they lie, and the size of their image."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    size = height + top + draw(st.integers(0, 9)), width + left + draw(st.integers(0, 9))
    share = draw(st.sampled_from([0, 0.02, 0.3, 0.9, 1]))
    seed = draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).random((2, height, width)) < share
    return pixels.astype(np.uint8), (top, left), size


def check_encoding(case: tuple, below: int, beyond: int) -> None:
    pixels, corner, size = case
    whole = np.zeros((len(pixels), *size), np.uint8)
    height, width = pixels.shape[1:]
    whole[:, corner[0] : corner[0] + height, corner[1] : corner[1] + width] = pixels
    expected = coco_mask.encode(np.asfortranarray(np.moveaxis(whole, 0, -1)))
    expected = [one["counts"] for one in expected]
    assert [rle.encode_patch(patch, corner, size) for patch in pixels] == expected
    # On a canvas that is larger than the image.
    packed = np.packbits(np.pad(whole, [(0, 0), (0, below), (0, beyond)]), axis=-1)
    assert rle.encode_packed(packed, size) == expected


@settings(CASES, max_examples=250)
@given(patches(), st.integers(0, 20), st.integers(0, 20))
def test_packed_masks_are_encoded_as_pycocotools_encodes_them(case, below, beyond):
    check_encoding(case, below, beyond)


@pytest.mark.slow
@pytest.mark.long
@settings(CASES, max_examples=1000)
@given(patches(), st.integers(0, 20), st.integers(0, 20))
def test_more_packed_masks_are_encoded_as_pycocotools_encodes_them(case, below, beyond):
    check_encoding(case, below, beyond)


def test_hotcoco_agrees_to_the_bit():
    hotcoco = pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    truth, found = [], []
    for number in range(1, 60):
        image, label = int(rng.integers(len(SIZES))), int(rng.integers(len(CATEGORIES)))
        shape = (*map(int, rng.integers(0, 20, 2)), (int(rng.integers(1, 60)), 32), 0)
        near = (shape[0] + int(rng.integers(0, 3)), *shape[1:])
        mask = draw(shape, SIZES[image])
        name = dict(image_id=IMAGE_IDS[image], category_id=CATEGORIES[label].id)
        one = {**name, "id": number, "segmentation": as_text(mask), "area": float(mask.sum())}
        x, y, width, height = shape[1], shape[0], 32, shape[2][0]
        truth.append({**one, "iscrowd": int(number % 9 == 0), "bbox": [x, y, width, height]})
        score = float(rng.choice([0.3, 0.6, 0.9]))
        found.append({**name, "score": score, "segmentation": as_text(draw(near, SIZES[image]))})
    images = [
        {"id": number, "height": height, "width": width}
        for number, (height, width) in zip(IMAGE_IDS, SIZES, strict=True)
    ]
    categories = [{"id": category.id, "name": category.name} for category in CATEGORIES]
    content = {"images": images, "categories": categories, "annotations": truth}
    gold = hotcoco.COCO(json.loads(json.dumps(content)))
    judged = hotcoco.COCOeval(gold, gold.load_res(found), "segm")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    for one in (*truth, *found):
        one["segmentation"]["counts"] = one["segmentation"]["counts"].encode()
    numbers = coco.mask_ap(content, found)
    assert 0.1 < numbers["AP"] < 0.9
    assert list(judged.stats) == list(numbers.values())
