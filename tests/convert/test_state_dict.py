import functools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax import convert
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.types import InputError
from tests.convert import published
from tests.heads import recorded
from tests.heads.stranger import Neither, Slots
from tests.heads.test_solov2 import MODEL


@pytest.fixture(scope="module")
def fresh():
    """Variables of a fresh network, as far as shapes go."""
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, leaf.dtype), shapes)


def torchvision_names(tiny_solov2) -> dict[str, np.ndarray]:
    """The recorded backbone as a ResNet's own state dict, classifier included."""
    prefix = "params/backbone."
    named = {k.removeprefix(prefix): v for k, v in tiny_solov2.items() if k.startswith(prefix)}
    return {**named, "fc.weight": np.zeros((10, 256)), "fc.bias": np.zeros(10)}


def test_backbone_weights_fill_the_backbone_alone(tiny_solov2, fresh):
    loaded = convert.load_backbone(torchvision_names(tiny_solov2), fresh)
    stem = loaded["params"]["backbone"]["conv1"]["kernel"]
    recorded = tiny_solov2["params/backbone.conv1.weight"]  # O I H W
    np.testing.assert_array_equal(stem[2, 5, 1, 3], recorded[3, 1, 2, 5])
    np.testing.assert_array_equal(
        loaded["batch_stats"]["backbone"]["layer2_0"]["downsample_bn"]["var"],
        tiny_solov2["params/backbone.layer2.0.downsample.1.running_var"],
    )
    for part in ("neck", "head"):
        jax.tree.map(np.testing.assert_array_equal, loaded["params"][part], fresh["params"][part])
    assert jax.tree.structure(loaded) == jax.tree.structure(fresh)


def test_half_precision_weights_become_float32(tiny_solov2, fresh):
    half = {k: v.astype(np.float16) for k, v in torchvision_names(tiny_solov2).items()}
    loaded = convert.load_backbone(half, fresh)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))


def test_weights_of_another_depth_are_refused_by_name(tiny_solov2, fresh):
    shallow = {k: v for k, v in torchvision_names(tiny_solov2).items() if "layer4.2" not in k}
    with pytest.raises(InputError, match=r"params/backbone/layer4_2/conv1/kernel is not filled"):
        convert.load_backbone(shallow, fresh)


class Strange:
    """What turns into no array."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("lies on another device")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (3, np.zeros(3), "3 is no name of an array"),
        (None, np.zeros(3), "None is no name"),
        ("state_dict", {"conv1.weight": 0}, "state_dict is {'conv1.weight': 0}, no array"),
        ("conv1.weight", "text", "'text', no array"),
        ("conv1.weight", None, "None, no array"),
        ("conv1.weight", np.array([None, 1], object), "no array of numbers"),
        ("conv1.weight", np.zeros((2, 2), complex), "no array of numbers"),
        ("conv1.weight", [[1], [2, 3]], "no array of numbers"),
        ("conv1.weight", Strange(), "no array of numbers"),
    ],
)
def test_what_is_no_name_or_no_array_is_told_in_one_line(name, value, said):
    with pytest.raises(InputError) as caught:
        convert.load_state_dict({name: value}, MODEL)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_backbone_of_group_norms_refuses_pretrained_weights(tiny_solov2, fresh):
    with pytest.raises(InputError, match="norm to frozen_statistics, frozen or sync"):
        convert.load_backbone(torchvision_names(tiny_solov2), {"params": fresh["params"]})


def body(**settings) -> dict:
    """Variables of a detector that has a backbone and nothing else, all of them 0.5."""
    image = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(ResNet(width=8, **settings).init, jax.random.key(0), image)
    return {
        kind: {"backbone": jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), tree)}
        for kind, tree in shapes.items()
    }


def assert_equal(found: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def number(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def norm_entries(name: str, width: int, seed: int) -> dict[str, np.ndarray]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": number((width,), seed + i) for i, leaf in enumerate(leaves)}


def timm_names_of_resnet18d() -> dict[str, np.ndarray]:
    """The state dict that timm's resnet18d would have at an eighth of its width."""
    named = {
        "conv1.0.weight": number((4, 3, 3, 3), 1),
        **norm_entries("conv1.1", 4, 2),
        "conv1.3.weight": number((4, 4, 3, 3), 6),
        **norm_entries("conv1.4", 4, 7),
        "conv1.6.weight": number((8, 4, 3, 3), 11),
        **norm_entries("bn1", 8, 12),
        "fc.weight": number((10, 64), 0),
        "fc.bias": number((10,), 0),
    }
    for stage, width in enumerate((8, 16, 32, 64), start=1):
        before = width if stage == 1 else width // 2
        for block in range(2):
            name, seed = f"layer{stage}.{block}", 100 * stage + 20 * block
            entry = before if block == 0 else width
            named[f"{name}.conv1.weight"] = number((width, entry, 3, 3), seed)
            named |= norm_entries(f"{name}.bn1", width, seed + 1)
            named[f"{name}.conv2.weight"] = number((width, width, 3, 3), seed + 5)
            named |= norm_entries(f"{name}.bn2", width, seed + 6)
            named[f"{name}.bn2.num_batches_tracked"] = np.array(7)
        if stage > 1:  # place 0 is the average pool
            named[f"layer{stage}.0.downsample.1.weight"] = number((width, before, 1, 1), seed + 10)
            named |= norm_entries(f"layer{stage}.0.downsample.2", width, seed + 11)
    return named


