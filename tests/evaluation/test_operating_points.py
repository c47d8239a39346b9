"""Claims about the scores that prediction shows from on."""

import json
from pathlib import Path

import numpy as np
import pytest

from solojax.config import Category
from solojax.evaluation import scores
from solojax.evaluation.analysis import errors, operating_points
from solojax.evaluation.metrics import coco
from solojax.inference import thresholds
from solojax.inference.result import Result
from solojax.types import InputError
from tests.evaluation.rectangles import result, truth_of

A, B, FAR = (10, 10, 20, 20), (10, 60, 20, 20), (60, 60, 20, 20)


def choose(truth: dict, results: list[dict]) -> dict | None:
    return scores.score(truth, results)["thresholds"]


def f1_at(truth: dict, results: list[dict], score: float) -> float:
    """By the definition, of what is left above a score."""
    kept = coco.masks_found([one for one in results if one["score"] >= score])
    judged = coco.judge(truth, kept, "segm")
    table, labels, *_ = errors.tabulate(judged, coco.overlap(truth, kept, "segm"))
    return 2 * table.right.sum() / (len(table.ids) + len(labels))


def test_no_score_has_a_greater_f1_than_the_chosen_one():
    generator = np.random.default_rng(0)
    for _ in range(5):
        places = [(10 * i, 10 * j, 8, 8) for i in range(4) for j in range(4)]
        truth = truth_of([(3, place) for place in places[:10]])
        values = generator.integers(1, 9, len(places)) / 10  # with equal ones
        found = [result(3, place, v) for place, v in zip(places, values, strict=True)]
        chosen = choose(truth, found)
        assert f1_at(truth, found, chosen["score"]) == pytest.approx(chosen["F1"])
        assert chosen["F1"] == pytest.approx(max(f1_at(truth, found, v) for v in values))


def test_the_score_lies_between_what_is_kept_and_what_is_not():
    found = [result(3, A, 0.9), result(3, B, 0.6), result(3, FAR, 0.2)]
    chosen = choose(truth_of([(3, A), (3, B)]), found)
    assert chosen == {"iou": 0.5, "score": 0.4, "F1": 1.0, "classes": []}


def test_a_class_has_its_own_score_from_twenty_instances_on():
    many = [(10 * i, 10 * j, 8, 8) for i in range(4) for j in range(5)]
    truth = truth_of([(3, place) for place in many], [(70, A)])
    found = [result(3, place, 0.3) for place in many] + [result(70, A, 0.8, image=2)]
    (own,) = choose(truth, found)["classes"]
    assert (own["id"], own["instances"], own["F1"]) == (3, operating_points.LEAST, 1)
    assert choose(truth, found[1:])["classes"][0]["F1"] == pytest.approx(2 * 19 / 39)


def test_nothing_right_chooses_nothing():
    assert choose(truth_of([(3, A)]), [result(3, FAR, 0.9)]) is None
    assert choose(truth_of([(3, A)]), []) is None
    assert choose(truth_of([]), [result(3, FAR, 0.9)]) is None


def test_what_is_kept_with_a_run_is_what_a_result_shows(tmp_path: Path):
    categories = (Category(3, "cell"), Category(70, "dust"))
    assert thresholds.read(tmp_path, 7).of(categories).tolist() == [0.3, 0.3]
    chosen = {"score": 0.4, "F1": 1.0, "classes": [{"id": 70, "score": 0.2}]}
    thresholds.save(tmp_path, chosen, step=7, images=9)
    kept = thresholds.read(tmp_path, 7)
    assert "at least 0.4 (0.2 to 0.4 by class): best F1 on 9 validation" in kept.describe()
    assert "this is step 8" in thresholds.read(tmp_path, 8).describe()
    found = Result(
        np.zeros((4, 4, 3), np.uint8),
        np.array([0.5, 0.35, 0.25, 0.1], np.float32),
        np.array([0, 0, 1, 1], np.int32),
        [b""] * 4,
        categories,
        least_scores=kept.of(categories),
    )
    assert found.above().scores.tolist() == [0.5, 0.25]
    assert len(found.above(0.3)) == 2 and len(found.above(0)) == 4
    thresholds.save(tmp_path, None, step=8, images=9)
    assert not thresholds.read(tmp_path, 8).origin


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"score": 0.4}', '{"score": 7, "classes": [], "images": 1, "step": 1}'],
)
def test_a_damaged_file_is_named_with_the_cure(content: str, tmp_path: Path):
    (tmp_path / thresholds.FILE).write_text(content)
    with pytest.raises(InputError, match=r"thresholds.json is damaged .*delete it, or score"):
        thresholds.read(tmp_path, 1)


def test_the_chosen_scores_are_json():
    chosen = choose(truth_of([(3, A)]), [result(3, A, 0.9)])
    assert json.loads(json.dumps(chosen)) == chosen
