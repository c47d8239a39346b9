import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import parallel
from solojax.ops import coords, resize
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_misc.npz")
BILINEAR = sorted(
    {
        key.split("/")[1]
        for key in RECORDED
        if key.startswith("interp/") and "nearest" not in key and "odd" not in key
    }
)
# Called plainly, each operation within is compiled alone.
bilinear = jax.jit(resize.bilinear, static_argnums=1)
adaptive_max = jax.jit(resize.adaptive_max, static_argnums=1)
adaptive_mean = jax.jit(resize.adaptive_mean, static_argnums=1)
region_grid = jax.jit(resize.region_grid, static_argnums=1)


@pytest.mark.parametrize("case", BILINEAR)
def test_bilinear_equals_the_recorded_case(case):
    features, expected = (
        RECORDED[f"interp/{case}/{side}"].transpose(0, 2, 3, 1) for side in ("in", "out")
    )
    found = bilinear(jnp.asarray(features), expected.shape[1:3])
    np.testing.assert_allclose(found, expected, atol=3e-6)


def by_matrices(features, size):
    return jax.image.resize(
        features, (len(features), *size, features.shape[3]), "bilinear", antialias=False
    )


DOUBLED_AND_HALVED = [
    *[(size, (2 * size[0], 2 * size[1])) for size in [(1, 1), (1, 4), (5, 2), (8, 13)]],
    *[((2 * size[0], 2 * size[1]), size) for size in [(1, 1), (1, 4), (5, 2), (8, 13)]],
]


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize(("shape", "size"), DOUBLED_AND_HALVED, ids=str)
def test_twice_and_half_the_size_are_what_the_matrices_make(shape, size, dtype, tolerance):
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, *shape, 3)), dtype)
    found, expected = bilinear(features, size), by_matrices(features, size)
    assert found.dtype == dtype and found.shape == expected.shape
    np.testing.assert_allclose(
        *(one.astype(jnp.float32) for one in (found, expected)), atol=tolerance
    )


@pytest.mark.parametrize(
    ("shape", "size"),
    [((5, 4), (10, 8)), ((1, 4), (2, 8)), ((10, 8), (5, 4)), ((9, 13), (4, 5)), ((4, 5), (9, 13))],
    ids=str,
)
def test_a_training_resizes_as_by_matrices_and_on_cpus_by_them(shape, size):
    features, weights = (
        np.random.default_rng(0).normal(size=(2, *sides, 3)).astype(np.float32)
        for sides in (shape, size)
    )

    def loss(resize, features):
        return jnp.sum(weights * jnp.square(resize(features, size)))

    ours, matrices = (
        jax.jit(jax.value_and_grad(functools.partial(loss, each)))
        for each in (resize.bilinear, by_matrices)
    )
    expected = matrices(features)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        ours(features),
        expected,
    )
    with parallel.training_on_cpus():
        # Another function, which is traced anew.
        again = jax.jit(jax.value_and_grad(functools.partial(loss, resize.bilinear)))(features)
    jax.tree.map(np.testing.assert_array_equal, again, expected)


@pytest.mark.parametrize("case", BILINEAR)
def test_the_matrices_resize_like_bilinear(case):
    features, expected = (RECORDED[f"interp/{case}/{side}"] for side in ("in", "out"))
    (height, width), (out_height, out_width) = features.shape[2:], expected.shape[2:]
    # Longer than needed: what is not used must not matter.
    features = np.pad(features, ((0, 0), (0, 0), (0, 3), (0, 5)), constant_values=1e6)

    @jax.jit
    def by_our_matrices(features, out_used, in_used):
        matrices = [
            resize.bilinear_matrix(
                side, resize.bilinear_taps(jnp.arange(longer), out_used=out, in_used=used)
            )
            for side, longer, out, used in zip(
                features.shape[2:], (out_height + 4, out_width + 2), out_used, in_used, strict=True
            )
        ]
        return jnp.einsum(
            "yh,bchw,xw->bcyx", matrices[0], features, matrices[1], precision="highest"
        )

    found = by_our_matrices(features, (out_height, out_width), (height, width))
    np.testing.assert_allclose(found[:, :, :out_height, :out_width], expected, atol=3e-6)


