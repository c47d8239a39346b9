import json
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data.annotations import Instance
from solojax.evaluation.metrics import coco

CATEGORIES = (Category(3, "cell"), Category(70, "dust"))
PAIR = Path(__file__).parents[3] / "shared" / "data" / "eval_pair"


def rle(top: int, left: int, side: int) -> bytes:
    """A square on an image of 64 x 64."""
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[top : top + side, left : left + side] = 1
    return coco_mask.encode(mask)["counts"]


def instance(number: int, label: int, counts: bytes, is_crowd: bool = False) -> Instance:
    return Instance(number, label, counts, (0.0, 0.0, 20.0, 20.0), 400.0, (9.5, 9.5), is_crowd)


def result(category: int, counts: bytes, score: float) -> dict:
    segmentation = {"size": [64, 64], "counts": counts}
    return dict(image_id=9, category_id=category, segmentation=segmentation, score=score)


def truth_of(*instances: Instance) -> dict:
    return coco.truth_of([9], [[64, 64]], [instances], CATEGORIES)


TWO = (instance(1, 0, rle(2, 2, 20)), instance(2, 1, rle(40, 40, 20)))


def test_the_truth_itself_scores_one():
    found = [result(3, rle(2, 2, 20), 0.9), result(70, rle(40, 40, 20), 0.8)]
    numbers = coco.mask_ap(truth_of(*TWO), found)
    assert list(numbers) == list(coco.NAMES)
    assert [numbers[name] for name in ("AP", "AP50", "AR100")] == pytest.approx([1, 1, 1])
    assert numbers["APl"] == -1  # nothing large to find


@pytest.mark.parametrize("number", [0, 2**53 + 1])
def test_an_instance_may_have_any_id(number):
    truth = truth_of(instance(number, 0, rle(2, 2, 20)))
    assert coco.mask_ap(truth, [result(3, rle(2, 2, 20), 0.9)])["AP"] == pytest.approx(1)


def test_the_wrong_class_scores_nothing():
    found = [result(70, rle(2, 2, 20), 0.9)]
    assert coco.mask_ap(truth_of(TWO[0]), found)["AP"] == 0


def test_nothing_found_scores_zero_without_an_error():
    assert coco.mask_ap(truth_of(*TWO), [])["AP"] == 0


def test_a_detection_of_a_crowd_is_neither_right_nor_wrong():
    truth = truth_of(TWO[0], instance(5, 0, rle(40, 40, 20), is_crowd=True))
    found = [result(3, rle(40, 40, 18), 0.95), result(3, rle(2, 2, 20), 0.9)]
    assert coco.mask_ap(truth, found)["AP"] == pytest.approx(1)


def test_a_thousand_instances_in_an_image_take_no_minutes():
    count = 1500
    boxes = [[7.0 * (n % 40), 7.0 * (n // 40), 5.0, 5.0] for n in range(count)]
    ones = [{"image_id": 9, "category_id": 3, "bbox": box} for box in boxes]
    truth = truth_of()
    truth["annotations"] = [
        {**one, "id": n + 1, "area": 25.0, "iscrowd": 0} for n, one in enumerate(ones)
    ]
    found = coco.boxes_found([{**one, "score": n / count} for n, one in enumerate(ones)])
    begun = time.process_time()
    numbers = coco.numbers_of(coco.judge(truth, found, "bbox", most=count))
    assert numbers["AP"] == numbers[f"AR{count}"] == pytest.approx(1)
    assert time.process_time() - begun < 20, "pycocotools' own loops take minutes"


def test_the_best_of_each_class_in_each_image_are_those_that_count():
    keys = [(9, 3, 0.5), (9, 3, 0.9), (9, 70, 0.1), (4, 3, 0.2), (9, 3, 0.5), (9, 3, 0.7)]
    found = [dict(zip(("image_id", "category_id", "score"), key, strict=True)) for key in keys]
    assert coco.best(found, 4) is found
    assert coco.best(found, 3) == [found[i] for i in (0, 1, 2, 3, 5)]


@pytest.mark.skipif(not PAIR.is_dir(), reason=f"{PAIR.name} is not on this machine")
def test_the_published_pair_reproduces():
    truth, found, expected = (
        json.loads((PAIR / f"{name}.json").read_text())
        for name in ("gt", "segm_results", "expected")
    )
    for annotation in found:
        annotation["segmentation"]["counts"] = annotation["segmentation"]["counts"].encode()
    numbers = coco.mask_ap(truth, found)
    assert expected["order"] == list(numbers)
    np.testing.assert_allclose(list(numbers.values()), expected["segm"], rtol=0, atol=1e-12)