def mmdetection_names_of_resnet18d() -> dict[str, np.ndarray]:
    """The same weights under the names of mmdetection's ResNetV1d, whose stem is one sequence."""
    return {
        re.sub(r"^bn1\.", "stem.7.", re.sub(r"^conv1\.", "stem.", name)): array
        for name, array in timm_names_of_resnet18d().items()
    }


def test_the_stem_of_variant_d_is_taken_by_both_names():
    named = mmdetection_names_of_resnet18d()
    stem = {name for name in named if name.startswith("stem.") and name.endswith("weight")}
    assert stem == {f"stem.{place}.weight" for place in (0, 1, 3, 4, 6, 7)}
    fresh = body(depth=18, variant="d")
    expected = convert.load_backbone(timm_names_of_resnet18d(), fresh)
    assert_equal(convert.load_backbone(named, fresh), expected)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.0.weight", "params/conv1_0/kernel"),
        ("conv1.1.weight", "params/bn1_0/scale"),
        ("conv1.3.weight", "params/conv1_1/kernel"),
        ("conv1.4.running_var", "batch_stats/bn1_1/var"),
        ("conv1.6.weight", "params/conv1_2/kernel"),
        ("bn1.bias", "params/bn1/bias"),
        ("layer3.0.downsample.1.weight", "params/layer3_0/downsample_conv/kernel"),
        ("layer3.0.downsample.2.weight", "params/layer3_0/downsample_bn/scale"),
        ("layer3.0.downsample.2.running_mean", "batch_stats/layer3_0/downsample_bn/mean"),
        ("layer4.1.conv2.weight", "params/layer4_1/conv2/kernel"),
    ],
)
def test_timm_weights_of_variant_d_find_their_places(name, path):
    named = timm_names_of_resnet18d()
    loaded = convert.load_backbone(named, body(depth=18, variant="d"))
    kind, *below = path.split("/")
    found = loaded[kind]["backbone"]
    for step in below:
        found = found[step]
    array = named[name]
    expected = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    np.testing.assert_array_equal(found, expected)


def test_weights_of_the_other_variant_are_refused():
    with pytest.raises(InputError, match=r"conv1\.0\.weight has no place in the model"):
        convert.load_backbone(timm_names_of_resnet18d(), body(depth=18))


def test_a_deformable_backbone_keeps_its_own_offsets_over_ordinary_weights(tiny_solov2):
    fresh = body(depth=50, deform="v2")
    loaded = convert.load_backbone(torchvision_names(tiny_solov2), fresh)
    assert jax.tree.structure(loaded) == jax.tree.structure(fresh)
    block = loaded["params"]["backbone"]["layer2_0"]["conv2"]
    for leaf in jax.tree.leaves(block["offset"]):
        np.testing.assert_array_equal(leaf, 0.5)
    recorded = tiny_solov2["params/backbone.layer2.0.conv2.weight"]
    np.testing.assert_array_equal(block["kernel"], recorded.transpose(2, 3, 1, 0))


