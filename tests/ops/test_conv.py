import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from solojax import parallel
from solojax.models import layers
from solojax.ops import conv, resize

NHWC = ("NHWC", "HWIO", "NHWC")
# As flax.linen.Conv calls it.
OTHERS = dict(
    lhs_dilation=(1, 1),
    rhs_dilation=(1, 1),
    feature_group_count=1,
    precision=None,
    dimension_numbers=lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
)
THREE = dict(window_strides=(1, 1), padding=[(1, 1), (1, 1)], **OTHERS)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_doubles(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """The convolution as it is defined."""
    size, reach = len(kernel), len(kernel) // 2
    padded = np.pad(x.astype(float), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = x.shape[1:3]
    return sum(
        padded[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j].astype(float)
        for i in range(size)
        for j in range(size)
    )


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (5, 4), (16, 16), (70, 66), (131, 34), (2, 2100)], ids=str
)
def test_winograd_is_the_convolution(size):
    x, kernel = numbers(2, *size, 12), numbers(3, 3, 12, 5, seed=1)
    expected = in_doubles(x, kernel)
    np.testing.assert_allclose(jax.jit(conv.winograd)(x, kernel), expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("channels", [256, 512])
def test_winograd_errs_by_millionths(channels):
    x, kernel = numbers(1, 24, 24, channels), numbers(3, 3, channels, 64, seed=1)
    expected = in_doubles(x, kernel)
    error = np.abs(jax.jit(conv.winograd)(x, kernel) - expected).max() / expected.std()
    assert error < 1e-5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", [(0, 0), (0, 0)]])
def test_one_tap_is_a_matrix_product(stride, padding):
    x, kernel = numbers(2, 9, 6, 7), numbers(1, 1, 7, 4, seed=1)
    ours = conv.conv_general_dilated(x, kernel, (stride, stride), padding, **OTHERS)
    np.testing.assert_allclose(ours, in_doubles(x, kernel, stride), rtol=0, atol=1e-5)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    ("options", "channels"),
    [
        (dict(padding=[(1, 1), (1, 1)]), 4),
        (dict(padding=[(0, 2), (1, 0)]), 4),
        (dict(padding=[(-1, 0), (0, 0)]), 4),
        (dict(padding=[(1, 1), (1, 1)], window_strides=(2, 1)), 4),
        (dict(padding=[(0, 0), (0, 0)], batch_group_count=2), 4),
        (dict(padding=[(0, 0), (0, 0)], feature_group_count=2), 2),
        (dict(padding=[(0, 0), (0, 0)], rhs_dilation=(2, 2)), 4),
    ],
    ids=str,
)
def test_one_tap_heeds_all_it_is_told(options, channels, trained):
    x, kernel = numbers(2, 5, 6, 4), numbers(1, 1, channels, 4, seed=1)
    options = {"window_strides": (1, 1), **OTHERS, **options}
    with parallel.training_on_cpus() if trained else contextlib.nullcontext():
        ours = conv.conv_general_dilated(jnp.asarray(x), jnp.asarray(kernel), **options)
    theirs = lax.conv_general_dilated(x, kernel, **options)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("taps", [1, 3])
