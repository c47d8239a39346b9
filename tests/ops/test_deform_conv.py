"""Known samples first, then a slow loop over every tap of every pixel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from solojax.ops import deform_conv as module

# One program a case: op by op every shape of every operation is a compilation of its own.
deform_conv = jax.jit(module.deform_conv, static_argnames=("stride", "padding", "groups"))

MAP = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)


def sample_of_the_centre(dy: float, dx: float) -> float:
    """The one tap of a 1x1 kernel of 1, displaced from the middle of MAP."""
    offsets = jnp.zeros((1, 3, 3, 2)).at[0, 1, 1].set(jnp.array([dy, dx]))
    features, kernel = jnp.asarray(MAP)[None, :, :, None], jnp.ones((1, 1, 1, 1))
    return float(deform_conv(features, offsets, None, kernel, stride=1, padding=0)[0, 1, 1, 0])


@pytest.mark.parametrize(
    ("dy", "dx", "expected"),
    [
        (0, 0, 5),
        (1, 0, 8),  # dy comes first
        (0, 1, 6),
        (-1, -1, 1),
        (0.5, 0, 6.5),
        (0, -0.25, 4.75),
        (0.5, 0.5, 7),
        (-0.25, 0.5, 4.75),
        (1.5, 0, 4),  # half of row 3, which is zero
        (-1.5, -1.5, 0.25),
        (2, 0, 0),
        (0, -2, 0),
        (1e30, 0, 0),
        (0, -1e30, 0),
        (np.inf, -np.inf, 0),
    ],
)
def test_a_sample_is_bilinear_and_zero_outside(dy, dx, expected):
    assert sample_of_the_centre(dy, dx) == pytest.approx(expected)


def test_an_offset_that_is_no_number_shows():
    assert np.isnan(sample_of_the_centre(np.nan, 0))


def slow(features, offsets, mask, kernel, *, stride, padding, groups=1):
    """Pixel by pixel, tap by tap, corner by corner."""
    batch, height, width, channels = features.shape
    size, _, in_width, out_channels = kernel.shape
    out = np.zeros((*offsets.shape[:3], out_channels))
    for b, row, column, tap in np.ndindex(*offsets.shape[:3], size * size):
        y = row * stride - padding + tap // size + float(offsets[b, row, column, 2 * tap])
        x = column * stride - padding + tap % size + float(offsets[b, row, column, 2 * tap + 1])
        sample = np.zeros(channels)
        for i in (np.floor(y), np.floor(y) + 1):
            for j in (np.floor(x), np.floor(x) + 1):
                if 0 <= i < height and 0 <= j < width:
                    pixel = features[b, int(i), int(j)]
                    sample += (1 - abs(y - i)) * (1 - abs(x - j)) * pixel
        if mask is not None:
            sample *= mask[b, row, column, tap]
        each = out_channels // groups
        for g in range(groups):
            used = sample[g * in_width : (g + 1) * in_width]
            weights = kernel[tap // size, tap % size, :, g * each : (g + 1) * each]
            out[b, row, column, g * each : (g + 1) * each] += used @ weights
    return out


def make_case(size=3, stride=1, groups=1, spread=1.0, *, modulated=True, side=(6, 5)):
    """Random arguments, by name, that fit together; offsets stay off whole positions."""
    rng = np.random.default_rng(0)
    out = tuple((length + 2 * (size // 2) - size) // stride + 1 for length in side)
    offsets = rng.integers(-3, 4, (2, *out, 2 * size**2)) * spread
    offsets = offsets + rng.uniform(0.1, 0.9, offsets.shape)
    arrays = {
        "features": rng.normal(size=(2, *side, 4)),
        "offsets": offsets,
        "mask": rng.random((2, *out, size**2)) if modulated else None,
        "kernel": rng.normal(size=(size, size, 4 // groups, 6)),
    }
    arrays = {name: None if x is None else x.astype(np.float32) for name, x in arrays.items()}
    return arrays, {"stride": stride, "padding": size // 2, "groups": groups}


CASES = {
    "v1": {"modulated": False},
    "v2": {},
    "stride_2": {"stride": 2},
    "groups": {"groups": 2},
    "v1_groups_stride_2": {"modulated": False, "groups": 2, "stride": 2},
    "one_tap": {"size": 1},
    "five_taps": {"size": 5},
    "far_outside": {"spread": 1000.0},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_equals_the_slow_loop(case):
    arrays, settings = make_case(**case)
    found = deform_conv(**arrays, **settings)
    np.testing.assert_allclose(found, slow(**arrays, **settings), rtol=1e-4, atol=1e-4)


@functools.partial(jax.jit, static_argnames=("stride", "padding", "groups"))
def ordinary(features, kernel, *, stride, padding, groups):
    return jax.lax.conv_general_dilated(
        features,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@pytest.mark.parametrize("case", [name for name in CASES if name != "far_outside"])
def test_without_offsets_it_is_an_ordinary_convolution(case):
    arrays, settings = make_case(**CASES[case])
    arrays["offsets"] *= 0
    arrays["mask"] = None if arrays["mask"] is None else np.ones_like(arrays["mask"])
    expected = ordinary(arrays["features"], arrays["kernel"], **settings)
    np.testing.assert_allclose(deform_conv(**arrays, **settings), expected, rtol=1e-4, atol=1e-4)


def test_whole_offsets_that_are_all_alike_shift_the_convolution():
    arrays, settings = make_case(modulated=False)
    alike = np.tile(np.float32([2, -1]), arrays["offsets"].shape[-1] // 2)
    arrays["offsets"] = np.broadcast_to(alike, arrays["offsets"].shape)
    found = deform_conv(**arrays, **settings)
    expected = ordinary(arrays["features"], arrays["kernel"], **settings)
    np.testing.assert_allclose(found[:, :-2, 1:], expected[:, 2:, :-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["v1", "v2", "v1_groups_stride_2", "one_tap"])
def test_gradients_equal_numeric_differences(case):
    arrays, settings = make_case(**CASES[case], side=(4, 3))
    given = {name: x for name, x in arrays.items() if x is not None}

    def run(values):
        return deform_conv(**{**arrays, **values}, **settings)

    check_grads(run, (given,), order=1, modes=["rev"], eps=1e-2, rtol=1e-2, atol=1e-2)


def test_at_whole_positions_the_derivative_is_towards_larger_ones():
    features = jnp.array([1.0, 2.0, 4.0, 8.0])[None, None, :, None]
    kernel = jnp.ones((1, 1, 1, 1))

    def total(offsets):
        return jnp.sum(deform_conv(features, offsets, None, kernel, stride=1, padding=0))

    found = jax.grad(total)(jnp.zeros((1, 1, 4, 2)))
    np.testing.assert_allclose(found[0, 0, :, 1], [1, 2, 4, -8])
    np.testing.assert_allclose(found[0, 0, :, 0], [-1, -2, -4, -8])


def test_gradients_far_outside_are_zero_and_finite():
    arrays, settings = make_case()
    far = {**arrays, "offsets": np.full_like(arrays["offsets"], np.inf)}

    def total(values):
        return jnp.sum(deform_conv(**values, **settings))

    for leaf in jax.tree.leaves(jax.grad(total)(far)):
        np.testing.assert_array_equal(leaf, 0)


def test_compiled_and_op_by_op_agree():
    arrays, settings = make_case(size=1)
    found = deform_conv(**arrays, **settings)
    expected = module.deform_conv(**arrays, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_one_image_at_a_time_gives_the_same():
    arrays, settings = make_case()
    kernel = arrays.pop("kernel")

    def one(values):
        batch = {name: x[None] for name, x in values.items()}
        return deform_conv(**batch, kernel=kernel, **settings)[0]

    found, expected = jax.vmap(one)(arrays), deform_conv(**arrays, kernel=kernel, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_empty_batch_passes():
    arrays, settings = make_case()
    kernel = arrays.pop("kernel")
    empty = {name: x[:0] for name, x in arrays.items()}
    assert deform_conv(**empty, kernel=kernel, **settings).shape == (0, 6, 5, 6)


def test_the_samples_are_not_kept_for_the_backward_pass():
    arrays, settings = make_case()
    _, backward = jax.vjp(functools.partial(module.deform_conv, **settings), *arrays.values())
    kept = sum(leaf.size for leaf in jax.tree.leaves(backward))
    given, taps = sum(x.size for x in arrays.values()), arrays["mask"].shape[-1]
    assert kept < given + taps * arrays["features"].size


def test_positions_in_bfloat16_maps_are_fractions_of_a_pixel_beyond_256():
    features = jnp.zeros((1, 1, 400, 1), jnp.bfloat16).at[0, 0, 301].set(1)
    offsets = jnp.zeros((1, 1, 400, 2)).at[..., 1].set(0.25)
    kernel = jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    found = deform_conv(features, offsets, None, kernel, stride=1, padding=0)
    assert found.dtype == jnp.bfloat16
    assert found[0, 0, 300:302, 0].tolist() == [0.25, 0.75]


def test_bfloat16_rounds_samples_and_products_and_not_their_sum():
    arrays, settings = make_case()
    rounded = {name: jnp.asarray(x, jnp.bfloat16) for name, x in arrays.items()}

    def total(values):
        out = deform_conv(**values, **settings)
        return jnp.sum(jnp.square(out.astype(jnp.float32))), out

    gradient = jax.jit(jax.grad(total, has_aux=True))
    ours, found = gradient(rounded)
    theirs, exact = gradient({name: x.astype(jnp.float32) for name, x in rounded.items()})
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-7, atol=0.05)
    for name, leaf in theirs.items():
        assert ours[name].dtype == jnp.bfloat16
        error = np.linalg.norm(ours[name].astype(jnp.float32) - leaf)
        assert error < 0.01 * np.linalg.norm(leaf), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.zeros((2, 6, 5, 9))}, r"offsets has shape .*\(2, 6, 5, 18\) is wanted"),
        ({"offsets": np.zeros((2, 5, 5, 18))}, r"offsets has shape .*\(2, 6, 5, 18\) is wanted"),
        ({"mask": np.zeros((2, 6, 5, 18))}, r"mask has shape .*\(2, 6, 5, 9\) is wanted"),
        ({"kernel": np.zeros((3, 3, 2, 6))}, "does not fit 4 channels, 1 groups"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    arrays, settings = make_case()
    with pytest.raises(ValueError, match=message):
        deform_conv(**{**arrays, **change}, **settings)
