"""Every file in configs/: how many parameters its model has, and that it is the published row."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from solojax import config as config_lib
from solojax.convert import architecture, choice
from solojax.data import plan, transforms
from solojax.models import detector, layers
from solojax.models.detector import Detector
from solojax.training import optimizer
from tests.convert import published

ROOT = Path(__file__).parents[1]
CONFIGS = {path.stem: path for path in sorted((ROOT / "configs").glob("*.py"))}
RESULTS = (ROOT / "docs" / "results.md").read_text()
WEIGHTS = (ROOT / "docs" / "weights.md").read_text()

PARAMETERS = {
    "shapes": 608_949,
    "shapes_solo": 1_034_661,
    "shapes_decoupled_solo": 1_036_829,
    "shapes_yolact": 561_187,
    "shapes_sparseinst": 538_396,
    "shapes_fcn": 402_984,
    "shapes_unet": 547_740,
    "shapes_pspnet": 492_232,
    "shapes_deeplabv3plus": 549_180,
    "shapes_pp_liteseg": 504_716,
    "shapes_panoptic": 660_289,
    "nuclei": 1_031_729,
    "memorize": 1_160_608,
    "solo_r50_fpn_1x": 36_301_232,
    "solo_r50_fpn_3x": 36_301_232,
    "solo_r101_fpn_3x": 55_293_360,
    "decoupled_solo_r50_fpn_1x": 40_028_560,
    "decoupled_solo_r50_fpn_3x": 40_028_560,
    "decoupled_solo_r101_fpn_3x": 59_020_688,
    "decoupled_solo_light_r50_fpn_3x": 32_354_192,
    "decoupled_solo_light_dcn_r50_fpn_3x": 33_018_014,
    "solov2_r50_fpn_1x": 46_592_912,
    "solov2_r50_fpn_3x": 46_592_912,
    "solov2_r101_fpn_3x": 65_585_040,
    "solov2_r101_dcn_fpn_3x": 68_729_118,
    "solov2_x101_dcn_fpn_3x": 113_420_574,
    "solov2_light_448_r18_fpn_3x": 18_271_760,
    "solov2_light_448_r34_fpn_3x": 28_379_920,
    "solov2_light_448_r50_fpn_3x": 31_340_560,
    "solov2_light_512_dcn_r50_fpn_3x": 33_185_054,
    "solov2_enhanced_512_dcn_r50vd_fpn_3x": 33_879_403,
    "solov2_r50_fpn_lsj_copy_paste": 46_592_912,
    "yolact_r50_550": 31_164_943,
    "yolact_r101_550": 50_157_071,
    "yolact_r101_400": 50_157_071,
    "yolact_r101_700": 50_157_071,
    "yolact_plus_r50_550": 33_762_876,
    # As torchvision counts its fcn_resnet50, auxiliary classifier included.
    "fcn_r50": 35_322_218,
    # Segmentation Models: 32,521,105 with one label, whose last convolution has 3x3 taps: 9 of 16
    # channels, where 149 more labels of a 1x1 one are 17 weights each.
    "unet_r50": 32_521_105 - 8 * 16 + 149 * 17,
    "pspnet_r50": 48_975_494 - 19_232 + (512 + 256 + 2) * (150 - 19),  # of mmsegmentation's, below
    # Of 2048 channels two 1x1 layers, and three of 9 taps a channel and then 1x1; their fusion; the
    # low level; twice 9 taps a channel and then 1x1; and the labels.
    "deeplabv3plus_r50": 23_508_032
    + 2 * (2048 * 256 + 512)
    + 3 * (2048 * (9 + 2 + 256) + 512)
    + (5 * 256 * 256 + 512)
    + (256 + 2) * 48
    + ((256 + 48) * (9 + 2 + 256) + 512)
    + (256 * (9 + 2 + 256) + 512)
    + 257 * 21,
    # PaddleSeg's have 4 x 128 biases that norms take away again, and none of the 3 x 19 here.
    "pp_liteseg_stdc1": 8_141_600 - 4 * 128 + 3 * 19,
    "pp_liteseg_stdc2": 12_366_464 - 4 * 128 + 3 * 19,
    # solov2_r50_fpn_3x, and a branch of 4 convolutions of 256 channels, 3 of 128, and 133 labels.
    "panoptic_solov2_r50_fpn": 46_592_912
    + (4 * (9 * 256 + 2) + 3 * (9 * 128 + 2)) * 128
    + 129 * 133,
    "sparseinst_r50": 31_637_493,
    "sparseinst_r50vd": 31_656_725,
    "sparseinst_r101": 51_840_033,
    "sparseinst_r101_dcn": 53_043_189,
    "sparseinst_r50_giam": 32_847_905,
    "sparseinst_r50_giam_softmax": 32_847_906,
    "sparseinst_r50_giam_aug": 32_847_905,
    "sparseinst_r50_dcn_giam_aug": 33_345_731,
    "sparseinst_r50vd_giam_aug": 32_867_137,
    "sparseinst_r50vd_dcn_giam_aug": 33_364_963,
}
# Of the stem and the first stage, by backbone; what is trained from scratch freezes nothing.
FROZEN = {
    "r18": 157_504,
    "r34": 231_488,
    "r50": 225_344,
    "r50vd": 244_576,
    "r101": 225_344,
    "x101": 402_752,
}
# Where the norms never change, and all else does.
FROZEN_NORMS = {"r50": 53_120, "r50vd": 53_248, "r101": 105_344}


class Row(NamedTuple):
    """A published model: what makes it, and what github.com/WXinlong/SOLO says of it."""

    head: str
    convolutions: tuple[int, int]  # of each trunk, and their channels
    kernel_width: int | None
    deform: str
    scale_ranges: tuple[tuple[int, int], ...]
    image: tuple[int, int]  # longest long side, short side in testing
    epochs: int
    ap: float  # val2017
    ms: int  # an image, V100


A = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
B = ((1, 64), (32, 128), (64, 256), (128, 512), (256, 2048))
C = ((1, 56), (28, 112), (56, 224), (112, 448), (224, 896))
LARGE, MEDIUM, SMALL = (1333, 800), (852, 512), (768, 448)
PUBLISHED = {
    "solo_r50_fpn_1x": Row("SOLO", (7, 256), None, "none", A, LARGE, 12, 32.9, 77),
    "solo_r50_fpn_3x": Row("SOLO", (7, 256), None, "none", A, LARGE, 36, 35.8, 77),
    "solo_r101_fpn_3x": Row("SOLO", (7, 256), None, "none", A, LARGE, 36, 37.1, 86),
    "decoupled_solo_r50_fpn_1x": Row(
        "DecoupledSOLO", (7, 256), None, "none", A, LARGE, 12, 33.9, 85
    ),
    "decoupled_solo_r50_fpn_3x": Row(
        "DecoupledSOLO", (7, 256), None, "none", A, LARGE, 36, 36.4, 85
    ),
    "decoupled_solo_r101_fpn_3x": Row(
        "DecoupledSOLO", (7, 256), None, "none", A, LARGE, 36, 37.9, 92
    ),
    "decoupled_solo_light_r50_fpn_3x": Row(
        "DecoupledSOLO", (4, 256), None, "none", B, MEDIUM, 36, 33.0, 29
    ),
    "decoupled_solo_light_dcn_r50_fpn_3x": Row(
        "DecoupledSOLO", (4, 256), None, "v1", B, MEDIUM, 36, 35.0, 36
    ),
    "solov2_r50_fpn_1x": Row("SOLOv2", (4, 512), 256, "none", A, LARGE, 12, 34.8, 54),
    "solov2_r50_fpn_3x": Row("SOLOv2", (4, 512), 256, "none", A, LARGE, 36, 37.5, 54),
    "solov2_r101_fpn_3x": Row("SOLOv2", (4, 512), 256, "none", A, LARGE, 36, 39.1, 66),
    "solov2_r101_dcn_fpn_3x": Row("SOLOv2", (4, 512), 256, "v2", A, LARGE, 36, 41.4, 97),
    "solov2_x101_dcn_fpn_3x": Row("SOLOv2", (4, 512), 256, "v2", A, LARGE, 36, 42.4, 169),
    "solov2_light_448_r18_fpn_3x": Row("SOLOv2", (2, 256), 128, "none", C, SMALL, 36, 29.6, 19),
    "solov2_light_448_r34_fpn_3x": Row("SOLOv2", (2, 256), 128, "none", C, SMALL, 36, 32.0, 20),
    "solov2_light_448_r50_fpn_3x": Row("SOLOv2", (2, 256), 128, "none", C, SMALL, 36, 33.7, 24),
    "solov2_light_512_dcn_r50_fpn_3x": Row("SOLOv2", (3, 256), 128, "v1", B, MEDIUM, 36, 36.4, 34),
}
ENHANCED = "solov2_enhanced_512_dcn_r50vd_fpn_3x"  # published by PaddleDetection
each_config = pytest.mark.parametrize("name", CONFIGS)
each_published = pytest.mark.parametrize("name", PUBLISHED)


@functools.cache
def load(name: str) -> config_lib.Config:
    return config_lib.load(CONFIGS[name])


@pytest.fixture(autouse=True, scope="module")
def _deformable_convolutions_of_a_shape_are_traced_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        once = jax.jit(layers.deform_conv, static_argnames=("stride", "padding", "groups"))
        patch.setattr(layers, "deform_conv", once)
        yield


@functools.cache
def _backbone(model: nn.Module) -> Any:
    """Levels and variables of a backbone, which several configs share: it takes seconds."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), image)


