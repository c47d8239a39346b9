"""Shares and known factors first, then what a block is."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import drop_block as module

drop_block = jax.jit(module.drop_block, static_argnames=("rate", "size"))
KEY = jax.random.key(0)


def dropped(shape: tuple[int, ...], rate: float, size: int, key: jax.Array = KEY) -> np.ndarray:
    return np.asarray(drop_block(jnp.ones(shape), key, rate=rate, size=size)) == 0


def test_a_rate_of_zero_changes_nothing():
    x = jax.random.normal(KEY, (2, 6, 5, 4))
    np.testing.assert_array_equal(drop_block(x, KEY, rate=0.0, size=3), x)


def test_blocks_of_one_cell_are_dropout():
    gone = dropped((8, 40, 40, 64), rate=0.1, size=1)
    assert gone.mean() == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize(("side", "size"), [(40, 3), (12, 3), (36, 5)])
def test_the_share_dropped_is_that_of_the_published_probability_of_a_block(side, size):
    """(1 - keep) / size^2 times (side / (side - size + 1))^2; a cell is left by all around it."""
    gamma = 0.1 / size**2 * (side / (side - size + 1)) ** 2
    reach = np.minimum(np.arange(side), size // 2)
    near = 1 + reach + reach[::-1]  # cells along an axis whose block covers this one
    expected = 1 - np.mean((1 - gamma) ** np.outer(near, near))
    gone = dropped((8, side, side, 256), rate=0.1, size=size)
    assert gone.mean() == pytest.approx(expected, rel=0.02)
    assert gone.mean() == pytest.approx(0.1, abs=0.02)


def test_what_is_dropped_are_blocks():
    gone = dropped((4, 20, 24, 8), rate=0.1, size=3)
    assert 0 < gone.sum() < gone.size
    for one in np.moveaxis(gone, -1, 1).reshape(-1, 20, 24):
        # A frame for the blocks that reach over the border; then nothing is thinner than a block.
        framed = np.pad(one, 1, constant_values=True).astype(np.uint8)
        blocks = cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        np.testing.assert_array_equal(blocks[1:-1, 1:-1], one)


def test_images_and_channels_are_dropped_each_by_itself():
    gone = dropped((3, 16, 16, 4), rate=0.3, size=3)
    maps = np.moveaxis(gone, -1, 1).reshape(12, -1)
    assert maps.any(1).all()
    assert len(np.unique(maps, axis=0)) == 12


def test_another_key_drops_others():
    shape = (1, 16, 16, 4)
    assert (dropped(shape, 0.2, 3) != dropped(shape, 0.2, 3, jax.random.key(1))).any()


def test_what_is_left_makes_up_for_what_is_not():
    found = np.asarray(drop_block(jnp.ones((2, 12, 12, 8)), KEY, rate=0.2, size=3))
    left = found[found > 0]
    assert len(left) < found.size
    np.testing.assert_allclose(left, found.size / len(left), rtol=1e-6)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-6)


@pytest.mark.parametrize(("shape", "rate"), [((4, 1, 1, 4096), 0.1), ((4, 2, 1, 4096), 0.1)])
def test_on_maps_smaller_than_a_block_the_block_is_the_map(shape, rate):
    gone = dropped(shape, rate, size=3)
    assert rate * 0.9 < gone.mean() < rate * 2


def test_where_all_is_dropped_zeros_are_left_and_no_nans():
    x = jnp.ones((1, 4, 4, 1))

    def total(x):
        return jnp.sum(module.drop_block(x, KEY, rate=0.999, size=3))

    found, gradient = jax.jit(jax.value_and_grad(total))(x)
    assert found == 0 and (gradient == 0).all()


def test_the_gradient_is_that_of_a_product_with_what_was_drawn():
    x = jax.random.normal(KEY, (2, 8, 8, 4))
    factors = drop_block(jnp.ones_like(x), KEY, rate=0.2, size=3)
    gradient = jax.grad(lambda x: jnp.sum(drop_block(x, KEY, rate=0.2, size=3)))(x)
    np.testing.assert_array_equal(gradient, factors)


def test_compiled_it_draws_and_gives_the_same():
    x = jax.random.normal(KEY, (2, 8, 9, 4))
    eager = module.drop_block(x, KEY, rate=0.2, size=3)
    np.testing.assert_allclose(drop_block(x, KEY, rate=0.2, size=3), eager, rtol=1e-6)


def test_bfloat16_is_multiplied_before_it_is_rounded():
    x = jax.random.normal(KEY, (2, 8, 8, 4)).astype(jnp.bfloat16)
    found = drop_block(x, KEY, rate=0.2, size=3)
    exact = drop_block(x.astype(jnp.float32), KEY, rate=0.2, size=3)
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
