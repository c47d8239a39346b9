"""Mask Scoring: what a cell is taught of its mask's fit, and what becomes of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solojax.heads.assign import Cells, Positives, Targets
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection, select
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.types import Logged
from tests import examples
from tests.heads.recorded import value

GRID = Grid(levels=("p2",), strides=(8,), sizes=(2,), scale_ranges=((1, 64),))
RNG = np.random.default_rng(0)
MASKS = RNG.integers(0, 2, (1, 3, 4, 4)).astype(np.uint8)
LOGITS = RNG.normal(size=(1, 3, 4, 4)).astype(np.float32)
CELLS = np.array([[2, 0, 2]])  # two of them in one cell
VALID = np.array([[True, True, False]])


def targets() -> Targets:
    cells = Cells(
        labels=jnp.zeros((1, 4), int),
        owners=jnp.zeros((1, 4), int),
        positives=(Positives(jnp.asarray(CELLS), jnp.zeros((1, 3), int), jnp.asarray(VALID)),),
        dropped=jnp.zeros(1, int),
        assigned=jnp.zeros((1, 1, 1), bool),
        lost=jnp.zeros((1, 1, 1), bool),
    )
    return Targets(cells, (jnp.asarray(MASKS),), {})


@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_a_cell_learns_the_iou_that_its_thresholded_mask_has(threshold):
    quality = RNG.normal(size=(1, 2, 2, 1)).astype(np.float32)
    categories = {"p2": jnp.zeros((1, 2, 2, 1))}

    @jax.jit
    def terms_of(quality, logits):
        objective = Objective(quality_weight=3)
        return loss_terms(objective, categories, [logits], targets(), {"p2": quality}, threshold)

    terms = terms_of(quality, LOGITS)
    found = 1 / (1 + np.exp(-LOGITS)) > threshold
    ious = (found & (MASKS > 0)).sum((2, 3)) / (found | (MASKS > 0)).sum((2, 3))
    each = optax.sigmoid_binary_cross_entropy(quality.reshape(4)[CELLS], ious)
    assert value(terms["quality"]) == pytest.approx(3 * float(each[VALID].mean()), rel=1e-5)
    assert value(terms["mask_iou"]) == pytest.approx(ious[VALID].mean(), rel=1e-5)
    assert isinstance(terms["mask_iou"], Logged) and not isinstance(terms["quality"], Logged)

    total = jax.jit(jax.grad(lambda *given: terms_of(*given)["quality"].total, argnums=(0, 1)))
    of_quality, of_masks = total(quality, LOGITS)
    assert not of_masks.any(), "the truth about a mask must not move it"
    assert (np.asarray(of_quality).reshape(4) != 0).tolist() == [True, False, True, False]


def test_scores_heed_it_before_nms():
    # Two cells find nearly the same; the one that is surer of the class is less sure of its mask.
    masks = np.zeros((4, 4, 4), np.float32)
    masks[0, :3, :4] = masks[3, :4, :4] = 1
    classes = np.full((1, 2, 2, 1), -9, np.float32)
    classes[0, [0, 1], [0, 1]] = [[2], [1.5]]
    quality = np.full((1, 2, 2, 1), -1, np.float32)
    quality[0, 1, 1] = 2

    def scores(quality):
        selection = Selection(points_nms=False, nms="hard", final_threshold=0, max_detections=1)
        grid = dataclasses.replace(GRID, strides=(4,))
        found = select(
            selection,
            grid,
            {"p2": classes},
            masks[None],
            lambda masks, cells: masks[cells],
            quality,
        )
        return float(found.scores[0, 0]), int(found.masks[0, 0].sum())

    assert scores(None) == (pytest.approx(1 / (1 + np.exp(-2))), 12)
    expected = 1 / (1 + np.exp(-1.5)) / (1 + np.exp(-2))
    assert scores({"p2": quality}) == (pytest.approx(expected), 16)


SHARED = {
    "num_classes": 3,
    "grid": examples.MODEL.head.grid,
    "width": 8,
    "depth": 1,
    "groups": 4,
    "selection": examples.MODEL.head.selection,
}


@pytest.mark.parametrize(
    "head",
    [
        SOLO(**SHARED),
        DecoupledSOLO(**SHARED),
        SOLOv2(**SHARED, kernel_width=8, mask_feature_width=8, mask_levels=("p2", "p3")),
    ],
    ids=["solo", "decoupled", "solov2"],
)
def test_every_head_of_the_family_has_it_as_one_layer(head):
    pyramid = {
        level: jax.ShapeDtypeStruct((2, side, side, 8), jnp.float32)
        for level, side in (("p2", 16), ("p3", 8))
    }

    def shapes(head):
        return jax.eval_shape(head.init_with_output, jax.random.key(0), pyramid)

    (plain, without), (scored, added) = shapes(head), shapes(head.clone(mask_scoring=True))
    assert plain.quality_logits is None
    sides = zip(head.grid.levels, head.grid.sizes, strict=True)
    assert {k: x.shape for k, x in scored.quality_logits.items()} == {
        level: (2, side, side, 1) for level, side in sides
    }
    extra = added["params"].pop("quality_predictor")
    assert {k: x.shape for k, x in extra.items()} == {"kernel": (3, 3, 8, 1), "bias": (1,)}
    assert jax.tree.structure(added) == jax.tree.structure(without)