@functools.cache
def shapes_of(model: Detector) -> dict[str, Any]:
    levels, backbone = _backbone(model.backbone)
    key = jax.random.key(0)
    pyramid, neck = jax.eval_shape(model.neck.init_with_output, key, levels)
    head = jax.eval_shape(model.head.init, key, pyramid)
    parts = {"backbone": backbone, "neck": neck, "head": head}
    return {name: variables.get("params", {}) for name, variables in parts.items()}


def params_of(name: str) -> dict[str, Any]:
    return shapes_of(load(name).model)


def count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def frozen_parameters(name: str) -> int:
    if name.startswith(("yolact", "fcn", "unet", "pspnet", "deeplab")):  # all of it trains
        return 0
    if name.startswith("sparseinst"):
        return FROZEN_NORMS[name.split("_")[1]]
    return next((FROZEN[part] for part in name.split("_") if part in FROZEN), 0)


def files_of(name: str) -> Iterator[tuple[Callable[[dict], dict], str]]:
    """Whose names the layers of a config's weights have, and what the files are called."""
    if name in PUBLISHED:
        yield published.mmdetection, f"{name}_coco_20220512_125858-a357fa23"
        yield published.authors, name.replace("_fpn", "").upper()
    if name in ("solov2_r50_fpn_3x", "solov2_r101_fpn_3x"):
        yield published.adelaidet, name.replace("_fpn", "")
    if name in ("solov2_r50_fpn_1x", "solov2_r50_fpn_3x"):
        yield published.paddledetection, f"{name}_coco"
    if name == ENHANCED:
        yield published.paddledetection, "solov2_r50_enhance_coco"
    if name.startswith("sparseinst_"):
        yield published.sparseinst, name.replace("sparseinst", "sparse_inst")
    if name.startswith("yolact_"):
        of_size = {"550": "base", "400": "im400", "700": "im700"}[name[-3:]]
        depth = of_size if "r101" in name else "resnet50"
        yield published.yolact, f"yolact_{'plus_' * ('plus' in name)}{depth}_54_800000"


