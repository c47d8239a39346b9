import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.models.layers import (
    Conv,
    ConvNormReLU,
    ConvReLU,
    DeformConv,
    Dense,
    GroupNorm,
    make_norm,
    rematerialised,
)
from solojax.ops.deform_conv import deform_conv
from solojax.parallel import AXIS

BATCH_NORMS = ("frozen", "frozen_statistics", "sync")


def norm_of(kind: str, *, train: bool = False):
    return make_norm(kind, groups=2, name=None, train=train)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Eight images whose statistics differ from one to the next."""
    rng = np.random.default_rng(0)
    means = np.arange(8, dtype=np.float32)[:, None, None, None]
    return rng.normal(means, 1 + means, (8, 3, 5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def variables() -> dict:
    row = np.arange(4, dtype=np.float32)
    return {
        "params": {"scale": 1 + row, "bias": row - 2},
        "batch_stats": {"mean": row / 2, "var": 0.5 + row},
    }


def normalised(x, mean, var, variables):
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_every_batch_norm_has_the_same_variables(kind, x):
    found = jax.eval_shape(norm_of(kind).init, jax.random.key(0), x)
    assert jax.tree.map(lambda leaf: leaf.shape, found) == {
        "params": {"scale": (4,), "bias": (4,)},
        "batch_stats": {"mean": (4,), "var": (4,)},
    }


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_outside_of_training_every_batch_norm_uses_its_running_statistics(kind, x, variables):
    stats = variables["batch_stats"]
    expected = normalised(x, stats["mean"], stats["var"], variables)
    np.testing.assert_allclose(norm_of(kind).apply(variables, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["frozen", "frozen_statistics"])
def test_frozen_statistics_stay_in_training(kind, x, variables):
    norm = norm_of(kind, train=True)
    out, changed = norm.apply(variables, x, mutable="batch_stats")
    np.testing.assert_array_equal(out, norm.apply(variables, x))
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize(("kind", "trains"), [("frozen", False), ("frozen_statistics", True)])
def test_a_frozen_norm_gives_its_scale_and_bias_no_gradient(kind, trains, x, variables):
    def total(params, x):
        return jnp.sum(norm_of(kind).apply({**variables, "params": params}, x) ** 2)

    of_params, of_x = jax.grad(total, argnums=(0, 1))(variables["params"], x)
    assert np.abs(of_x).min() > 0
    for leaf in jax.tree.leaves(of_params):
        assert bool(np.abs(leaf).max() > 0) == trains


def synchronised(devices: int, x, variables):
    """Output, changed statistics and parameter gradients of a weighted sum, on some devices."""
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    def step(params, x, weights):
        def total(params):
            norm = norm_of("sync", train=True)
            out, changed = norm.apply({**variables, "params": params}, x, mutable="batch_stats")
            return jnp.sum(out * weights), (out, changed["batch_stats"])

        gradients, (out, stats) = jax.grad(total, has_aux=True)(params)
        return out, stats, jax.lax.psum(gradients, AXIS)

    mapped = jax.pmap(
        step,
        AXIS,
        in_axes=(None, 0, 0),
        out_axes=(0, None, None),
        devices=jax.local_devices()[:devices],
    )
    x, weights = (array.reshape(devices, -1, *x.shape[1:]) for array in (x, weights))
    out, stats, gradients = mapped(variables["params"], x, weights)
    return out.reshape(-1, *out.shape[2:]), stats, gradients


def test_a_synchronised_norm_uses_the_statistics_of_the_whole_batch(x, variables):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    out, stats, _ = synchronised(8, x, variables)
    np.testing.assert_allclose(out, normalised(x, mean, var, variables), rtol=1e-4, atol=1e-4)
    before = variables["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-5)


def test_a_synchronised_norm_gives_the_same_on_one_and_eight_devices(x, variables):
    one, eight = (synchronised(devices, x, variables) for devices in (1, 8))
    for ours, theirs in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 24), (3, 7, 24), (2, 5, 9, 24), (0, 4, 4, 24)], ids=str)
def test_group_norm_and_its_gradients_are_those_of_flax(shape):
    x, weights, scale, bias = (
        np.random.default_rng(seed).normal(1, 2, size).astype(np.float32)
        for seed, size in enumerate((shape, shape, 24, 24))
    )

    def run(module, variables, x):
        out = module.apply(variables, x)
        return jnp.sum(out * weights), out

    ours, flax_s = (
        jax.jit(jax.value_and_grad(functools.partial(run, module), argnums=(0, 1), has_aux=True))(
            {"params": {"scale": scale, "bias": bias}}, x
        )
        for module in (GroupNorm(4), nn.GroupNorm(num_groups=4, epsilon=1e-5))
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, ours, flax_s)


def test_group_norm_of_a_constant_is_its_bias():
    variables = {"params": {"scale": np.full(4, 3.0), "bias": np.arange(4.0)}}
    found = GroupNorm(2).apply(variables, jnp.full((1, 5, 5, 4), 7.25))
    np.testing.assert_allclose(found, np.broadcast_to(np.arange(4.0), (1, 5, 5, 4)), atol=1e-5)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="4 groups do not divide 6 channels"):
        GroupNorm(4).init(jax.random.key(0), jnp.zeros((1, 3, 3, 6)))


def test_group_norm_has_no_statistics(x):
    assert list(jax.eval_shape(norm_of("group").init, jax.random.key(0), x)) == ["params"]


@pytest.mark.parametrize("kind", [*BATCH_NORMS, "group"])
def test_every_norm_is_float32_inside_and_gives_back_the_type_of_its_input(kind, x, variables):
    rounded = jnp.asarray(x, jnp.bfloat16)
    given = {"params": variables["params"]} if kind == "group" else variables
    found = norm_of(kind).apply(given, rounded)
    assert found.dtype == jnp.bfloat16
    exact = norm_of(kind).apply(given, rounded.astype(jnp.float32))
    assert exact.dtype == jnp.float32
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_statistics_of_bfloat16_batches_are_float32(x, variables):
    rounded = np.asarray(jnp.asarray(x, jnp.bfloat16))
    found, exact = (synchronised(8, each, variables) for each in (rounded, np.float32(rounded)))
    for name, running in found[1].items():
        assert running.dtype == jnp.float32
        np.testing.assert_allclose(running, exact[1][name], rtol=1e-6)
    for ours, theirs in zip(*map(jax.tree.leaves, (found[2], exact[2])), strict=True):
        assert ours.dtype == jnp.float32
        # Of weights times rounded outputs here, of products with them there.
        np.testing.assert_allclose(ours, theirs, rtol=0.01, atol=0.1)


@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_computes_in_the_type_of_its_input_with_float32_parameters(bias):
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 4), jnp.bfloat16)
    module = Conv(3, (3, 3), padding=1, use_bias=bias)
    found, variables = jax.jit(module.init_with_output)(jax.random.key(1), x)
    assert found.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    program = str(jax.make_jaxpr(module.apply)(variables, x))
    assert program.count("conv_general_dilated") == 1 and "f32[1,6,6,3]" not in program


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_so_does_a_deformable_one(version):
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 4), jnp.bfloat16)
    module = DeformConv(3, 3, version, kernel_init=jax.nn.initializers.normal(1.0))
    found, variables = jax.jit(module.init_with_output)(jax.random.key(1), x)
    assert found.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    exact = jax.jit(module.apply)(variables, x.astype(jnp.float32))
    assert exact.dtype == jnp.float32
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.05)


@pytest.mark.parametrize("deform", ["none", "v2"])
def test_a_rematerialised_block_holds_its_input_alone(deform):
    x = jnp.ones((2, 16, 16, 8))

    def kept(wanted: bool) -> dict:
        block = rematerialised(ConvNormReLU, wanted)(8, groups=2, deform=deform)
        params = jax.eval_shape(block.init, jax.random.key(0), x)
        backward = jax.eval_shape(lambda *given: jax.vjp(block.apply, *given)[1], params, x)
        sizes = [leaf.size for leaf in jax.tree.leaves(backward)]
        return {"params": params, "maps": sum(size for size in sizes if size >= x.size)}

    plain, remat = kept(False), kept(True)
    assert remat["params"] == plain["params"]
    assert remat["maps"] == x.size < plain["maps"]


def shapes_of(module, channels: int = 4) -> dict:
    x = jnp.zeros((1, 8, 8, channels))
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: leaf.shape, params)


@pytest.mark.parametrize(
    ("version", "size", "offset_channels"),
    [("v1", 3, 18), ("v2", 3, 27), ("v1", 1, 2), ("v2", 1, 3)],
)
def test_a_deformable_block_has_a_convolution_for_its_offsets(version, size, offset_channels):
    assert shapes_of(ConvNormReLU(6, groups=2, kernel=size, deform=version)) == {
        "conv": {
            "kernel": (size, size, 4, 6),
            "offset": {"kernel": (size, size, 4, offset_channels), "bias": (offset_channels,)},
        },
        "norm": {"scale": (6,), "bias": (6,)},
    }


def test_an_ordinary_block_has_none():
    assert shapes_of(ConvNormReLU(6, groups=2)) == {
        "conv": {"kernel": (3, 3, 4, 6)},
        "norm": {"scale": (6,), "bias": (6,)},
    }


@pytest.mark.parametrize(("version", "factor"), [("v1", 1.0), ("v2", 0.5)])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 2)])
def test_a_fresh_deformable_convolution_is_an_ordinary_one(version, factor, stride, groups):
    x = jax.random.normal(jax.random.key(0), (2, 8, 6, 4))
    init = jax.nn.initializers.normal(1.0)
    module = DeformConv(6, 3, version, kernel_init=init, stride=stride, groups=groups)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    expected = jax.lax.conv_general_dilated(
        x,
        factor * variables["params"]["kernel"],
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    found = jax.jit(module.apply)(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_last_third_of_the_channels_are_logits_of_the_mask():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 3))
    bias = jnp.linspace(-1.5, 1.5, 27)
    params = {"kernel": kernel, "offset": {"kernel": jnp.zeros((3, 3, 2, 27)), "bias": bias}}
    module = DeformConv(3, 3, "v2", kernel_init=jax.nn.initializers.zeros)
    expected = deform_conv(
        x,
        jnp.broadcast_to(bias[:18], (1, 4, 4, 18)),
        jnp.broadcast_to(jax.nn.sigmoid(bias[18:]), (1, 4, 4, 9)),
        kernel,
        stride=1,
        padding=1,
    )
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-5)


def test_deformable_blocks_start_like_ordinary_ones_and_look_straight_ahead():
    block = ConvNormReLU(64, deform="v1")
    params = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 16)))["params"]
    np.testing.assert_allclose(np.asarray(params["conv"]["kernel"]).std(), 0.01, rtol=0.03)
    for leaf in jax.tree.leaves(params["conv"]["offset"]):
        np.testing.assert_array_equal(leaf, 0)


def test_a_convolution_with_relu_has_a_bias_and_nothing_below_zero():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 3)), jnp.bfloat16)
    found, variables = ConvReLU(4).init_with_output(jax.random.key(0), x)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {"conv": {"kernel": (3, 3, 3, 4), "bias": (4,)}}
    assert found.shape == (2, 5, 6, 4) and found.dtype == jnp.bfloat16
    assert (found >= 0).all() and (found == 0).any() and (found > 0).any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_linear_layer_computes_in_the_type_of_its_input(dtype):
    found, variables = Dense(4).init_with_output(jax.random.key(0), jnp.ones((2, 3), dtype))
    assert found.dtype == dtype
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