def random_features(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


def test_adaptive_max_of_a_known_row():
    row = jnp.array([-1.0, -2.0, 8.0, 4.0, 1.0])[None, None, :, None]
    # Of five inputs in three cells the windows are 0..1, 1..3 and 3..4.
    found = adaptive_max(row, (1, 3))[0, 0, :, 0]
    np.testing.assert_array_equal(found, [-1, 8, 4])


def test_adaptive_max_is_that_of_blocks_where_the_size_divides():
    features = random_features(8, 12)
    found = adaptive_max(features, (4, 3))
    np.testing.assert_array_equal(found, features.reshape(2, 4, 2, 3, 4, 3).max((2, 4)))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((25, 42), (16, 16)), ((12, 7), (16, 16)), ((9, 5), (9, 1)), ((4, 5), (6, 3))],
)
def test_adaptive_pools_equal_a_plain_loop(shape, size):
    features = random_features(*shape)
    most, mean = np.zeros((2, 2, *size, 3))
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * shape[0] // size[0], math.ceil((i + 1) * shape[0] / size[0]))
            columns = slice(j * shape[1] // size[1], math.ceil((j + 1) * shape[1] / size[1]))
            most[:, i, j] = features[:, rows, columns].max((1, 2))
            mean[:, i, j] = features[:, rows, columns].mean((1, 2))
    np.testing.assert_array_equal(adaptive_max(features, size), most.astype(np.float32))
    np.testing.assert_allclose(adaptive_mean(features, size), mean, rtol=1e-5, atol=1e-6)
    assert adaptive_mean(features.astype(jnp.bfloat16), size).dtype == jnp.bfloat16


def test_region_grid_of_a_constant_is_the_constant():
    found = region_grid(jnp.full((1, 12, 7, 3), 3.0), (16, 24))
    np.testing.assert_allclose(found, np.full((1, 16, 24, 3), 3.0), rtol=1e-6)


def test_region_grid_of_a_ramp_is_its_value_at_the_centres_of_the_cells():
    ramp = jnp.broadcast_to(jnp.arange(18.0)[None, None, :, None], (1, 6, 18, 1))
    found = region_grid(ramp, (3, 4))[0, :, :, 0]
    # Cells of 4.5 inputs. No sample lies beyond the first or the last input.
    np.testing.assert_allclose(found, [[1.75, 6.25, 10.75, 15.25]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((21, 34), (4, 5)), ((12, 7), (16, 24))])
def test_region_grid_equals_the_mean_of_a_larger_bilinear_resize(shape, size):
    features = random_features(*shape)
    large = np.asarray(bilinear(features, (4 * size[0], 4 * size[1])))
    expected = large.reshape(2, size[0], 4, size[1], 4, 3).mean((2, 4))
    np.testing.assert_allclose(region_grid(features, size), expected, atol=3e-6)


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        ("bilinear", resize.bilinear),
        ("adaptive_pool", resize.adaptive_max),
        ("region_grid", resize.region_grid),
    ],
)
def test_a_grid_is_laid_as_asked(alignment, expected):
    features = random_features(10, 14)
    found = resize.to_grid(features, 6, alignment)
    np.testing.assert_array_equal(found, expected(features, (6, 6)))
    jitted = jax.jit(resize.to_grid, static_argnums=(1, 2))(features, 6, alignment)
    np.testing.assert_allclose(jitted, found, atol=1e-6)


@pytest.mark.parametrize("alignment", ["bilinear", "adaptive_pool", "region_grid"])
def test_a_grid_keeps_the_type_of_its_features(alignment):
    found = resize.to_grid(jnp.ones((1, 5, 7, 2), jnp.bfloat16), 3, alignment)
    assert found.shape == (1, 3, 3, 2) and found.dtype == jnp.bfloat16


def test_unknown_alignment_is_refused():
    with pytest.raises(ValueError, match="'nearest'"):
        resize.to_grid(jnp.zeros((1, 4, 4, 1)), 2, "nearest")


@pytest.mark.parametrize("size", [(4, 5), (8, 10), (1, 3), (25, 42)])
def test_coordinates_run_from_minus_one_to_one_x_first(size):
    found = coords.append_coordinates(jnp.zeros((1, *size, 7)))
    assert found.shape == (1, *size, 9)
    expected = RECORDED[f"coord/{size[0]}x{size[1]}"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., 7:], expected, atol=2.5e-7)  # an ulp of linspace


@pytest.mark.parametrize("width", [168, 336, 1000])
def test_coordinates_of_bfloat16_maps_are_the_exact_ones_rounded_once(width):
    found = coords.append_coordinates(jnp.zeros((1, 2, width, 1), jnp.bfloat16), "x")
    assert found.dtype == jnp.bfloat16
    exact = jnp.linspace(-1, 1, width).astype(jnp.bfloat16)
    np.testing.assert_array_equal(found[0, 0, :, 1], exact)


def test_a_training_on_cpus_repeats_maps_by_other_means_to_the_same_bits():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    out, back = jax.vjp(resize.repeat, x)
    np.testing.assert_array_equal(out, x.repeat(2, axis=1).repeat(2, axis=2))
    with parallel.training_on_cpus():
        stacked, stacked_back = jax.vjp(resize.repeat, x)
    np.testing.assert_array_equal(stacked, out)
    gradient = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
    np.testing.assert_allclose(stacked_back(gradient)[0], back(gradient)[0], rtol=1e-5, atol=1e-6)
