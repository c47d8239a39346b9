"""Fast mask re-scoring (YOLACT++, section 4.1): how well a mask fits, from the mask alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from solojax.models.layers import XAVIER_INIT
from solojax.ops.conv import conv_general_dilated
from solojax.ops.precision import widen
from solojax.types import InputError

Layer = tuple[jax.Array, jax.Array]
"""A kernel, ``h w C O``, and a bias, ``O``."""


class Rescoring(nn.Module):
    """The parameters of the network that ``rescore`` runs: the layers, first to last.

    It reads masks that only a loss and a detection make, and these read no parameters.
    """

    num_classes: int
    widths: tuple[int, ...]  # of 3x3 convolutions of stride 2; one of 1x1 to the classes is last

    @nn.compact
    def __call__(self, dtype: DTypeLike) -> tuple[Layer, ...]:
        """All as ``dtype``, which is what the network then computes in."""
        layers, depth = [], 1
        for number, width in enumerate((*self.widths, self.num_classes)):
            size = 3 if number < len(self.widths) else 1
            layers.append(_Layer(size, depth, width, name=f"conv_{number}")())
            depth = width
        return jax.tree.map(lambda leaf: leaf.astype(dtype), tuple(layers))


class _Layer(nn.Module):
    size: int
    depth: int
    width: int

    @nn.compact
    def __call__(self) -> Layer:
        shape = (self.size, self.size, self.depth, self.width)
        kernel = self.param("kernel", XAVIER_INIT, shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,))


def rescore(layers: tuple[Layer, ...], masks: jax.Array) -> jax.Array:
    """The IoU that each mask should have with the truth if it were of each class.

    Convolutions without padding, ReLU behind each, the last one too, and the maximum over all
    places.

    Args:
      layers: as of ``Rescoring``.
      masks: ``K h w`` probabilities, cut off at their boxes.

    Returns:
      ``K num_classes`` float32, not negative.
    """
    x = masks[..., None].astype(layers[0][0].dtype)
    for kernel, bias in layers:
        stride = 1 if kernel.shape[0] == 1 else 2
        if min(x.shape[1:3]) < kernel.shape[0]:
            raise InputError(
                f"head.rescoring_widths: {len(layers) - 1} convolutions of stride 2 leave nothing "
                f"of masks of {masks.shape[1]}x{masks.shape[2]}; take fewer"
            )
        x = conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "VALID",
            lhs_dilation=(1, 1),
            rhs_dilation=(1, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = nn.relu(x + bias[None, None, None])
    return widen(jnp.max(x, (1, 2)))
