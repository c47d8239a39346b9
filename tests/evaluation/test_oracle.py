import copy

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data.annotations import Instance
from solojax.evaluation.analysis import oracle
from solojax.evaluation.metrics import coco

CATEGORIES = (Category(3, "cell"), Category(70, "dust"))
IMAGE_IDS = [9, 4]  # of the records 0 and 1
BOTH = (oracle.masks, oracle.classes)


def rle(top: int, left: int, height: int, width: int) -> bytes:
    """A rectangle on an image of 64 x 64."""
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    return coco_mask.encode(mask)["counts"]


WHOLE = rle(2, 2, 20, 20)
HALF = rle(2, 2, 20, 10)
FAR = rle(40, 40, 20, 20)


def instance(number: int, label: int, counts: bytes, is_crowd: bool = False) -> Instance:
    return Instance(number, label, counts, (0.0, 0.0, 20.0, 20.0), 400.0, (9.5, 9.5), is_crowd)


def truth_of(*here: Instance, other: tuple[Instance, ...] = ()) -> dict:
    return coco.truth_of(IMAGE_IDS, [[64, 64]] * 2, [here, other], CATEGORIES)


def result(category: int, counts: bytes, score: float, record: int = 0) -> dict:
    segmentation = {"size": [64, 64], "counts": counts}
    image_id = IMAGE_IDS[record]
    return dict(image_id=image_id, category_id=category, segmentation=segmentation, score=score)


def ap(truth: dict, results: dict) -> float:
    return coco.mask_ap(truth, [one for here in results.values() for one in here])["AP"]


def counts_of(results: dict) -> list[bytes]:
    return [one["segmentation"]["counts"] for one in results[0]]


def test_a_half_right_mask_becomes_the_true_one():
    truth = truth_of(instance(1, 0, WHOLE))
    found = {0: [result(3, HALF, 0.9)], 1: []}
    assert ap(truth, found) < 0.2
    assert ap(truth, oracle.masks(truth, found)) == pytest.approx(1)
    assert oracle.classes(truth, found) == found


def test_a_wrong_class_becomes_the_true_one():
    truth = truth_of(instance(1, 0, WHOLE))
    found = {0: [result(70, WHOLE, 0.9)], 1: []}
    assert ap(truth, oracle.masks(truth, found)) == 0
    assert ap(truth, oracle.classes(truth, found)) == pytest.approx(1)


def test_the_greatest_iou_decides_whatever_the_class():
    wide = rle(2, 2, 60, 60)  # covers all of the prediction, at an IoU of 1 / 18
    truth = truth_of(instance(1, 0, wide), instance(2, 1, WHOLE))
    found = {0: [result(3, HALF, 0.9)]}
    assert counts_of(oracle.masks(truth, found)) == [WHOLE]
    assert oracle.masks(truth, found)[0][0]["category_id"] == 3
    assert oracle.classes(truth, found)[0][0]["category_id"] == 70
    assert counts_of(oracle.classes(truth, found)) == [HALF]


@pytest.mark.parametrize("replace", BOTH)
def test_what_overlaps_nothing_stays(replace):
    found = {0: [result(70, FAR, 0.9)], 1: []}
    assert replace(truth_of(instance(1, 0, WHOLE)), found) == found


@pytest.mark.parametrize("replace", BOTH)
def test_a_mask_without_a_pixel_stays(replace):
    found = {0: [result(70, rle(0, 0, 0, 0), 0.9)], 1: []}
    assert replace(truth_of(instance(1, 0, WHOLE)), found) == found


@pytest.mark.parametrize("replace", BOTH)
def test_a_crowd_is_no_candidate(replace):
    crowd = instance(1, 0, WHOLE, is_crowd=True)
    found = {0: [result(70, HALF, 0.9)], 1: []}
    assert replace(truth_of(crowd), found) == found
    assert replace(truth_of(crowd, instance(2, 0, FAR)), found) == found


def test_two_predictions_of_one_instance_are_one_right_and_one_wrong():
    truth = truth_of(instance(1, 0, WHOLE), instance(2, 0, FAR))
    other_half = rle(2, 12, 20, 10)
    found = {0: [result(3, HALF, 0.9), result(3, other_half, 0.8), result(3, FAR, 0.7)]}
    replaced = oracle.masks(truth, found)
    assert counts_of(replaced) == [WHOLE, WHOLE, FAR]
    # Precision is 1 up to half of the recall (51 of 101 points), 2 / 3 from there.
    assert ap(truth, replaced) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_true_masks_can_lower_the_score_by_drawing_a_prediction_off_a_crowd():
    beside = rle(2, 11, 20, 20)  # shares one column with the crowd
    crowd = instance(1, 0, HALF, is_crowd=True)
    truth = truth_of(crowd, instance(2, 0, beside), instance(3, 0, FAR))
    found = {0: [result(3, HALF, 0.9), result(3, beside, 0.8), result(3, FAR, 0.7)]}
    assert ap(truth, found) == pytest.approx(1)
    assert ap(truth, oracle.masks(truth, found)) == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize("replace", BOTH)
def test_only_the_truth_of_the_same_image_counts(replace):
    truth = truth_of(instance(1, 0, FAR), other=(instance(2, 0, WHOLE),))
    found = {1: [result(70, FAR, 0.9, record=1)], 0: [result(70, WHOLE, 0.9)]}
    assert replace(truth, found) == found


@pytest.mark.parametrize("replace", BOTH)
def test_an_image_without_truth_keeps_its_predictions(replace):
    found = {0: [result(70, HALF, 0.9)], 1: [result(70, HALF, 0.8, record=1)]}
    replaced = replace(truth_of(instance(1, 0, WHOLE)), found)
    assert replaced[1] == found[1]
    assert replaced[0] != found[0]


@pytest.mark.parametrize("replace", BOTH)
def test_nothing_found_stays_nothing(replace):
    truth = truth_of(instance(1, 0, WHOLE))
    assert replace(truth, {}) == {}
    assert replace(truth, {0: [], 1: []}) == {0: [], 1: []}
    assert replace(truth_of(), {0: [], 1: []}) == {0: [], 1: []}


@pytest.mark.parametrize("replace", BOTH)
def test_scores_and_order_are_kept_and_what_is_given_stays_as_it_is(replace):
    truth = truth_of(instance(1, 0, WHOLE), instance(2, 0, FAR))
    found = {0: [result(70, FAR, 0.9), result(70, HALF, 0.3), result(3, WHOLE, 0.5)]}
    before = copy.deepcopy((truth, found))
    replaced = replace(truth, found)
    assert [one["score"] for one in replaced[0]] == [0.9, 0.3, 0.5]
    assert {one["image_id"] for one in replaced[0]} == {9}
    assert (truth, found) == before


def test_the_table_shows_all_twelve_numbers_side_by_side():
    lines = oracle.table(dict.fromkeys(coco.NAMES, 0.25), dict.fromkeys(coco.NAMES, 0.5))
    head, *numbers = lines.splitlines()
    assert head.split() == ["run", "oracle"]
    assert [line.split()[:3] for line in numbers] == [
        [name, "0.250", "0.500"] for name in coco.NAMES
    ]
