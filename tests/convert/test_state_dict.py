import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import convert
from solojax.models.resnet import ResNet
from solojax.types import InputError
from tests.heads import recorded
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
