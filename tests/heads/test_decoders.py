"""Decoders: numbers of PaddleSeg's where it has the same network, else what makes each of them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax.heads.deeplab import DeepLabV3Plus
from solojax.heads.fcn import FCN
from solojax.heads.labeller import Labeller
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.heads.pspnet import PSPNet
from solojax.heads.unet import UNet
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.stdc import STDC
from solojax.types import InputError
from tests.conftest import FIXTURES
from tests.heads.programs import equations

RECORDED = np.load(FIXTURES / "paddleseg.npz")
GROUP = {"norm": "group", "groups": 2}
PYRAMID = {
    f"p{level}": jax.ShapeDtypeStruct((2, 64 >> level, 96 >> level, 4), jnp.float32)
    for level in range(1, 6)
}


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(model: nn.Module, x: Any) -> Any:
    """The variables that were recorded with, drawn in the order of their paths."""
    rng = np.random.default_rng(0)
    shapes = traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x), sep="/")

    def fill(path: str, shape: tuple[int, ...]) -> np.ndarray:
        if path.endswith("kernel"):
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif path.endswith(("scale", "var")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        return values.astype(np.float32)

    values = {path: fill(path, shapes[path].shape) for path in sorted(shapes)}
    return traverse_util.unflatten_dict(values, sep="/")


@pytest.mark.parametrize(
    ("name", "model", "x"),
    [
        (
            "pp_liteseg",
            Detector(
                STDC((2, 1, 1), width=8),
                Levels(),
                Labeller(PPLiteSeg(8, widths=(8, 6, 4), label_widths=(4, 4, 4)), 3),
            ),
            drawn(1, 1, 64, 96, 3),
        ),
        (
            "pspnet",
            Labeller(PSPNet(4, auxiliary_width=2), 3),
            {"p4": drawn(1, 1, 8, 12, 8), "p5": drawn(2, 1, 8, 12, 16)},
        ),
    ],
)
def test_logits_equal_the_recorded_ones(name, model, x):
    found = jax.tree.leaves(jax.jit(model.apply)(filled(model, x), x))
    for i, logits in enumerate(found):
        expected = RECORDED[f"{name}/{i}"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5, err_msg=str(i))


def features_of(decoder: nn.Module, pyramid: Any = PYRAMID) -> Any:
    return jax.eval_shape(decoder.init_with_output, jax.random.key(0), pyramid)


@pytest.mark.parametrize(
    ("decoder", "main", "others"),
    [
        (FCN(8, auxiliary_width=6, **GROUP), (2, 3, 8), [(4, 6, 6)]),
        (FCN(8, depth=2, auxiliary_width=0, **GROUP), (2, 3, 8), []),
        (UNet((8, 6, 6, 4, 4), **GROUP), (64, 96, 4), []),
        (UNet((8, 6, 4), **GROUP), (16, 24, 4), []),
        (PSPNet(8, auxiliary_width=6, **GROUP), (2, 3, 8), [(4, 6, 6)]),
        (DeepLabV3Plus(8, low_width=4, **GROUP), (16, 24, 8), []),
        (
            PPLiteSeg(8, widths=(8, 6, 4), label_widths=(6, 4, 2), **GROUP),
            (8, 12, 2),
            [(2, 3, 6), (4, 6, 4)],
        ),
        (PanopticFPN(8, **GROUP), (16, 24, 8), []),
    ],
)
def test_features_are_of_their_sizes(decoder, main, others):
    features, more = features_of(decoder)[0]
    assert features.shape == (2, *main)
    assert [each.shape for each in more] == [(2, *each) for each in others]


@pytest.mark.parametrize(
    ("stride", "dilations"), [(8, {1, 12, 24, 36}), (16, {1, 6, 12, 18}), (32, {1, 3, 6, 9})]
)
@pytest.mark.parametrize("separable", [True, False])
def test_deeplab_looks_as_far_whatever_the_stride_of_its_backbone(stride, dilations, separable):
    decoder = DeepLabV3Plus(8, low_width=4, separable=separable, **GROUP)
    sides = {"p2": (16, 24), "p5": (64 // stride, 96 // stride)}
    pyramid = {name: jnp.zeros((1, *side, 4)) for name, side in sides.items()}
    program = jax.make_jaxpr(decoder.init)(jax.random.key(0), pyramid).jaxpr
    taps = [each.params for each in equations(program, "conv_general_dilated")]
    assert {d for each in taps for d in each["rhs_dilation"]} == dilations
    grouped = sum(each["feature_group_count"] > 1 for each in taps)
    assert grouped == (5 if separable else 0)


def test_unet_takes_a_level_of_a_dilated_backbone_as_large_as_it_is():
    dilated = {**PYRAMID, "p5": PYRAMID["p4"]}
    shapes = [features_of(UNet((8, 4), **GROUP), pyramid) for pyramid in (PYRAMID, dilated)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FCN(6, norm="group", groups=4), "head.decoder.width=6 does not divide into head"),
        (lambda: FCN(8, depth=0), "head.decoder.depth=0 must be at least 1"),
        (lambda: PSPNet(auxiliary_width=-1), r"head.decoder.auxiliary_width=-1 must be in 0\.\."),
        (lambda: PSPNet(pools=(0,)), r"head.decoder.pools=\(0,\) must be at least 1"),
        (lambda: UNet(()), r"head.decoder.widths=\(\) must be one to five widths"),
        (lambda: PPLiteSeg(widths=(8, 8)), r"head.decoder.widths=\(8, 8\) must be three"),
        (lambda: DeepLabV3Plus(norm="batch"), "head.decoder.norm: 'batch' is none of"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_level_that_is_not_there_is_named():
    fine = {name: level for name, level in PYRAMID.items() if name != "p1"}
    with pytest.raises(InputError, match="the neck gives p2, p3, p4, p5, not p1"):
        features_of(UNet((4, 4, 4, 4), **GROUP), fine)
