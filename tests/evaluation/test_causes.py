"""Claims about what AP is lost to, and which labels are doubted."""

import json
from typing import Any

import pytest

from solojax.evaluation import scores
from solojax.evaluation.analysis import causes
from tests.evaluation.rectangles import result, truth_of

A, B, C = (10, 10, 20, 20), (10, 32, 20, 20), (60, 60, 36, 36)
BOTH = (10, 10, 20, 42)  # over A and B
FAR = (40, 0, 10, 10)


def lost(truth: dict, results: list[dict], **traits: Any) -> dict[str, dict]:
    scored = scores.score(truth, results, traits=causes.Traits(**traits))
    assert json.loads(json.dumps(scored["lost"])) == scored["lost"]
    return {one["cause"]: one for one in scored["lost"]}


def test_neighbours_under_one_detection_are_merged_and_nothing_else():
    found = lost(truth_of([(3, A), (3, B), (3, C)]), [result(3, BOTH, 0.9), result(3, C, 0.8)])
    assert list(found) == ["merged"]
    one = found["merged"]
    assert (one["count"], one["detections"], one["cellless"]) == (2, 1, 0)
    # Now a third is found, at a precision of a half; without the three one instance is left.
    assert one["dAP50"] == pytest.approx(1 - 0.5 * 34 / 101)
    (example,) = one["examples"]
    assert (example["truths"], example["results"]) == ([1, 2], [0])
    assert example["box"] == [10, 10, 42, 20]


@pytest.mark.parametrize(
    ("results", "merged"),
    [
        ([result(3, BOTH, 0.9), result(3, A, 0.8), result(3, B, 0.7)], False),  # all are found
        ([result(3, BOTH, 0.2), result(3, C, 0.8)], False),  # below what is shown
        ([result(70, BOTH, 0.9), result(3, C, 0.8)], False),  # of another class
        ([result(3, BOTH, 0.9), result(3, A, 0.8), result(3, C, 0.8)], True),  # B is lost
    ],
)
def test_what_is_found_all_the_same_is_not_merged(results: list[dict], merged: bool):
    found = lost(truth_of([(3, A), (3, B), (3, C)]), results)
    assert ("merged" in found) == merged
    if merged:
        assert found["merged"]["count"] == 1


def test_each_missed_instance_has_one_cause():
    truth = truth_of([(3, A), (3, B), (3, C), (70, FAR)], [(3, A)])
    found = lost(truth, [result(3, A, 0.9, 2)], cellless=frozenset({2}), small=frozenset({1, 2}))
    assert {cause: one["count"] for cause, one in found.items()} == {
        "cellless": 1,
        "small": 1,
        "missed": 2,
    }
    assert found["small"]["recall"] == [[0, 2], [1, 3]]
    assert found["missed"]["classes"] == [[3, 1], [70, 1]] and found["missed"]["images"] == 1
    # An image whose detections are used up cannot have more.
    full = lost(truth, [result(3, A, 0.9, 2), result(70, C, 0.8)], most=1)
    assert {cause: one["count"] for cause, one in full.items()} == {
        "capped": 3,
        "classification": 1,
    }


def test_without_a_canvas_small_is_what_it_is_to_coco():
    found = lost(truth_of([(3, A), (70, C)]), [])
    assert found["small"]["count"] == found["missed"]["count"] == 1


def test_masks_that_are_roughly_right_cost_what_ap_lacks_up_to_their_bound():
    truth = truth_of([(3, C)], [(3, C)])
    rough = (60, 60, 36, 24)  # IoU 2/3
    found = lost(truth, [result(3, rough, 0.9), result(3, C, 0.8, 2)])
    scored = scores.score(truth, [result(3, rough, 0.9), result(3, C, 0.8, 2)])
    one = found["rough"]
    assert (one["count"], one["dAP50"]) == (1, 0)
    mended = scores.score(truth, [result(3, (60, 60, 36, 27), 0.9), result(3, C, 0.8, 2)])
    assert one["dAP"] == pytest.approx(mended["AP"] - scored["AP"])
    assert lost(truth, [result(3, C, 0.9), result(3, C, 0.8, 2)]) == {}


def test_classes_taken_for_each_other_are_told_by_pairs():
    truth = truth_of([(3, A), (3, C)], [(70, A)])
    found = lost(truth, [result(70, A, 0.9), result(3, C, 0.8), result(70, A, 0.9, 2)])
    one = found["classification"]
    assert one["pairs"] == [[0, 1, 1]] and one["dAP50"] > 0.2
    (example,) = one["examples"]
    assert (example["category_id"], example["found_as"], example["score"]) == (3, 70, 0.9)


def test_losses_come_in_the_order_of_what_they_cost():
    truth = truth_of([(3, A), (3, C)], [(3, A), (3, B)])
    found = [result(3, A, 0.9), result(3, FAR, 0.8), result(3, C, 0.7), result(3, A, 0.6, 2)]
    gains = [one["dAP"] for one in lost(truth, found).values()]
    assert gains == sorted(gains, reverse=True) and len(gains) == 2


def test_boxes_are_lost_as_masks_are():
    truth = truth_of([(3, A), (3, B), (3, C)])
    boxes = [
        {"image_id": 1, "category_id": 3, "score": 0.9, "bbox": [left, top, width, height]}
        for top, left, height, width in (BOTH, C)
    ]
    (one,) = scores.score(truth, boxes, "bbox")["lost"]
    assert (one["cause"], one["count"]) == ("merged", 2)


def test_more_truths_than_eight_bits_count_are_no_obstacle():
    many = [(2 * i, 5 * j, 1, 4) for i in range(50) for j in range(6)]
    scored = scores.score(truth_of([(3, place) for place in many]), [result(3, many[0], 0.9)])
    assert scored["errors"]["missed"]["count"] == 299


def test_labels_are_doubted_where_they_and_what_was_found_contradict():
    truth = truth_of([(3, A), (70, B), (3, C)], crowds=[(3, (0, 60, 20, 20))])
    found = [
        result(3, A, 0.9),
        result(3, B, 0.92),  # fits what is labelled as the other class
        result(3, FAR, 0.95),  # nothing is labelled
        result(3, (0, 60, 10, 10), 0.9),  # in a crowd
        result(70, (80, 0, 10, 10), 0.01),  # nobody sees it
    ]
    doubted = scores.score(truth, found)["labels"]
    assert {kind: one["count"] for kind, one in doubted.items()} == {
        "unlabelled": 1,
        "unfound": 1,
        "class": 1,
    }
    (unlabelled,), (unfound,), (other,) = (one["first"] for one in doubted.values())
    assert (unlabelled["score"], unlabelled["box"]) == (0.95, [0, 40, 10, 10])
    assert (unfound["category_id"], unfound["box"]) == (3, [60, 60, 36, 36])
    assert (other["category_id"], other["found_as"]) == (70, 3)
    full = scores.score(truth, found, traits=causes.Traits(most=5))["labels"]
    assert not full["unfound"]["count"], "the image has no more detections to give"