@pytest.mark.parametrize("name", [name for name in CONFIGS if any(files_of(name))])
def test_published_weights_lead_to_the_config_they_are_of(name):
    params = traverse_util.flatten_dict(params_of(name), sep="/")
    zero = np.zeros((), np.float32)  # no shape of it takes memory
    named = {f"params/{path}": np.broadcast_to(zero, one.shape) for path, one in params.items()}
    for write, file in files_of(name):
        chosen = choice.choose(architecture.recognise(write(named)), file)
        assert chosen.name == name, (file, chosen)
        assert f"| `{name}`" in WEIGHTS
        model = load(name).model
        if caffe := write is published.adelaidet:
            model = model.clone(backbone=model.backbone.clone(variant="a"))
        assert chosen.changed == ["backbone.variant=a (in the config b)"] * caffe
        assert chosen.config == dataclasses.replace(load(name), model=model)


@each_config
def test_parameter_count(name):
    assert count(params_of(name)) == PARAMETERS[name]


@each_config
def test_frozen_parameters_are_those_of_the_stem_and_the_first_stage(name):
    model = load(name).model
    frozen = {
        path: leaf
        for path, leaf in traverse_util.flatten_dict(params_of(name)["backbone"]).items()
        if detector.is_frozen(model, "/".join(("backbone", *path)))
    }
    assert count(frozen) == frozen_parameters(name)


