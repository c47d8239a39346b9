import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops.dynamic_conv import dynamic_conv


def test_a_1x1_kernel_is_a_product_with_each_pixel():
    features = jnp.arange(6.0).reshape(1, 3, 2)
    kernels = jnp.array([[1.0, 10.0], [0.0, -1.0]])
    expected = [[[10, 32, 54]], [[-1, -3, -5]]]
    np.testing.assert_array_equal(dynamic_conv(features, kernels), expected)


@pytest.mark.parametrize("size", [1, 3])
def test_each_kernel_convolves_like_an_ordinary_one_zero_padded(size):
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(5, 7, 4)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(6, 4 * size * size)), jnp.float32)
    # Channel, row, column: the O I H W of other frameworks.
    expected = jax.lax.conv_general_dilated(
        features[None],
        kernels.reshape(6, 4, size, size),
        (1, 1),
        [(size // 2, size // 2)] * 2,
        dimension_numbers=("NHWC", "OIHW", "NCHW"),
    )[0]
    found = jax.jit(dynamic_conv, static_argnums=2)(features, kernels, size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernels_do_not_see_each_other():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(5, 7, 4)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(6, 36)), jnp.float32)
    together = dynamic_conv(features, kernels, 3)
    alone = dynamic_conv(features, kernels[2:3], 3)
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


def test_products_of_bfloat16_are_summed_in_float32():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(5, 7, 64)), jnp.bfloat16)
    kernels = jnp.asarray(rng.normal(size=(6, 64 * 9)), jnp.bfloat16)
    found = jax.jit(dynamic_conv, static_argnums=2)(features, kernels, 3)
    assert found.dtype == jnp.float32
    # The products themselves are exact.
    exact = dynamic_conv(features.astype(jnp.float32), kernels.astype(jnp.float32), 3)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


def test_gradients_of_bfloat16_factors_are_those_of_float32_rounded():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(5, 7, 16)), jnp.bfloat16)
    kernels = jnp.asarray(rng.normal(size=(6, 16)), jnp.bfloat16)

    def total(features, kernels):
        return jnp.sum(jnp.square(dynamic_conv(features, kernels)))

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    found = gradient(features, kernels)
    exact = gradient(features.astype(jnp.float32), kernels.astype(jnp.float32))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=2**-7, atol=1e-3)