def test_a_training_convolves_as_ever(taps):
    x, kernel = numbers(2, 30, 29, 256), numbers(taps, taps, 256, 3, seed=1)
    weights = numbers(30, 29, 3)

    def with_gradients(convolve):
        def loss(x, kernel):
            out = convolve(x, kernel, (1, 1), [(taps // 2, taps // 2)] * 2, **OTHERS)
            return jnp.sum(out * weights[None])

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x, kernel)

    ours, direct = map(with_gradients, (conv.conv_general_dilated, lax.conv_general_dilated))
    jax.tree.map(np.testing.assert_array_equal, ours, direct)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "kernel, groups, apart",
    [((1, 1, 8, 4), 1, 1), ((3, 3, 2, 12), 4, 1), ((3, 3, 1, 8), 8, 1), ((3, 3, 1, 8), 8, 2)],
)
def test_a_training_on_cpus_multiplies_taps_to_the_same_numbers(kernel, groups, apart, stride):
    x, kernel = numbers(2, 8, 6, 8), numbers(*kernel, seed=1)
    pads = len(kernel) // 2 * apart
    strides, padding = (stride, stride), [(pads, pads)] * 2
    others = {**OTHERS, "feature_group_count": groups, "rhs_dilation": (apart, apart)}

    def of(convolve):
        return lambda x, kernel: jnp.sin(convolve(x, kernel, strides, padding, **others))

    direct, ours = of(lax.conv_general_dilated), of(conv.conv_general_dilated)
    tangents = numbers(*x.shape, seed=2), numbers(*kernel.shape, seed=3)
    with parallel.training_on_cpus():
        out, forward = jax.jvp(ours, (x, kernel), tangents)
        back = jax.vjp(jax.checkpoint(ours), x, kernel)[1](out)
        program = jax.jit(ours).lower(x, kernel).as_text()
    assert "convolution" not in program
    expected, expected_forward = jax.jvp(direct, (x, kernel), tangents)
    expected_back = jax.vjp(direct, x, kernel)[1](out)
    for ours, theirs in zip(
        (out, forward, *back), (expected, expected_forward, *expected_back), strict=True
    ):
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_training_of_an_accelerator_is_that_of_the_plain_operations(platform):
    kernels = numbers(1, 1, 256, 256), numbers(3, 3, 256, 256), numbers(3, 3, 256, 8)

    def plain_repeat(x):
        return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)

    def program(convolve, repeat):
        def loss(kernels, x):
            for stride, kernel in zip((1, 1, 2), kernels, strict=True):
                padding = [(kernel.shape[0] // 2,) * 2] * 2
                x = repeat(convolve(x, kernel, (stride, stride), padding, **OTHERS))
            return jnp.sum(jnp.sin(x))

        traced = jax.jit(jax.grad(loss)).trace(kernels, numbers(2, 16, 16, 256))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    ours = program(conv.conv_general_dilated, resize.repeat)
    assert ours == program(lax.conv_general_dilated, plain_repeat)


def program_of(module: layers.Conv, *shape: int, dtype=jnp.float32, platform: str) -> str:
    x = jax.ShapeDtypeStruct(shape, dtype)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    traced = jax.jit(module.apply).trace(variables, x)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_convolve_as_ever(taps, platform):
    module = layers.Conv(8, (taps, taps), padding=taps // 2)
    program = program_of(module, 1, 32, 32, 256, platform=platform)
    assert program.count("stablehlo.convolution") == 1 and "dot_general" not in program


@pytest.mark.parametrize(
    "taps, stride, shape, dtype, products",
    [
        (1, 1, (1, 4, 4, 8), jnp.float32, 1),
        (1, 2, (1, 4, 4, 8), jnp.bfloat16, 1),
        (3, 1, (1, 16, 16, 256), jnp.float32, 3),
        (3, 1, (1, 14, 16, 256), jnp.float32, 0),  # few tiles
        (3, 1, (1, 16, 16, 255), jnp.float32, 0),  # few channels
        (3, 2, (1, 32, 32, 256), jnp.float32, 0),
        (3, 1, (1, 16, 16, 256), jnp.bfloat16, 0),
        (5, 1, (1, 32, 32, 256), jnp.float32, 0),
    ],
)
def test_a_cpu_multiplies_matrices_where_that_takes_less(taps, stride, shape, dtype, products):
    module = layers.Conv(8, (taps, taps), stride, padding=taps // 2)
    program = program_of(module, *shape, dtype=dtype, platform="cpu")
    assert program.count("stablehlo.dot_general") == products
    assert program.count("stablehlo.convolution") == (not products)


def test_groups_and_dilation_are_left_to_xla_where_nothing_is_trained():
    for options in (dict(feature_group_count=2), dict(kernel_dilation=2)):
        module = layers.Conv(8, (3, 3), padding=1, **options)
        program = program_of(module, 1, 32, 32, 512, platform="cpu")
        assert "dot_general" not in program


def test_a_batch_is_convolved_image_by_image():
    x, kernel = numbers(3, 30, 28, 256), numbers(3, 3, 256, 4, seed=1)
    convolve = jax.jit(functools.partial(conv.conv_general_dilated, **THREE))
    together = convolve(x, kernel)
    for i in range(len(x)):
        np.testing.assert_array_equal(convolve(x[i : i + 1], kernel)[0], together[i])