@pytest.mark.parametrize(
    ("name", "part", "parameters"),
    [
        ("solo_r50_fpn_3x", "head", 9_448_816),
        ("decoupled_solo_r50_fpn_3x", "head", 13_176_144),
        ("decoupled_solo_light_r50_fpn_3x", "head", 5_501_776),
        ("solov2_r50_fpn_3x", "neck", 3_344_384),
        ("solov2_light_448_r18_fpn_3x", "neck", 2_607_104),
        ("sparseinst_r50", "neck", 3_082_496),
        ("sparseinst_r50", "head", 5_046_965),
        ("sparseinst_r50_giam", "head", 6_257_377),
        ("sparseinst_r50_giam_softmax", "head", 6_257_378),
    ],
)
def test_parameter_count_of_a_part(name, part, parameters):
    assert count(params_of(name)[part]) == parameters


@pytest.mark.parametrize(
    ("name", "mask_features", "others"),
    [
        ("solov2_r50_fpn_3x", 1_659_392, 18_081_104),
        ("solov2_light_448_r50_fpn_3x", 1_642_752, 2_845_392),
    ],
)
def test_parameter_count_of_the_parts_of_solov2(name, mask_features, others):
    head = params_of(name)["head"]
    assert count(head["mask_features"]) == mask_features
    assert count(head) - mask_features == others


def test_parameter_count_of_a_light_solov2_with_weighted_taps():
    """What mmdetection ships in the place of the authors' light model with version 1."""
    model = load("solov2_light_512_dcn_r50_fpn_3x").model
    weighted = model.clone(
        backbone=model.backbone.clone(deform="v2"), head=model.head.clone(deform="v2")
    )
    assert count(shapes_of(weighted)) == 33_516_965


def test_parameter_count_of_solo_on_resnet_18():
    model = load("solo_r50_fpn_3x").model
    assert count(shapes_of(model.clone(backbone=model.backbone.clone(depth=18)))) == 23_232_432


def test_parameter_count_of_the_pspnet_of_mmsegmentation():
    """48.98 M by its own count: on Cityscapes, with a stem of three convolutions."""
    model = load("pspnet_r50").model
    model = model.clone(
        backbone=model.backbone.clone(variant="d"), head=model.head.clone(num_labels=19)
    )
    assert count(shapes_of(model)) == 48_975_494


@each_published
def test_network_is_that_of_its_row(name):
    row, model = PUBLISHED[name], load(name).model
    head, backbone = model.head, model.backbone
    assert type(head).__name__ == row.head
    assert (head.depth, head.width) == row.convolutions
    assert getattr(head, "kernel_width", None) == row.kernel_width
    assert getattr(head, "mask_feature_width", 128) == 128
    assert getattr(head, "shared_trunk", False) == name.startswith("decoupled_solo_light")
    assert head.num_classes == 80
    assert head.grid.sizes == (40, 36, 24, 16, 12)
    assert head.grid.strides == (8, 8, 16, 32, 32)
    assert head.grid.scale_ranges == row.scale_ranges
    assert model.neck.width == 256

    depth = next(part for part in name.split("_") if part in FROZEN)
    assert backbone.depth == int(depth[1:])
    groups = (64, 4) if depth == "x101" else (1, 64)
    assert (backbone.groups, backbone.group_width) == groups
    assert (backbone.variant, backbone.norm, backbone.frozen_stages) == (
        "b",
        "frozen_statistics",
        1,
    )
    assert head.deform == backbone.deform == row.deform
    if row.deform != "none":
        assert backbone.deform_stages == (2, 3, 4)
        assert head.deform_convs == {"v1": "last", "v2": "all"}[row.deform]
    assert getattr(head, "deform_mask_features", False) == (row.deform == "v2")


