import jax
import jax.numpy as jnp
import numpy as np

from solojax.ops import boxes
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")
SQUARES = jnp.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5]])


def test_overlaps_of_squares_are_those_counted():
    shared, iou, coverage = (
        jax.jit(f)(SQUARES, SQUARES) for f in (boxes.intersections, boxes.iou, boxes.coverage)
    )
    np.testing.assert_allclose(shared, [[4, 1, 0], [1, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(iou, [[1, 1 / 7, 0], [1 / 7, 1, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(coverage, [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]])


def test_what_is_decoded_is_what_was_encoded():
    rng = np.random.default_rng(0)
    start, sides = rng.uniform(0, 0.5, (2, 50, 2)).astype(np.float32)
    wanted = np.concatenate([start, start + sides + 0.01], 1)
    anchors = rng.uniform(0.1, 1, (50, 4)).astype(np.float32)
    there = jax.jit(lambda b, a: boxes.decode(boxes.encode(b, a), a))(wanted, anchors)
    np.testing.assert_allclose(there, wanted, atol=1e-5)
    own = boxes.encode(boxes.corners(jnp.asarray(anchors)), jnp.asarray(anchors))
    np.testing.assert_allclose(own, np.zeros((50, 4)), atol=1e-5)


def test_what_a_box_holds_equals_the_recorded_crop():
    masks, shares = RECORDED["crop/masks"], RECORDED["crop/boxes"]
    height, width, _ = masks.shape
    scaled = shares * np.array([width, height, width, height], np.float32)
    inside = np.moveaxis(np.asarray(boxes.inside(jnp.asarray(scaled), (height, width))), 0, -1)
    np.testing.assert_array_equal(np.where(inside, masks, 0), RECORDED["crop/out"])
    # Reversed corners are the same box.
    reverse = boxes.inside(jnp.asarray(scaled[:, [2, 3, 0, 1]]), (height, width))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(reverse), 0, -1), inside)