def test_offsets_that_come_along_are_taken_and_must_be_whole(tiny_solov2):
    named, fresh = torchvision_names(tiny_solov2), body(depth=50, deform="v1", deform_stages=(4,))
    for block in range(3):
        named[f"layer4.{block}.conv2.conv_offset.weight"] = number((18, 64, 3, 3), block)
        named[f"layer4.{block}.conv2.conv_offset.bias"] = number((18,), block)
    loaded = convert.load_backbone(named, fresh)
    offset = loaded["params"]["backbone"]["layer4_2"]["conv2"]["offset"]
    expected = named["layer4.2.conv2.conv_offset.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(offset["kernel"], expected)
    np.testing.assert_array_equal(offset["bias"], named["layer4.2.conv2.conv_offset.bias"])
    del named["layer4.1.conv2.conv_offset.bias"]
    with pytest.raises(InputError, match="layer4_1/conv2/offset/bias is not filled"):
        convert.load_backbone(named, fresh)


def test_a_resnet_18_gives_the_recorded_features(tiny_resnet18):
    backbone = ResNet(18, width=2)
    image = recorded.nhwc(tiny_resnet18["img"])
    shapes = jax.eval_shape(backbone.init, jax.random.key(0), image)
    variables = {kind: {"backbone": tree} for kind, tree in shapes.items()}
    loaded = convert.load_backbone(recorded.state_dict(tiny_resnet18), variables)
    features = jax.jit(backbone.apply)(
        {kind: tree["backbone"] for kind, tree in loaded.items()}, image
    )
    for i, level in enumerate(features.values()):
        recorded.check_channels(tiny_resnet18, f"feat/backbone{i}", level)


# Whole detectors. What follows writes down the names and shapes that the programs give the
# published models, for models whose backbone is 8 channels wide, neck 16 and head 20.
GRID = Grid(sizes=(5, 4, 3, 2, 1))
SMALL = {"num_classes": 5, "grid": GRID, "width": 20, "groups": 4}
SMALL_V2 = {**SMALL, "kernel_width": 8, "mask_feature_width": 12}

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, out: int, into: int, size: int, *, bias: bool = False) -> Shapes:
    kernel: Shapes = {f"{name}.weight": (out, into, size, size)}
    return {**kernel, f"{name}.bias": (out,)} if bias else kernel


def norm(name: str, width: int, *more: str) -> Shapes:
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", *more)}


def batch_norm(name: str, width: int) -> Shapes:
    return norm(name, width, "running_mean", "running_var")


def block(name: str, out: int, into: int, size: int = 3, offsets: int = 0) -> Shapes:
    """A convolution with group norm; ``offsets`` are the channels that move its taps, if any."""
    moves = conv(f"{name}.conv.conv_offset", offsets, into, size, bias=True) if offsets else {}
    return conv(f"{name}.conv", out, into, size) | moves | norm(f"{name}.gn", out)


def trunk(name: str, depth: int, into: int, offsets: int = 0, moved: Iterable[int] = ()) -> Shapes:
    shapes: Shapes = {}
    for i in range(depth):
        moves = offsets if i in moved else 0
        shapes |= block(f"mask_head.{name}.{i}", 20, 20 if i else into, offsets=moves)
    return shapes


def predictors(name: str, widths: Iterable[int], size: int) -> Shapes:
    shapes: Shapes = {}
    for level, width in enumerate(widths):
        shapes |= conv(f"mask_head.{name}.{level}", width, 20, size, bias=True)
    return shapes