@each_published
def test_recipe_is_that_of_its_row(name):
    row, config = PUBLISHED[name], load(name)
    data, optimizer = config.data, config.optimizer
    assert (data.long_side, data.test_short_side) == row.image
    large = row.image == LARGE
    scales = (800, 768, 736, 704, 672, 640) if large else (512, 480, 448, 416, 384, 352)
    assert data.train_short_sides == (scales if row.epochs == 36 else (800,))
    assert data.augmentation.flip_probability == 0.5

    assert config.training.epochs == row.epochs
    assert name.endswith({12: "_1x", 36: "_3x"}[row.epochs])
    assert (optimizer.algorithm, optimizer.schedule) == ("sgd", "step")
    assert optimizer.drop_epochs == {12: (9, 11), 36: (27, 33)}[row.epochs]
    assert optimizer.warmup_steps == 500
    assert optimizer.warmup_factor == (0.01 if row.head == "SOLOv2" else 1 / 3)
    assert (optimizer.learning_rate, optimizer.momentum, optimizer.clip_norm) == (0.01, 0.9, 35)
    assert optimizer.weight_decay == 1e-4
    assert (optimizer.decay_norms, optimizer.decay_biases, optimizer.undecayed) == (True, True, ())
    assert config.training.batch_size == optimizer.base_batch_size == 16
    assert optimizer.rate_factors == ()
    assert optimizer.ema_decay == 0


@pytest.mark.parametrize(
    ("name", "drops"),
    [
        *((name, {12: (9, 11), 36: (27, 33)}[row.epochs]) for name, row in PUBLISHED.items()),
        (ENHANCED, (24, 33)),
    ],
)
def test_rate_falls_to_a_tenth_at_the_drops_and_nowhere_else(name, drops):
    config = load(name)
    rate = optimizer.make_schedule(
        config.optimizer,
        batch_size=config.training.batch_size,
        steps=round(config.training.epochs) * 1000,
        steps_per_epoch=1000,
    )
    epochs = range(1, round(config.training.epochs))
    before, after = (rate(1000 * np.array(epochs) - early) for early in (1, 0))
    expected = [0.1 if epoch in drops else 1 for epoch in epochs]
    # The last step of a warm-up is a little below the rate.
    np.testing.assert_allclose(np.array(after) / np.array(before), expected, rtol=2e-3)


def test_the_enhanced_recipe_is_that_of_paddle_detection():
    config = load(ENHANCED)
    settings, head = config.optimizer, config.model.head
    assert (settings.algorithm, settings.learning_rate, settings.momentum) == ("sgd", 0.01, 0.9)
    assert config.training.batch_size == settings.base_batch_size == 16
    assert (config.training.epochs, settings.schedule) == (36, "step")
    assert (settings.warmup_steps, settings.warmup_factor) == (1000, 0)
    assert (settings.clip_norm, settings.ema_decay) == (0, 0.9998)
    assert (head.drop_block, head.drop_block_size) == (0.1, 3)
    assert (config.model.backbone.norm, config.model.backbone.frozen_stages) == ("sync", 1)


def test_rates_and_decay_of_the_enhanced_recipe_are_by_part():
    """One step from ones without gradients: rate times decay is what a parameter loses."""
    config = load(ENHANCED)
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape[-1:], "float32"), params_of(ENHANCED))
    tx = optimizer.make_optimizer(config.optimizer, lambda _: 1e4, config.model)
    update, gradients = jax.jit(tx.update), jax.tree.map(np.zeros_like, params)
    decays, _ = update(gradients, tx.init(params), params)
    moves, _ = update(params, tx.init(params), jax.tree.map(np.zeros_like, params))
    lost, moved = (traverse_util.flatten_dict(tree, sep="/") for tree in (decays, moves))
    for path, factor, is_decayed in [
        ("backbone/conv1_0/kernel", 0, False),
        ("backbone/layer1_2/conv3/kernel", 0, False),
        ("backbone/layer2_0/conv2/kernel", 0.05, True),
        ("backbone/layer2_3/bn3/scale", 0.05, False),
        ("backbone/layer3_5/conv2/kernel", 0.1, True),
        ("backbone/layer4_0/downsample_conv/kernel", 0.15, True),
        ("backbone/layer4_0/downsample_bn/bias", 0.15, False),
        ("backbone/layer2_1/conv2/offset/kernel", 1, True),
        ("backbone/layer4_2/conv2/offset/bias", 1, True),
        ("neck/lateral_c2/kernel", 1, True),
        ("neck/output_p5/bias", 1, True),
        ("head/kernel_trunk/conv_2/conv/kernel", 1, True),
        ("head/kernel_trunk/conv_2/conv/offset/kernel", 1, True),
        ("head/kernel_trunk/conv_2/conv/offset/bias", 2, False),
        ("head/mask_features/fuse/conv/offset/bias", 2, False),
        ("head/mask_features/p2_0/norm/bias", 1, False),
        ("head/category_predictor/bias", 1, True),
    ]:
        np.testing.assert_allclose(moved[path], -1e4 * factor, rtol=1e-6, err_msg=path)
        np.testing.assert_allclose(lost[path], -factor * is_decayed, rtol=1e-6, err_msg=path)


