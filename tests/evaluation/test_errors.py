"""Claims about the kinds of errors, one by one, and what mending them gains."""

import numpy as np
import pytest

from solojax.evaluation.analysis import errors
from solojax.evaluation.metrics import coco
from tests.evaluation.rectangles import result, scenes_of, truth_of

A = (10, 10, 20, 20)
BESIDE_A = (10, 20, 20, 20)  # an IoU of 1 / 3 with A
HALF_A = (10, 10, 20, 10)  # of 1 / 2
FAR = (60, 60, 20, 20)
TWO_THIRDS = (51 + 50 * 2 / 3) / 101  # right, wrong, right: of 101 points of recall 51 are before


def split(truth: dict, results: list[dict]) -> dict[str, tuple[int, float]]:
    """Count and gain of the kinds that occur."""
    scenes = scenes_of(truth, results)
    judged = coco.judge(truth, coco.masks_found(results), "segm", scenes)
    found = errors.split(errors.tabulate(judged, scenes))
    assert list(found) == list(errors.KINDS)
    return {
        kind: (one["count"], pytest.approx(one["dAP50"]))
        for kind, one in found.items()
        if one["count"] or one["dAP50"]
    }


def test_what_is_right_is_no_error():
    assert split(truth_of([(3, A)]), [result(3, A, 0.9)]) == {}


def test_nothing_at_all_is_no_error():
    assert split(truth_of([]), []) == {}


def test_the_wrong_class_in_the_right_place():
    found = [result(70, A, 0.9)]
    assert split(truth_of([(3, A)]), found) == {"classification": (1, 1.0)}, "and nothing is missed"


def test_an_iou_of_one_half_is_the_right_place():
    assert split(truth_of([(3, A)]), [result(70, HALF_A, 0.9)]) == {"classification": (1, 1.0)}
    assert split(truth_of([(3, A)]), [result(3, HALF_A, 0.9)]) == {}


def test_the_right_class_beside_the_place():
    assert split(truth_of([(3, A)]), [result(3, BESIDE_A, 0.9)]) == {"localisation": (1, 1.0)}


def test_the_wrong_class_beside_the_place():
    truth = truth_of([(3, A), (3, FAR), (70, FAR)])
    found = [result(3, FAR, 0.9), result(70, BESIDE_A, 0.8), result(70, FAR, 0.7)]
    # Class 70 has a precision of .5, and class 3 half of its instances.
    assert split(truth, found) == {"both": (1, 0.25), "missed": (1, (1 - 51 / 101) / 2)}


def test_what_was_found_already():
    truth = truth_of([(3, A), (3, FAR)])
    found = [result(3, A, 0.9), result(3, HALF_A, 0.8), result(3, FAR, 0.7)]
    assert split(truth, found) == {"duplicate": (1, 1 - TWO_THIRDS)}


def test_what_lies_on_nothing():
    found = [result(3, FAR, 0.9), result(3, A, 0.8)]
    assert split(truth_of([(3, A)]), found) == {"background": (1, 0.5)}


def test_an_image_without_truth_has_only_background():
    found = [result(3, A, 0.9, image=2), result(3, A, 0.8)]
    assert split(truth_of([(3, A)], []), found) == {"background": (1, 0.5)}


def test_what_nothing_speaks_of_is_missed():
    truth = truth_of([(3, A), (3, FAR)])
    assert split(truth, [result(3, A, 0.9)]) == {"missed": (1, 50 / 101)}


def test_where_all_is_missed_nothing_can_be_gained_by_leaving_it_out():
    assert split(truth_of([(3, A)]), []) == {"missed": (1, 0.0)}


def test_a_crowd_is_neither_missed_nor_an_error_to_find():
    truth = truth_of([(3, A)], crowds=[(3, FAR)])
    assert split(truth, [result(3, FAR, 0.9), result(3, A, 0.8)]) == {}


def test_of_two_detections_of_an_instance_the_worse_goes_when_its_class_is_mended():
    truth = truth_of([(3, A), (70, FAR)])
    found = [result(70, A, 0.9), result(3, A, 0.8), result(70, FAR, 0.7)]
    # Class 70 goes from .5 to 1, and class 3 keeps its 1, whichever of the two stays.
    assert split(truth, found) == {"classification": (1, 0.25)}


def test_the_place_comes_before_the_class_where_both_could_be_told():
    truth = truth_of([(3, BESIDE_A), (70, A)])
    assert split(truth, [result(3, A, 0.9)])["localisation"][0] == 1


def test_the_ap50_that_gains_start_from_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    places = [(int(y), int(x), 20, 20) for y, x in rng.integers(0, 80, (60, 2))]
    truth = truth_of(*([(int(rng.choice([3, 70])), one) for one in places[i::6]] for i in range(6)))
    found = [
        result(
            int(rng.choice([3, 70])),
            (y + int(rng.integers(-4, 5)), x, 20, 20) if 5 < y < 75 else (y, x, 20, 20),
            float(rng.choice([0.2, 0.5, 0.9])),
            image=i % 6 + 1,
        )
        for i, (y, x, _, _) in enumerate(places)
        for _ in range(2)
    ]
    scenes = scenes_of(truth, found)
    judged = coco.judge(truth, coco.masks_found(found), "segm", scenes)
    table, labels, *_ = errors.tabulate(judged, scenes)
    ap50 = errors.ap50_of(table.labels, table.scores, table.right, np.bincount(labels))
    assert ap50 == coco.numbers_of(judged)["AP50"]
    assert 0.05 < ap50 < 0.95
