import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import boxes, matching
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")
match = jax.jit(matching.match)


@pytest.mark.parametrize("name", ["plain", "crowd", "twins", "outside"])
def test_matches_equal_the_recorded_ones(name):
    numbers = {
        key.rpartition("/")[2]: RECORDED[key]
        for key in RECORDED.files
        if key.startswith(f"match/{name}/")
    }
    truths, anchors = numbers["truths"], jnp.asarray(numbers["priors"])
    crowds = numbers.get("crowd_boxes", np.zeros((0, 4), np.float32))
    slots = len(truths) + len(crowds) + 2
    place = np.arange(slots)
    given = np.zeros((slots, 4), np.float32)
    given[: len(truths)] = truths
    given[len(truths) : len(truths) + len(crowds)] = crowds
    valid = place < len(truths)
    crowd = ~valid & (place < len(truths) + len(crowds))
    found = match(given, valid, crowd, boxes.corners(anchors))

    labels = np.pad(numbers["labels"], (0, slots - len(truths)))
    kinds, instances = np.asarray(found.kinds), np.asarray(found.instances)
    positive = kinds == matching.POSITIVE
    np.testing.assert_array_equal(
        np.where(positive, labels[instances] + 1, kinds), numbers["conf_t"]
    )
    np.testing.assert_array_equal(instances[positive], numbers["idx_t"][positive])
    code = boxes.encode(jnp.asarray(given)[found.instances], anchors)
    np.testing.assert_allclose(code[positive], numbers["loc_t"][positive], rtol=1e-5, atol=1e-6)


def test_instances_that_touch_nothing_take_the_first_anchors_that_are_free():
    anchors = jnp.array([[0.0, 0, 1, 1], [2, 0, 3, 1], [4, 0, 5, 1], [6, 0, 7, 1]])
    far, near = [50.0, 50, 51, 51], [0.0, 0, 1, 1]
    given, valid = jnp.array([far, near, far, far]), jnp.array([True, True, True, False])
    found = match(given, valid, jnp.zeros(4, bool), anchors)
    np.testing.assert_array_equal(found.kinds, [1, 1, 1, 0])
    np.testing.assert_array_equal(found.instances[:3], [1, 0, 2])


def test_without_instances_all_is_background_but_for_what_a_crowd_covers():
    anchors = jnp.array([[0.0, 0, 1, 1], [0.2, 0, 1.2, 1], [0.5, 0, 1.5, 1]])
    given, crowd = jnp.array([[0.0, 0, 1, 1], [0, 0, 9, 9]]), jnp.array([True, False])
    found = match(given, jnp.zeros(2, bool), crowd, anchors)
    np.testing.assert_array_equal(found.kinds, [-1, -1, 0])


def test_instances_beyond_the_anchors_take_none_from_others():
    boxes = jnp.array([[0.0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]])
    valid = jnp.ones(3, bool)
    found = jax.jit(matching.match)(boxes, valid, ~valid, boxes[1:])
    assert found.instances.tolist() == [1, 2] and (found.kinds == matching.POSITIVE).all()