def test_recipes_of_augmentation_are_those_they_are_named_after():
    published, enhanced, strong = (
        load(name).data.augmentation
        for name in (
            "solov2_r50_fpn_3x",
            "solov2_enhanced_512_dcn_r50vd_fpn_3x",
            "solov2_r50_fpn_lsj_copy_paste",
        )
    )
    Augmentation = config_lib.Augmentation
    assert published == Augmentation(flip_probability=0.5)
    assert enhanced == Augmentation(flip_probability=0.5, color_probability=0.5, crop_probability=1)
    assert strong == Augmentation(
        flip_probability=0.5, scale_range=(0.1, 2.0), copy_paste_probability=0.5
    )


each_usual_size = pytest.mark.parametrize(
    "size", [(480, 640), (427, 640), (426, 640), (425, 640), (400, 640), (360, 640), (375, 500)]
)


@each_published
@each_usual_size
def test_canvases_suit_the_usual_images(name, size):
    check_canvases(load(name).data, size)


def check_canvases(data: config_lib.Data, size: tuple[int, int]) -> None:
    """Nothing is made smaller for want of room, and less than a tenth of a canvas is padding."""
    sizes = np.array([size, size[::-1]])
    for short_side in (data.test_short_side, max(data.train_short_sides)):
        places = plan.choose_canvases(sizes, data.canvases, short_side, data.long_side)
        for original, place in zip(sizes.tolist(), places, strict=True):
            canvas = data.canvases[place]
            wanted = transforms.rescale_size(original, short_side, data.long_side)
            assert transforms.fit_size(original, canvas, short_side, data.long_side) == wanted
            assert np.prod(wanted) > 0.9 * np.prod(canvas)


@each_config
def test_docstring_gives_the_command(name):
    assert f"--config configs/{name}.py" in CONFIGS[name].read_text()


@each_published
def test_docstring_gives_the_published_numbers(name):
    row = PUBLISHED[name]
    text = " ".join(CONFIGS[name].read_text().split())
    assert f"Published: {row.ap} mask AP on val2017, {row.ms} ms an image on a V100" in text
    trained = PARAMETERS[name] - frozen_parameters(name)
    assert f"{PARAMETERS[name]:,} parameters, {trained:,} of them trained." in text
    backbone = load(name).model.backbone
    weights = "resnext101_64x4d" if backbone.groups > 1 else f"resnet{backbone.depth}"
    assert f"training.pretrained={weights}.npz" in text


@each_published
def test_results_give_the_published_numbers(name):
    row = PUBLISHED[name]
    assert f"\n| `{name}` | {row.ap} | {row.ms} |" in RESULTS


def test_results_repeat_what_the_readme_says_was_measured():
    readme = (ROOT / "README.md").read_text()
    section = readme.split("\n## Results\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("|"):
            assert line in RESULTS, line


def switches() -> list[tuple[str, str]]:
    """(config, override) of every ablation in docs/results.md; a heading names its config."""
    found: dict[tuple[str, str], None] = {}
    for section in RESULTS.split("\n## "):
        base = re.search(r"`(\w+_3x)`", section.splitlines()[0])
        for override in re.findall(r"`((?:model|data|optimizer|training)\.[^`]+=[^`]+)`", section):
            assert base, override
            found[base[1], override] = None
    return list(found)


@pytest.mark.parametrize(("name", "override"), switches())
def test_switches_in_the_results_exist(name, override):
    config_lib.override(load(name), override)
