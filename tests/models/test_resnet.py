"""Parameter counts of the published bodies first, then what trains and what is frozen."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax.models import layers
from solojax.models.resnet import ResNet
from solojax.parallel import AXIS
from solojax.types import InputError

RESNEXT = {"depth": 101, "groups": 64, "group_width": 4}
IMAGE = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)


@pytest.fixture(autouse=True, scope="module")
def _deformable_convolutions_of_a_shape_are_traced_once():
    with pytest.MonkeyPatch.context() as patch:
        once = jax.jit(layers.deform_conv, static_argnames=("stride", "padding", "groups"))
        patch.setattr(layers, "deform_conv", once)
        yield


@functools.cache
def _shapes(settings: str) -> tuple[dict, dict]:
    model = ResNet(**json.loads(settings))
    return jax.eval_shape(model.init_with_output, jax.random.key(0), IMAGE)


def levels_of(**settings) -> dict:
    """The levels' shapes; tracing a hundred layers takes a second, so each is traced once."""
    return _shapes(json.dumps(settings))[0]


def shapes_of(**settings) -> dict:
    """The variables' shapes."""
    return _shapes(json.dumps(settings))[1]


def parameters_of(**settings) -> dict:
    """Path -> size of each parameter."""
    params = traverse_util.flatten_dict(shapes_of(**settings)["params"])
    return {path: leaf.size for path, leaf in params.items()}


@pytest.mark.parametrize(
    ("settings", "total", "frozen"),
    [
        ({"depth": 18}, 11_176_512, 157_504),
        ({"depth": 34}, 21_284_672, 231_488),
        ({"depth": 50}, 23_508_032, 225_344),
        ({"depth": 101}, 42_500_160, 225_344),
        (RESNEXT, 81_406_272, 402_752),
        ({"depth": 50, "variant": "d"}, 23_527_264, 225_344 + 19_232),
    ],
    ids=["18", "34", "50", "101", "x101", "50vd"],
)
def test_parameters_are_as_many_as_published(settings, total, frozen):
    sizes = parameters_of(**settings)
    model = ResNet(**settings)
    assert sum(sizes.values()) == total
    assert sum(size for path, size in sizes.items() if model.is_frozen(path)) == frozen


@pytest.mark.parametrize(
    ("settings", "version", "offsets"),
    [
        ({"depth": 50}, "v1", 580_842),
        ({"depth": 101}, "v2", 1_929_258),
        (RESNEXT, "v2", 7_714_602),
    ],
    ids=["50-v1", "101-v2", "x101-v2"],
)
def test_deformable_bodies_add_the_published_offsets_and_nothing_else(settings, version, offsets):
    deformable = parameters_of(**settings, deform=version)
    plain = parameters_of(**settings)
    added = {path: size for path, size in deformable.items() if "offset" in path}
    assert sum(added.values()) == offsets
    assert {path: deformable[path] for path in deformable if path not in added} == plain
    # Every block of stages 2 to 4, those of stride 2 as well.
    blocks = {path[0] for path in plain if not path[0].startswith(("conv1", "bn1", "layer1_"))}
    assert {path[:2] for path in added} == {(block, "conv2") for block in blocks}


def test_stages_can_be_made_deformable_one_by_one():
    sizes = parameters_of(depth=50, width=8, deform="v1", deform_stages=[4])
    assert {path[0] for path in sizes if "offset" in path} == {"layer4_0", "layer4_1", "layer4_2"}


def test_the_first_of_every_few_blocks_can_be_deformable_alone():
    sizes = parameters_of(depth=50, width=8, deform="v2", deform_every=3)
    assert {path[0] for path in sizes if "offset" in path} == {
        f"layer{stage}_{block}" for stage, block in ((2, 0), (2, 3), (3, 0), (3, 3), (4, 0))
    }


