import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.models import detector
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.ops import images
from solojax.types import InputError
from tests.heads.stranger import Blocks, Neither, Slots


class Deep(Neither):
    """A neck whose coarsest level is at stride 128."""

    canvas_multiple = 128


def make(neck: nn.Module | None = None, **settings) -> Detector:
    return Detector(Blocks(), neck or Neither(), Slots(), **settings)


def test_pixels_are_normalized_as_the_model_says():
    pixels = jnp.full((1, 8, 12, 3), 200, jnp.uint8)
    model, sizes = make(mean=(0, 100, 200), std=(1, 2, 4)), jnp.array([[4, 8]])
    found = model.normalize(pixels, sizes, jnp.float32)
    np.testing.assert_array_equal(found[0, :4, :8], np.broadcast_to([200, 50, 0], (4, 8, 3)))
    assert not found[0, 4:].any() and not found[0, :, 8:].any()
    usual = make().normalize(pixels, sizes, jnp.float32)
    np.testing.assert_array_equal(usual, images.normalize(pixels, sizes))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mean": 5}, "model.mean: 5 is not of type"),
        ({"mean": (1, 2)}, "model.mean: (1, 2) is not"),
        ({"mean": "abc"}, "model.mean: 'abc' is not"),
        ({"std": (1, 0, 1)}, "must be above 0"),
        ({"std": (1, float("nan"), 1)}, "nan is no finite number"),
    ],
)
def test_statistics_of_pixels_that_are_none_are_refused(settings, said):
    with pytest.raises(InputError, match=re.escape(said)):
        make(**settings)


def test_lists_are_taken_and_the_model_stays_hashable():
    assert hash(make(mean=[1, 2, 3])) == hash(make(mean=(1.0, 2.0, 3.0)))


def test_a_canvas_is_a_multiple_of_what_neck_and_masks_ask_for():
    assert make().canvas_multiple == 4  # of the masks
    assert make(FPN()).canvas_multiple == 32
    deep = make(Deep())
    assert deep.canvas_multiple == 128
    assert detector.variable_shapes(deep).keys() == {"params"}, "it begins on a canvas of its own"
    with pytest.raises(InputError, match="canvas 64x128 is not a multiple of 128"):
        jax.eval_shape(deep.init, jax.random.key(0), jnp.zeros((1, 64, 128, 3)))


def test_what_a_backbone_keeps_is_asked_where_it_has_an_answer():
    def with_backbone(**settings) -> Detector:
        return Detector(ResNet(18, **settings), FPN(), Slots())

    asks = detector.wants_pretrained
    assert asks(with_backbone()) and asks(with_backbone(norm="frozen", frozen_stages=0))
    assert asks(with_backbone(norm="group", frozen_stages=2))
    assert not asks(with_backbone(norm="group", frozen_stages=0)) and not asks(make())
    frozen = with_backbone()
    assert detector.is_frozen(frozen, "backbone/conv1/kernel")
    assert not detector.is_frozen(frozen, "backbone/layer2_0/conv1/kernel")
    assert not detector.is_frozen(frozen, "neck/conv1/kernel")
    assert not detector.is_frozen(make(), "backbone/conv1/kernel")
