import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import box_nms
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")
THRESHOLD = 0.05  # of a box's best class


@pytest.mark.parametrize("case", ["chain", "random", "none"])
@pytest.mark.parametrize(
    ("kind", "suppress"),
    [("fast", box_nms.fast_nms), ("cc", box_nms.cross_class_fast_nms)],
    ids=["each-class", "all-classes"],
)
def test_what_is_kept_equals_what_was_recorded(case, kind, suppress):
    numbers = {name: RECORDED[f"nms/{case}/{name}"] for name in ("boxes", "probs", "top_k")}
    scores = numbers["probs"][:, 1:]
    scores = np.where(scores.max(1, keepdims=True) > THRESHOLD, scores, 0)
    suppress = functools.partial(
        suppress, candidates=int(numbers["top_k"]), most=int(RECORDED[f"nms/{case}/max_det"])
    )
    kept = jax.jit(suppress)(jnp.asarray(numbers["boxes"]), scores)
    valid = np.asarray(kept.scores) > 0
    if RECORDED[f"nms/{case}/{kind}_none"]:
        assert not valid.any()
        return
    expected = {name: RECORDED[f"nms/{case}/{kind}_{name}"] for name in ("score", "class", "box")}
    np.testing.assert_array_equal(kept.scores[valid], expected["score"])
    np.testing.assert_array_equal(kept.labels[valid], expected["class"])
    np.testing.assert_array_equal(numbers["boxes"][kept.boxes[valid]], expected["box"])


def test_what_is_suppressed_suppresses():
    boxes = jnp.array([[0.0, 0, 10, 1], [3, 0, 13, 1], [6, 0, 16, 1]])
    scores = jnp.array([[0.9], [0.8], [0.7]])  # each overlaps the next by more than a half
    kept = jax.jit(box_nms.fast_nms)(boxes, scores)
    np.testing.assert_array_equal(kept.scores, np.float32([0.9, 0, 0]))