@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        ({"depth": 18, "width": 8}, (8, 16, 32, 64)),
        ({"depth": 18, "width": 8, "variant": "d"}, (8, 16, 32, 64)),
        ({"depth": 50, "width": 8}, (32, 64, 128, 256)),
        ({"depth": 26, "width": 8}, (32, 64, 128, 256)),
        ({"depth": 14, "width": 8}, (32, 64, 128, 256)),
        ({"depth": 50, "width": 8, "variant": "d", "deform": "v2"}, (32, 64, 128, 256)),
        ({"depth": 50, "width": 8, "groups": 4, "group_width": 16}, (32, 64, 128, 256)),
    ],
)
def test_levels_have_strides_4_to_32(settings, widths):
    assert {name: level.shape for name, level in levels_of(**settings).items()} == {
        f"c{level}": (1, 64 >> level, 96 >> level, width)
        for level, width in zip((2, 3, 4, 5), widths, strict=True)
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 10, "width": 4},
        {"depth": 26, "width": 2},
        {"depth": 14, "width": 2, "variant": "a"},
    ],
    ids=["basic", "bottleneck", "a"],
)
def test_a_dilated_body_sees_what_the_plain_one_does_and_more_often(settings):
    variables = filled(shapes_of(**settings))
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    plain, eighth, sixteenth = jax.jit(
        lambda *given: [
            ResNet(**settings, output_stride=stride).apply(*given) for stride in (32, 8, 16)
        ]
    )(variables, image)
    assert {level.shape[1:3] for level in eighth.values()} == {(16, 24), (8, 12)}
    for level, few, many in (("c4", 1, 2), ("c5", 2, 4)):
        for found, step in ((sixteenth, few), (eighth, many)):
            seen = found[level][:, ::step, ::step]
            np.testing.assert_allclose(seen, plain[level], rtol=1e-4, atol=1e-4)
    assert shapes_of(**settings, output_stride=8) == shapes_of(**settings)


def test_the_stem_is_a_level_where_it_is_asked_for():
    levels = levels_of(depth=18, width=8, c1=True)
    assert levels["c1"].shape == (1, 32, 48, 8)
    assert {name: level for name, level in levels.items() if name != "c1"} == levels_of(
        depth=18, width=8
    )


def test_the_grouped_convolutions_of_resnext_have_the_published_widths():
    params = shapes_of(**RESNEXT)["params"]
    for stage, width in enumerate((256, 512, 1024, 2048), start=1):
        kernel = params[f"layer{stage}_1"]["conv2"]["kernel"]
        assert kernel.shape == (3, 3, width // 64, width)


def test_variant_d_differs_in_the_stem_and_nowhere_else_in_names():
    plain, other = (set(parameters_of(depth=50, variant=variant)) for variant in ("b", "d"))
    names = {path[0] for path in other - plain}
    assert names == {"conv1_0", "bn1_0", "conv1_1", "bn1_1", "conv1_2"}
    assert plain - other == {("conv1", "kernel")}


def test_variant_a_halves_in_the_first_convolution_of_a_bottleneck_and_has_the_same_names():
    settings = {"depth": 14, "width": 2, "norm": "frozen"}
    assert parameters_of(**settings, variant="a") == parameters_of(**settings)
    variables = jax.tree.map(np.ones_like, filled(shapes_of(**settings)))
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[:, 6:, 6:] = 1
    found = jax.jit(ResNet(**settings, variant="a").apply)(variables, image)

    def norm(x: np.ndarray) -> np.ndarray:  # whose four variables are 1
        return (x - 1) / np.sqrt(1 + layers.NORM_EPSILON) + 1

    half = norm(np.asarray(found["c2"])[:, ::2, ::2].sum(-1))  # both 1x1 of stride 2
    side = half.shape[1]
    around = np.pad(np.maximum(half, 0), ((0, 0), (1, 1), (1, 1)))
    middle = sum(around[:, i : i + side, j : j + side] for i in range(3) for j in range(3)) * 4
    expected = np.maximum(norm(np.maximum(norm(middle), 0) * 4) + half, 0)
    np.testing.assert_allclose(found["c3"][..., 0], expected, rtol=1e-5)


def filled(shapes: dict) -> dict:
    """Small random variables of given shapes: ``init`` would have to be compiled."""
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return rng.normal(0, spread, leaf.shape).astype(np.float32)
        return rng.uniform(0.5, 1, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    # Of a seed that puts no ReLU at its corner, where rounding decides on a gradient.
    return np.random.default_rng(5).normal(size=(8, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables() -> dict:
    return filled(shapes_of(depth=10, width=8))


def test_the_shortcut_of_variant_d_averages_pairs_of_rows_and_columns():
    """With blocks that add nothing, c3 is the shortcut's convolution of the averaged c2."""
    settings = {"depth": 10, "width": 4, "variant": "d"}
    variables = filled(shapes_of(**settings))
    norm = variables["params"]["layer2_0"]["bn2"]
    variables["params"]["layer2_0"]["bn2"] = jax.tree.map(np.zeros_like, norm)
    shortcut = variables["params"]["layer2_0"]["downsample_conv"]["kernel"][0, 0]
    plain = {"scale": np.full(8, np.sqrt(1 + 1e-5)), "bias": np.zeros(8)}
    variables["params"]["layer2_0"]["downsample_bn"] = plain
    stats = {"mean": np.zeros(8), "var": np.ones(8)}
    variables["batch_stats"]["layer2_0"]["downsample_bn"] = stats
    image = np.random.default_rng(1).normal(size=(1, 32, 64, 3)).astype(np.float32)
    levels = jax.jit(lambda *given: [ResNet(**settings).apply(*given)[c] for c in ("c2", "c3")])
    c2, c3 = levels(variables, image)
    averaged = np.asarray(c2).reshape(1, 4, 2, 8, 2, 4).mean((2, 4))
    np.testing.assert_allclose(c3, np.maximum(averaged @ shortcut, 0), atol=1e-4)


@pytest.fixture(scope="module")
def of_frozen(variables, images):
    return jax.jit(ResNet(10, width=8, norm="frozen").apply)(variables, images)


def test_outside_of_training_all_batch_norms_give_the_same(variables, images, of_frozen):
    found = jax.jit(ResNet(10, width=8, norm="sync").apply)(variables, images)
    for name, level in of_frozen.items():
        np.testing.assert_allclose(found[name], level, rtol=1e-4, atol=1e-4, err_msg=name)
    frozen, trainable = (
        jax.jit(ResNet(10, width=8, norm=norm).apply).lower(variables, images).as_text()
        for norm in ("frozen", "frozen_statistics")
    )
    assert frozen == trainable


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 18, "width": 8, "norm": "sync", "frozen_stages": 0},
        {"depth": 50, "width": 8, "variant": "d", "deform": "v2"},
    ],
)
def test_rematerialised_stages_have_the_same_variables(settings):
    assert shapes_of(**settings, remat_stages=[1, 2, 3, 4]) == shapes_of(**settings)


def bytes_kept(**settings) -> int:
    """For the backward pass, parameters included."""
    model = ResNet(**settings)
    backward = jax.eval_shape(
        lambda variables: jax.vjp(
            lambda given: model.apply(given, jnp.ones(IMAGE.shape)), variables
        ),
        shapes_of(**settings),
    )[1]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def test_each_rematerialised_stage_holds_less_for_the_backward_pass():
    settings = {"depth": 18, "width": 8, "norm": "group", "norm_groups": 4, "frozen_stages": 0}
    kept = [bytes_kept(**settings, remat_stages=[1, 2, 3, 4][:count]) for count in range(5)]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["frozen_statistics", "sync"])
