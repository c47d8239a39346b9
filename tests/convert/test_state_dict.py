import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import convert
from solojax.types import InputError
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
    with pytest.raises(InputError, match="norm=frozen_batch"):
        convert.load_backbone(torchvision_names(tiny_solov2), {"params": fresh["params"]})