def body_shapes(depth: int, offsets: int = 0) -> Shapes:
    """Backbone and neck; stages 2 to 4 are deformable where there are ``offsets``."""
    shapes = conv("backbone.conv1", 8, 3, 7) | batch_norm("backbone.bn1", 8)
    into, blocks = 8, {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    for stage, count in enumerate(blocks, start=1):
        inner = 8 * 2 ** (stage - 1)
        out = inner if depth == 18 else 4 * inner
        for index in range(count):
            name = f"backbone.layer{stage}.{index}"
            basic = ((inner, into, 3), (inner, inner, 3))
            bottleneck = ((inner, into, 1), (inner, inner, 3), (out, inner, 1))
            for i, layer in enumerate(basic if depth == 18 else bottleneck, start=1):
                shapes |= conv(f"{name}.conv{i}", *layer) | batch_norm(f"{name}.bn{i}", layer[0])
            if offsets and stage > 1:
                shapes |= conv(f"{name}.conv2.conv_offset", offsets, inner, 3, bias=True)
            if into != out:
                shapes |= conv(f"{name}.downsample.0", out, into, 1)
                shapes |= batch_norm(f"{name}.downsample.1", out)
            into = out
        shapes |= conv(f"neck.lateral_convs.{stage - 1}.conv", 16, out, 1, bias=True)
        shapes |= conv(f"neck.fpn_convs.{stage - 1}.conv", 16, 16, 3, bias=True)
    return shapes


def solo_shapes(depth: int = 7, sides: tuple[int, ...] = GRID.sizes) -> Shapes:
    return {
        **trunk("mask_convs", depth, 18),
        **trunk("cls_convs", depth, 16),
        **predictors("conv_mask_list", [side**2 for side in sides], 1),
        **conv("mask_head.conv_cls", 5, 20, 3, bias=True),
    }


def decoupled_shapes(*mask_trunks: Shapes, category_trunk: Shapes) -> Shapes:
    shapes = category_trunk | conv("mask_head.conv_cls", 5, 20, 3, bias=True)
    for mask_trunk in mask_trunks:
        shapes |= mask_trunk
    for axis in "xy":
        shapes |= predictors(f"conv_mask_list_{axis}", GRID.sizes, 3)
    return shapes


def solov2_shapes(depth: int = 4, offsets: int = 0) -> Shapes:
    """SOLOv2; every convolution but the predictors is deformable where there are ``offsets``."""
    shapes = {
        **trunk("kernel_convs", depth, 18, offsets, range(depth)),
        **trunk("cls_convs", depth, 16, offsets, range(depth)),
        **conv("mask_head.conv_cls", 5, 20, 3, bias=True),
        **conv("mask_head.conv_kernel", 8, 20, 3, bias=True),
        **block("mask_head.mask_feature_head.conv_pred", 8, 12, 1, offsets // 9),
    }
    for level, count in enumerate((1, 1, 2, 3)):
        for i in range(count):
            name = f"mask_head.mask_feature_head.convs_all_levels.{level}.conv{i}"
            into = 12 if i else 18 if level == 3 else 16
            shapes |= block(name, 12, into, offsets=offsets)
    return shapes


class Case(NamedTuple):
    """A model, the names and shapes of its weights, and where some of them belong in it."""

    model: Detector
    shapes: Shapes
    places: dict[str, str]


def case_of(head: Any, shapes: Shapes, places: dict[str, str], depth: int = 18) -> Case:
    deform = {} if depth == 18 else {"deform": "v2"}
    model = Detector(backbone=ResNet(depth, width=8, **deform), neck=FPN(16), head=head)
    return Case(model, body_shapes(depth, 27 if deform else 0) | shapes, places)


BODY_PLACES = {
    "backbone.conv1.weight": "backbone/conv1/kernel",
    "backbone.bn1.bias": "backbone/bn1/bias",
    "backbone.layer2.0.conv2.weight": "backbone/layer2_0/conv2/kernel",
    "backbone.layer2.0.downsample.0.weight": "backbone/layer2_0/downsample_conv/kernel",
    "backbone.layer3.1.bn2.weight": "backbone/layer3_1/bn2/scale",
    "neck.lateral_convs.0.conv.weight": "neck/lateral_c2/kernel",
    "neck.fpn_convs.3.conv.bias": "neck/output_p5/bias",
    "mask_head.cls_convs.1.conv.weight": "head/category_trunk/conv_1/conv/kernel",
    "mask_head.cls_convs.0.gn.weight": "head/category_trunk/conv_0/norm/scale",
    "mask_head.conv_cls.bias": "head/category_predictor/bias",
}
LIGHT_PLACES = {
    "mask_head.mask_convs.3.conv.weight": "head/mask_trunk/conv_3/conv/kernel",
    "mask_head.conv_mask_list_x.1.weight": "head/x_predictor_p3/kernel",
    "mask_head.conv_mask_list_y.1.weight": "head/y_predictor_p3/kernel",
}
FEATURES = "mask_head.mask_feature_head.convs_all_levels"
V2_PLACES = {
    "mask_head.kernel_convs.1.conv.weight": "head/kernel_trunk/conv_1/conv/kernel",
    "mask_head.conv_kernel.weight": "head/kernel_predictor/kernel",
    f"{FEATURES}.0.conv0.conv.weight": "head/mask_features/p2_0/conv/kernel",
    f"{FEATURES}.2.conv1.conv.weight": "head/mask_features/p4_1/conv/kernel",
    f"{FEATURES}.3.conv2.gn.bias": "head/mask_features/p5_2/norm/bias",
    "mask_head.mask_feature_head.conv_pred.conv.weight": "head/mask_features/fuse/conv/kernel",
    "mask_head.mask_feature_head.conv_pred.gn.weight": "head/mask_features/fuse/norm/scale",
}
CASES = {
    "solo": case_of(
        SOLO(**SMALL),
        solo_shapes(),
        {
            "mask_head.mask_convs.1.conv.weight": "head/mask_trunk/conv_1/conv/kernel",
            "mask_head.conv_mask_list.0.weight": "head/mask_predictor_p2/kernel",
            "mask_head.conv_mask_list.4.bias": "head/mask_predictor_p6/bias",
        },
    ),
    "decoupled": case_of(
        DecoupledSOLO(**SMALL),
        decoupled_shapes(
            trunk("mask_convs_x", 7, 17),
            trunk("mask_convs_y", 7, 17),
            category_trunk=trunk("cls_convs", 7, 16),
        ),
        {
            "mask_head.mask_convs_x.0.conv.weight": "head/x_trunk/conv_0/conv/kernel",
            "mask_head.mask_convs_y.6.gn.bias": "head/y_trunk/conv_6/norm/bias",
            "mask_head.conv_mask_list_x.0.weight": "head/x_predictor_p2/kernel",
            "mask_head.conv_mask_list_y.4.bias": "head/y_predictor_p6/bias",
        },
    ),
    "decoupled-light": case_of(
        DecoupledSOLO(**SMALL, depth=4, shared_trunk=True),
        decoupled_shapes(
            trunk("mask_convs", 4, 18),
            category_trunk=trunk("cls_convs", 4, 16),
        ),
        LIGHT_PLACES,
    ),
    "decoupled-light-dcn": case_of(
        DecoupledSOLO(**SMALL, depth=4, shared_trunk=True, deform="v1"),
        decoupled_shapes(
            trunk("mask_convs", 4, 18, 18, [3]),
            category_trunk=trunk("cls_convs", 4, 16, 18, [3]),
        ),
        {
            **LIGHT_PLACES,
            "mask_head.mask_convs.3.conv.conv_offset.weight": (
                "head/mask_trunk/conv_3/conv/offset/kernel"
            ),
            "mask_head.cls_convs.3.conv.conv_offset.bias": (
                "head/category_trunk/conv_3/conv/offset/bias"
            ),
        },
    ),
    "solov2": case_of(SOLOv2(**SMALL_V2), solov2_shapes(), V2_PLACES),
    "solov2-dcn": case_of(
        SOLOv2(**SMALL_V2, deform="v2", deform_convs="all", deform_mask_features=True),
        solov2_shapes(offsets=27),
        {
            **V2_PLACES,
            "backbone.layer4.2.conv2.conv_offset.weight": "backbone/layer4_2/conv2/offset/kernel",
            "mask_head.kernel_convs.0.conv.conv_offset.weight": (
                "head/kernel_trunk/conv_0/conv/offset/kernel"
            ),
            f"{FEATURES}.3.conv0.conv.conv_offset.weight": (
                "head/mask_features/p5_0/conv/offset/kernel"
            ),
            "mask_head.mask_feature_head.conv_pred.conv.conv_offset.weight": (
                "head/mask_features/fuse/conv/offset/kernel"
            ),
        },
        depth=50,
    ),
    "solov2-light": case_of(SOLOv2(**SMALL_V2, depth=2), solov2_shapes(depth=2), V2_PLACES),
}


def weights(shapes: Shapes) -> dict[str, np.ndarray]:
    """Arrays that all differ."""
    return {name: number(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}


@functools.cache
def loaded(name: str) -> dict[str, Any]:
    """The variables that come of mmdetection's names."""
    return convert.load_state_dict(weights(CASES[name].shapes), CASES[name].model)


@pytest.mark.parametrize("name", CASES)
def test_weights_by_mmdetections_names_find_their_places_and_fill_them_all(name):
    given = weights(CASES[name].shapes)
    found = traverse_util.flatten_dict(loaded(name), sep="/")
    for key, path in (BODY_PLACES | CASES[name].places).items():
        array = given[key].transpose(2, 3, 1, 0) if given[key].ndim == 4 else given[key]
        np.testing.assert_array_equal(found[f"params/{path}"], array, err_msg=key)
    np.testing.assert_array_equal(
        found["batch_stats/backbone/layer2_0/downsample_bn/var"],
        given["backbone.layer2.0.downsample.1.running_var"],
    )
    # Each array stands somewhere, none of them twice.
    sums = [sorted(float(array.sum()) for array in arrays.values()) for arrays in (found, given)]
    np.testing.assert_allclose(*sums, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_weights_by_the_authors_names_make_the_same_model(name):
    named = {
        published.authors_name(key, decoupled="decoupled" in name): array
        for key, array in weights(CASES[name].shapes).items()
    }
    assert not any(key.startswith("mask_head") for key in named)
    assert_equal(convert.load_state_dict(named, CASES[name].model), loaded(name))


def test_names_of_training_on_several_gpus_are_taken_and_what_has_no_place_is_left():
    named = {f"module.{key}": array for key, array in weights(CASES["solo"].shapes).items()}
    named["module.backbone.bn1.num_batches_tracked"] = np.array(7)
    named["data_preprocessor.mean"] = named["module.data_preprocessor.std"] = np.ones((3, 1, 1))
    assert_equal(convert.load_state_dict(named, CASES["solo"].model), loaded("solo"))


def test_offsets_by_their_oldest_names_are_taken():
    old = {
        key.replace(".conv2.conv_offset.", ".conv2_offset."): array
        for key, array in weights(CASES["solov2-dcn"].shapes).items()
    }
    assert "backbone.layer2.0.conv2_offset.weight" in old
    assert_equal(convert.load_state_dict(old, CASES["solov2-dcn"].model), loaded("solov2-dcn"))


def test_a_trunk_of_twelve_convolutions_loads():
    case = case_of(SOLO(**SMALL, depth=12), solo_shapes(depth=12), {})
    given = weights(case.shapes)
    found = convert.load_state_dict(given, case.model)["params"]["head"]["mask_trunk"]
    for i in (1, 10, 11):
        expected = given[f"mask_head.mask_convs.{i}.conv.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(found[f"conv_{i}"]["conv"]["kernel"], expected)


def test_a_levels_number_counts_the_levels_of_the_grid():
    grid = Grid(
        levels=("p3", "p4"), strides=(8, 16), sizes=(3, 3), scale_ranges=((1, 64), (32, 512))
    )
    case = case_of(SOLO(**{**SMALL, "grid": grid}), solo_shapes(sides=(3, 3)), {})
    given = weights(case.shapes)
    found = convert.load_state_dict(given, case.model)["params"]["head"]
    for place, level in enumerate(("p3", "p4")):
        expected = given[f"mask_head.conv_mask_list.{place}.bias"]
        np.testing.assert_array_equal(found[f"mask_predictor_{level}"]["bias"], expected)
    given["mask_head.conv_mask_list.2.bias"] = np.zeros(9)
    with pytest.raises(InputError, match=r"conv_mask_list\.2\.bias has no place in the model"):
        convert.load_state_dict(given, case.model)


def test_a_weight_under_two_names_is_refused():
    given = weights(CASES["solo"].shapes)
    given["bbox_head.solo_cate.bias"] = given["mask_head.conv_cls.bias"]
    with pytest.raises(InputError, match=r"bbox_head\.solo_cate\.bias is there twice"):
        convert.load_state_dict(given, CASES["solo"].model)


def other_names_of_resnet18() -> dict[str, dict[str, np.ndarray]]:
    """A ResNet-18's weights, with torchvision's names, YOLACT's and detectron2's."""
    plain = {
        name: array
        for name, array in timm_names_of_resnet18d().items()
        if not name.startswith(("conv1", "fc")) and "tracked" not in name
    }
    plain = {
        name.replace(".downsample.1", ".downsample.0").replace(".downsample.2", ".downsample.1"): a
        for name, a in plain.items()
    } | {"conv1.weight": number((8, 3, 7, 7), 1)}
    yolact, detectron = {}, {}
    for name, array in plain.items():
        stage, _, rest = name.removeprefix("layer").partition(".")
        inside = name.startswith("layer")
        yolact[f"layers.{int(stage) - 1}.{rest}" if inside else name] = array
        theirs = f"res{int(stage) + 1}.{rest}" if inside else f"stem.{name}"
        for ours, other in (
            (r"\.bn(\d)\.", r".conv\1.norm."),
            (r"\.downsample\.0\.", ".shortcut."),
            (r"\.downsample\.1\.", ".shortcut.norm."),
        ):
            theirs = re.sub(ours, other, theirs)
        detectron[theirs] = array
    return {"torchvision": plain, "yolact": yolact, "detectron2": detectron}


def test_a_backbone_is_known_by_its_other_names():
    named, fresh = other_names_of_resnet18(), body(depth=18)
    assert "layers.3.0.downsample.1.running_var" in named["yolact"]
    assert {"res2.0.conv1.norm.bias", "stem.conv1.norm.weight"} <= named["detectron2"].keys()
    expected = convert.load_backbone(named.pop("torchvision"), fresh)
    for each in named.values():
        assert_equal(convert.load_backbone(each, fresh), expected)


class Pooled(nn.Module):
    """A backbone without parameters."""

    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        return {"p2": nn.avg_pool(images, (4, 4), (4, 4))}


class Named(Slots):
    """Says what its layers are called."""

    state_dict_names = ((r"decoder\.(maps|classes)", "head/{0}"), (r"decoder\.old", ""))


def test_a_head_brings_its_own_names_and_linear_layers_turn_round():
    model = Detector(Pooled(), Neither(), Named(num_classes=5))
    given = {
        "decoder.maps.weight": number((6, 3, 3, 3), 1),
        "decoder.maps.bias": number((6,), 2),
        "decoder.classes.weight": number((5, 3), 3),
        "decoder.classes.bias": number((5,), 4),
        "decoder.old.weight": number((9,), 5),  # which nothing reads
    }
    maps, classes = (
        convert.load_state_dict(given, model)["params"]["head"][k] for k in ("maps", "classes")
    )
    np.testing.assert_array_equal(
        maps["kernel"], given["decoder.maps.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(classes["kernel"], given["decoder.classes.weight"].T)
    np.testing.assert_array_equal(classes["bias"], given["decoder.classes.bias"])
    for wrong, said in (
        (number((3, 5), 3), r"classes.weight gives \(5, 3\) where \(3, 5\) is wanted"),
        (number((5, 3, 1), 3), r"classes.weight gives \(5, 3, 1\) where \(3, 5\) is wanted"),
    ):
        with pytest.raises(InputError, match=said):
            convert.load_state_dict({**given, "decoder.classes.weight": wrong}, model)