def test_rematerialised_stages_give_the_same_levels_statistics_and_gradients(
    norm, variables, images
):
    def run(remat_stages: tuple[int, ...]):
        model = ResNet(
            10, width=8, norm=norm, norm_groups=4, frozen_stages=0, remat_stages=remat_stages
        )

        def step(variables, images):
            def total(params):
                given = {**variables, "params": params}
                levels, changed = model.apply(given, images, train=True, mutable="batch_stats")
                return sum(jnp.sum(jnp.square(level)) for level in levels.values()), (
                    levels,
                    changed,
                )

            gradients, kept = jax.grad(total, has_aux=True)(variables["params"])
            return jax.lax.psum(gradients, AXIS), kept

        mapped = jax.pmap(step, AXIS, in_axes=(None, 0), devices=jax.local_devices()[:2])
        return mapped(variables, images.reshape(2, 4, *images.shape[1:]))

    plain, remat = run(()), run((1, 2, 3, 4))
    assert jax.tree.structure(plain) == jax.tree.structure(remat)
    moved = jax.tree.map(
        lambda after, before: bool(np.any(after != before[None])),
        remat[1][1]["batch_stats"],
        variables["batch_stats"],
    )
    assert set(jax.tree.leaves(moved)) == {norm == "sync"}
    for ours, theirs in zip(*map(jax.tree.leaves, (remat, plain)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def run_synchronised(devices: int, variables, images):
    """Levels and changed statistics of a training step's forward pass on some devices."""
    model = ResNet(10, width=8, norm="sync", frozen_stages=1)

    def step(variables, images):
        return model.apply(variables, images, train=True, mutable="batch_stats")

    mapped = jax.pmap(
        step,
        AXIS,
        in_axes=(None, 0),
        out_axes=(0, None),
        devices=jax.local_devices()[:devices],
    )
    levels, changed = mapped(variables, images.reshape(devices, -1, *images.shape[1:]))
    levels = {name: level.reshape(-1, *level.shape[2:]) for name, level in levels.items()}
    return levels, traverse_util.flatten_dict(jax.device_get(changed["batch_stats"]))


@pytest.fixture(scope="module")
def on_eight(variables, images):
    return run_synchronised(8, variables, images)


def test_one_and_eight_devices_synchronise_to_the_same_numbers(variables, images, on_eight):
    levels, stats = run_synchronised(1, variables, images)
    for name in levels:
        np.testing.assert_allclose(on_eight[0][name], levels[name], rtol=1e-5, atol=1e-5)
    for path in stats:
        np.testing.assert_allclose(on_eight[1][path], stats[path], rtol=1e-5, atol=1e-5)


def test_statistics_of_frozen_stages_do_not_change(variables, on_eight):
    before = traverse_util.flatten_dict(variables["batch_stats"])
    assert before.keys() == on_eight[1].keys()
    for path, found in on_eight[1].items():
        frozen = path[0] == "bn1" or path[0].startswith("layer1_")
        assert np.array_equal(found, before[path]) == frozen, path


def test_frozen_stages_of_a_synchronised_network_normalise_with_running_statistics(
    on_eight, of_frozen
):
    np.testing.assert_allclose(on_eight[0]["c2"], of_frozen["c2"], rtol=1e-4, atol=1e-4)
    assert np.abs(on_eight[0]["c3"] - of_frozen["c3"]).max() > 0.1


@pytest.mark.parametrize(
    ("norm", "frozen_stages", "path", "frozen"),
    [
        ("frozen_statistics", 0, "conv1 kernel", False),
        ("frozen_statistics", 1, "conv1 kernel", True),
        ("frozen_statistics", 1, "conv1_2 kernel", True),
        ("frozen_statistics", 1, "bn1_0 scale", True),
        ("frozen_statistics", 1, "layer1_2 bn1 scale", True),
        ("frozen_statistics", 1, "layer2_0 bn1 scale", False),
        ("frozen_statistics", 1, "layer2_0 conv1 kernel", False),
        ("frozen_statistics", 4, "layer4_22 conv1 kernel", True),
        ("sync", 2, "layer2_0 downsample_bn bias", True),
        ("sync", 2, "layer3_0 downsample_bn bias", False),
        ("group", 1, "layer1_0 bn1 bias", True),
        ("group", 1, "layer2_0 bn1 bias", False),
        ("frozen", 0, "bn1 scale", True),
        ("frozen", 0, "bn1_1 bias", True),
        ("frozen", 0, "conv1 kernel", False),
        ("frozen", 1, "layer4_0 downsample_bn bias", True),
        ("frozen", 1, "layer4_0 downsample_conv kernel", False),
        ("frozen", 1, "layer4_0 conv2 offset bias", False),
    ],
)
def test_what_is_frozen(norm, frozen_stages, path, frozen):
    model = ResNet(50, norm=norm, frozen_stages=frozen_stages)
    assert model.is_frozen(tuple(path.split())) == frozen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 19}, "depth 19 is unknown; choose from"),
        ({"variant": "c"}, "backbone.variant: 'c' is none of 'a', 'b', 'd'"),
        ({"norm": "batch"}, "backbone.norm: 'batch' is none of .*'group'"),
        ({"deform": "v3"}, "backbone.deform: 'v3' is none of 'none', 'v1', 'v2'"),
        ({"frozen_stages": 5}, r"backbone.frozen_stages=5 must be in 0\.\.4"),
        ({"deform_stages": (2, 5)}, r"backbone.deform_stages=\(2, 5\) must be in 1\.\.4"),
        ({"remat_stages": (0, 1)}, r"backbone.remat_stages=\(0, 1\) must be in 1\.\.4"),
        ({"remat_stages": (5,)}, r"backbone.remat_stages=\(5,\) must be in 1\.\.4"),
        ({"remat_stages": True}, "backbone.remat_stages: True is not of type tuple"),
        ({"output_stride": 4}, "backbone.output_stride=4 is none of 8, 16, 32"),
        ({"output_stride": 16, "deform": "v2"}, "ones, deform=v2, are not dilated; change one"),
        ({"depth": 18, "deform": "v1"}, "backbone.deform=v1 needs the bottlenecks of depth 50"),
        ({"depth": 34, "groups": 2}, "backbone.groups=2 needs the bottlenecks of depth 50"),
        ({"depth": 34, "group_width": 4}, "backbone.group_width=4 needs the bottlenecks"),
        ({"width": 9, "variant": "d"}, "backbone.width=9 must be even for variant d"),
        ({"width": 0}, "width=0 must be at least 1"),
        ({"width": 8, "groups": 8, "group_width": 4}, "width=8, groups=8 and group_width=4 leave"),
        ({"groups": -1, "group_width": -64}, "groups=-1 must be at least 1"),
        ({"norm": "group", "norm_groups": 3}, "width=64 does not divide into norm_groups=3"),
        ({"norm_groups": 0}, "norm_groups=0 must be at least 1"),
        (
            {"norm": "group", "norm_groups": 64, "variant": "d"},
            "norm_groups=64: a layer has 32 channels; choose a divisor",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message) as error:
        ResNet(**settings)
    assert "\n" not in str(error.value)
