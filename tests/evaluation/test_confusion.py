"""Claims about the confusion matrix and about the scores of single images."""

import numpy as np
import pytest

from solojax.evaluation.analysis import confusion
from tests.evaluation.rectangles import result, scenes_of, truth_of

A, B, C = (10, 10, 20, 20), (10, 60, 20, 20), (60, 10, 20, 20)
NEAR_A = (11, 10, 20, 20)
FAR = (60, 60, 20, 20)


def count(truth: dict, results: list[dict], floor: float = 0.4) -> tuple[list, dict]:
    matrix, images = confusion.count(scenes_of(truth, results), [3, 70], floor)
    return matrix.tolist(), images


def test_the_matrix_is_that_counted_by_hand():
    truth = truth_of([(3, A), (3, B), (70, C)], [(70, A)])
    found = [
        result(3, A, 0.9),  # right
        result(70, B, 0.8),  # a cell taken for dust
        result(3, FAR, 0.7),  # nothing is there
        result(70, FAR, 0.3),  # too low to count; C is missed
        result(70, NEAR_A, 0.6, image=2),  # right
        result(3, NEAR_A, 0.5, image=2),  # the place is taken
    ]
    matrix, images = count(truth, found)
    assert matrix == [[1, 1, 0], [0, 1, 1], [2, 0, 0]]
    assert images[1] == {"F1": pytest.approx(2 / 6), "right": 1, "wrong": 2, "missed": 2}
    assert images[2] == {"F1": pytest.approx(2 / 3), "right": 1, "wrong": 1, "missed": 0}


def test_the_better_scored_chooses_first_and_takes_what_it_overlaps_most():
    truth = truth_of([(3, A), (70, NEAR_A)])
    matrix, _ = count(truth, [result(3, NEAR_A, 0.5), result(70, NEAR_A, 0.9)])
    assert matrix == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_of_equal_overlaps_that_of_the_own_class_is_taken():
    for truth in (truth_of([(3, A), (70, A)]), truth_of([(70, A), (3, A)])):
        matrix, _ = count(truth, [result(70, A, 0.9)])
        assert matrix == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_what_lies_on_a_crowd_of_its_class_is_left_out():
    truth = truth_of([], crowds=[(3, A)])
    assert count(truth, [result(3, A, 0.9)])[0] == np.zeros((3, 3)).tolist()
    assert count(truth, [result(70, A, 0.9)])[0] == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_an_image_without_anything_has_no_score():
    assert count(truth_of([], [(3, A)]), [])[1] == {
        2: {"F1": 0.0, "right": 0, "wrong": 0, "missed": 1}
    }


def image(right: int, wrong: int, missed: int) -> dict:
    f1 = 2 * right / (2 * right + wrong + missed)
    return {"F1": f1, "right": right, "wrong": wrong, "missed": missed}


def test_worst_and_best_images_have_most_to_tell():
    images = {
        1: image(1, 0, 0),
        2: image(5, 0, 0),
        3: image(0, 0, 1),
        4: image(0, 3, 3),
        5: image(2, 1, 1),
    }
    assert confusion.extremes(images, 2) == ([4, 3], [2, 1])
    assert confusion.extremes(images, 9) == ([4, 3, 5], [2, 1]), "none in both"
    assert confusion.extremes({7: image(1, 0, 0)}, 3) == ([7], [])
    assert confusion.extremes({}, 3) == ([], [])
