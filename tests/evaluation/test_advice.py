"""Claims about what a person is told to do next: each sentence has its number behind it."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from solojax import config as config_lib
from solojax.evaluation import scores
from solojax.evaluation.dataset.collisions import Survey
from solojax.evaluation.report import advice, alarms
from solojax.evaluation.report.history import History, Line
from solojax.heads.grid import grid_of
from tests.evaluation.rectangles import result, truth_of

A, B, C = (10, 10, 20, 20), (10, 32, 20, 20), (60, 60, 36, 36)
SHAPES = config_lib.load("shapes")


def survey_of(truth: dict, scale: float = 1.0) -> Survey:
    """Of rectangles, on a canvas as large as their images times ``scale``."""
    true = truth["annotations"]
    boxes = np.array([one["bbox"] for one in true], np.float32) * scale
    boxes[:, 2:] += boxes[:, :2]
    count = len(true)
    return Survey(
        images=np.array([one["image_id"] - 1 for one in true]),
        labels=np.array([int(one["category_id"] == 70) for one in true]),
        areas=np.array([one["area"] for one in true], float),
        boxes=boxes,
        centers=(boxes[:, :2] + boxes[:, 2:]) / 2,
        canvases=np.full((count, 2), round(100 * scale)),
        crowds=np.array([bool(one["iscrowd"]) for one in true]),
        dropped=np.zeros(count, bool),
        valid=np.ones(count, bool),
    )


def advised(truth: dict, results: list[dict], **facts: Any) -> tuple[dict, advice.Facts]:
    """What is scored, advised by a run of the shapes' config, and what was known of it."""
    known = advice.Facts(
        SHAPES,
        survey_of(truth, facts.pop("scale", 1.0)),
        np.full((len(truth["images"]), 2), 100),
        **facts,
    )
    scored = scores.score(truth, results, traits=advice.traits_of(SHAPES, known.surveyed))
    advice.advise(scored, known)
    return scored, known


def sentence(scored: dict, cause: str) -> str:
    return next(one["advice"] for one in scored["lost"] if one["cause"] == cause)


def history_of(mask: float, aps: list[float]) -> History:
    losses = [Line("loss", [1, 2], [9.0, mask]), Line("mask", [1, 2], [9.0, mask])]
    steps = [100 * (number + 1) for number in range(len(aps))]
    lines = [Line("AP", steps, aps), Line("AP50", steps, aps)] if aps else []
    return History(losses, [], lines, 60.0)


def test_small_ones_are_told_with_the_canvas_and_the_tiles_that_show_them_large_enough():
    truth = truth_of([(3, A), (3, C)])
    scored, _ = advised(truth, [result(3, C, 0.9)], scale=0.4)  # 8 and 14.4 pixels
    said = sentence(scored, "small")
    assert "Of instances below 16 pixels across on the canvas 50% are found, of others" in said
    # Half are below 11.2: half as large again they are 16.8.
    assert "Half of the small are below 11; a canvas 1.5 times as large" in said
    assert "predict --tiles 67" in said  # 100 pixels / 1.5


def test_merged_ones_without_a_cell_ask_for_a_finer_grid():
    grid = grid_of(SHAPES.model.head)
    truth = truth_of([(3, (10, 10, 20, 20)), (3, (11, 11, 20, 20))])
    scored, known = advised(truth, [result(3, (10, 10, 21, 60), 0.9)])
    assert advice.cellless(known.surveyed, grid).sum() == 1
    said = sentence(scored, "merged")
    assert "Of these 1 own no cell of the grid" in said
    assert f"With grids of {grid.sizes} cells a side 1 of 2 instances own none" in said
    assert any("1 of 2 instances (50%) own no cell" in line for line in alarms.tell(scored, known))


def test_what_is_found_but_badly_is_told_by_its_size_in_mask_pixels():
    truth, rough = truth_of([(3, C)]), [result(3, (60, 60, 36, 24), 0.9)]
    small, _ = advised(truth, rough, scale=0.5)
    assert "4.5 mask pixels, where an outline that is off by one" in sentence(small, "rough")
    rising, _ = advised(truth, rough, history=history_of(1, [0.1, 0.2]))
    assert "9.0 mask pixels, which is large enough" in sentence(rising, "rough")
    assert "AP rose by 0.100 in the last 100 steps: train longer" in sentence(rising, "rough")
    ended, _ = advised(truth, rough, history=history_of(1, [0.1, 0.2, 0.2]))
    assert "AP changed by +0.000 in the last 100 steps" in sentence(ended, "rough")


def test_classes_are_told_with_their_training_examples():
    truth, found = truth_of([(3, A), (70, C)]), [result(70, A, 0.9), result(70, C, 0.9)]
    scored, known = advised(truth, found, trained_on=(4, 300))
    said = sentence(scored, "classification")
    assert "cell taken for dust (1). The training images have 4 of cell and 300 of dust." in said
    assert "More examples of the rarer one" in said
    (told,) = alarms.tell(scored, known)
    assert told.startswith("1 of 2 classes have fewer than 10 training instances (cell 4)")
    assert not alarms.tell(*advised(truth, found, trained_on=(10, 300)))


def test_an_image_whose_detections_are_used_up_is_told_the_field():
    head = SHAPES.model.head
    few = dataclasses.replace(head, selection=dataclasses.replace(head.selection, max_detections=1))
    truth = truth_of([(3, A), (3, C), (3, B)])
    config = dataclasses.replace(SHAPES, model=SHAPES.model.clone(head=few))
    known = advice.Facts(config, survey_of(truth), np.full((1, 2), 100))
    traits = advice.traits_of(config, known.surveyed)
    scored = scores.score(truth, [result(3, A, 0.9)], traits=traits)
    advice.advise(scored, known)
    assert (
        "gives 1 detections of an image at most: --set model.head.selection.max_detections=3"
        in (sentence(scored, "capped"))
    )


def test_tiny_instances_are_told_with_what_a_larger_canvas_leaves_of_them():
    truth = truth_of([(3, A), (3, C)])
    _, known = advised(truth, [], scale=0.3)  # 6 and 10.8 pixels
    (told,) = alarms.tell({"classes": [], "best_iou": 0.0}, known)
    assert "1 of 2 instances (50%) are below 8 pixels across" in told
    assert told.endswith("canvases) 0 would be")


@pytest.mark.parametrize(("mask", "is_told"), [(0.6, True), (2.7, False)])
def test_masks_that_fit_in_training_and_find_nothing_are_told(mask: float, is_told: bool):
    # Dice of 1 - mask / 3: 0.8, an IoU of 2/3, or 0.1.
    quarter = [result(3, (60, 60, 36, 9), 0.9)]
    scored, known = advised(truth_of([(3, C)]), quarter, history=history_of(mask, []))
    told = alarms.tell(scored, known)
    assert len(told) == is_told
    if is_told:
        assert "at a dice of 0.80, an IoU of 0.67, and the best detection" in told[0]
        assert "--split train" in told[0]


def test_results_alone_are_advised_without_a_run():
    truth = truth_of([(3, A), (70, B), (3, C)], [(3, C)])
    found = [result(70, A, 0.9), result(3, (60, 60, 36, 24), 0.8), result(3, C, 0.7, 2)]
    scored = scores.score(truth, [*found, result(3, (0, 0, 8, 8), 0.9), result(3, C, 0.6, 2)])
    advice.advise(scored, None)
    assert all(one["advice"] for one in scored["lost"]) and len(scored["lost"]) > 4
    table = advice.table(scored)
    assert "where AP is lost" in table and "labels to look at first: 1 unlabelled" in table
