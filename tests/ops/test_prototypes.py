import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import masks, prototypes, resize
from solojax.ops.bounded_entropy import bounded_entropy
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")
WEIGHT = 6.125  # of the recorded losses


def scale(shares: np.ndarray, height: int, width: int) -> jax.Array:
    return jnp.asarray(shares * np.array([width, height, width, height], np.float32))


@pytest.mark.parametrize("name", ["plain", "limit", "saturated", "outside_box"])
def test_losses_of_masks_and_their_gradients_equal_the_recorded_ones(name):
    numbers = {
        key.rpartition("/")[2]: RECORDED[key]
        for key in RECORDED.files
        if key.startswith(f"maskloss/{name}/")
    }
    maps, index = jnp.asarray(numbers["proto"]), numbers["idx"]
    whole = jnp.asarray(np.moveaxis(numbers["masks"], 0, -1))[None]
    wanted = jnp.moveaxis(resize.bilinear(whole, maps.shape[:2])[0], -1, 0) > 0.5
    boxes = scale(numbers["boxes"], *maps.shape[:2])[index]
    trained = min(len(index), int(numbers["limit"]))  # all are alike where some are left out

    @jax.jit
    def loss(coefficients, maps):
        cut = prototypes.assemble(maps, coefficients, boxes)
        each = prototypes.mask_losses(cut, wanted[index], boxes)
        return WEIGHT * jnp.sum(each[:trained]) * len(index) / trained

    value, (of_coefficients, of_maps) = jax.value_and_grad(loss, (0, 1))(
        jnp.asarray(numbers["coeff"]), maps
    )
    np.testing.assert_allclose(value, numbers["loss"], rtol=1e-5)
    for found, expected in ((of_maps, "grad_proto"), (of_coefficients, "grad_coeff")):
        found, expected = np.asarray(found), numbers[expected]
        if trained < len(index) and found.shape == numbers["coeff"].shape:
            # Which ones were left out was drawn.
            found, expected = (np.sort(each, axis=0) for each in (found, expected))
        assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def test_a_pixel_costs_a_hundred_at_most_and_is_not_mended_where_it_is_surely_wrong():
    logits = jnp.array([0.0, 30.0, -200.0, 5.0, 20.0])
    inside, targets = jnp.array([1, 1, 1, 0, 1]) > 0, jnp.array([1.0, 0, 1, 1, 1])

    def loss(logits):
        return bounded_entropy(logits, inside, targets)

    each, gradient = jax.jit(lambda x: (loss(x), jax.grad(lambda y: loss(y).sum())(x)))(logits)
    np.testing.assert_allclose(each, [np.log(2), 100, 100, 100, 0], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.5, 0, 0, 0, 0], atol=1e-7)


def test_iou_of_masks_above_a_half_is_counted():
    soft = jnp.array([[[0.6, 0.6, 0.5, 0.1]], [[0.1, 0.1, 0.1, 0.1]]])
    wanted = jnp.array([[[1, 0, 1, 0]], [[0, 0, 0, 0]]], jnp.uint8)
    np.testing.assert_allclose(prototypes.binary_iou(soft, wanted), [1 / 3, 0], rtol=1e-6)


def test_masks_and_boxes_at_the_original_size_equal_the_recorded_ones():
    numbers = {key: RECORDED[f"post/{key}"] for key in ("in_box", "in_mask", "in_proto")}
    maps = jnp.asarray(numbers["in_proto"])
    expected = RECORDED["post/all/masks"]
    height, width = expected.shape[1:]
    boxes = scale(numbers["in_box"], *maps.shape[:2])
    soft = prototypes.assemble(maps, jnp.asarray(numbers["in_mask"]), boxes).probabilities
    packed = masks.restore(
        soft,
        jnp.array(maps.shape[:2]),
        jnp.array([height, width]),
        output_size=(height, -(-width // 8) * 8),
        canvas=maps.shape[:2],
    )
    found = np.unpackbits(np.asarray(packed), axis=-1)[..., :width]
    assert (found == expected).mean() >= 0.999
    # Corners in either order; what is beyond the image is cut off.
    corners = np.asarray(scale(numbers["in_box"], height, width))
    low, high = (
        np.minimum(corners[:, :2], corners[:, 2:]),
        np.maximum(corners[:, :2], corners[:, 2:]),
    )
    whole = np.clip(np.concatenate([low, high], 1), 0, [width, height] * 2).astype(int)
    np.testing.assert_array_equal(whole, RECORDED["post/all/boxes"])
    above = RECORDED["post/in_score"] > RECORDED["post/thr/scores"].min() - 1e-6
    np.testing.assert_array_equal(expected[above], RECORDED["post/thr/masks"])
