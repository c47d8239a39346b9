import flax.linen as nn
import jax
import numpy as np
import pytest

from solojax import parallel
from solojax.ops.pool import max_pool


@pytest.mark.parametrize("size", [(1, 2), (8, 6), (7, 9)], ids=str)
def test_a_training_on_cpus_pools_to_the_same_bits(size):
    rng = np.random.default_rng(0)
    # Few values, so that windows have several maxima, of which the first has the gradient.
    x = rng.integers(-1, 2, (2, *size, 5)).astype(np.float32)

    def plain(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    expected, backward = jax.vjp(plain, x)
    gradient = rng.normal(size=expected.shape).astype(np.float32)
    with parallel.training_on_cpus():
        found, ours = jax.vjp(jax.jit(max_pool), x)
        program = jax.jit(max_pool).lower(x).as_text()
    assert "reduce_window" not in program
    np.testing.assert_array_equal(found, expected)
    # A sum of up to four, in another order.
    np.testing.assert_allclose(*ours(gradient), *backward(gradient), rtol=0, atol=1e-6)


def test_what_is_not_a_number_is_not_lost():
    x = np.zeros((1, 5, 5, 1), np.float32)
    x[0, 2, 2] = np.nan
    with parallel.training_on_cpus():
        assert np.isnan(jax.jit(max_pool)(x)).sum() == 1
