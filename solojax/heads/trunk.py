"""What the branches of every head are built of: a stack of convolutions and a predictor."""

from typing import Literal

import flax.linen as nn
import jax

from solojax.fields import check_fields, check_range
from solojax.models.layers import HEAD_INIT, ConvNormReLU, Deform
from solojax.ops import coords
from solojax.types import InputError

DeformConvs = Literal["last", "all"]

# A fresh network gives each class a probability of 0.01: focal loss starts calm.
PRIOR_BIAS = -4.59512


class Trunk(nn.Module):
    """``depth`` blocks of 3x3 convolution, group norm and ReLU: ``B H W C -> B H W width``."""

    width: int
    depth: int
    groups: int
    coordinates: str = ""  # channels that the first convolutions are given: "", "x", "y" or "xy"
    coord_convs: int = 1  # how many of them are
    deform: Deform = "none"
    deform_convs: DeformConvs = "last"  # which convolutions are deformable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.depth):
            if i < self.coord_convs:
                x = coords.append_coordinates(x, self.coordinates)
            deforms = self.deform_convs == "all" or i == self.depth - 1
            deform = self.deform if deforms else "none"
            x = ConvNormReLU(self.width, self.groups, deform=deform, name=f"conv_{i}")(x)
        return x


def prior_predictor(width: int, name: str) -> nn.Conv:
    """3x3 convolution ``B H W C -> B H W width`` whose fresh outputs have a probability of 0.01.

    For use in a compact method.
    """
    return nn.Conv(
        width,
        (3, 3),
        padding=1,
        kernel_init=HEAD_INIT,
        bias_init=nn.initializers.constant(PRIOR_BIAS),
        name=name,
    )


def check_head(head: nn.Module, *widths: str) -> None:
    """Refuses what no head can work with; ``widths`` are the fields that divide into groups."""
    check_fields(head, "head")
    counts = ("num_classes", "max_positives", "depth", "groups", *widths)
    check_range(head, "head", *counts, least=1)
    if hasattr(head, "coord_convs"):
        check_range(head, "head", "coord_convs", most=head.depth)
    for name in widths:
        width = getattr(head, name)
        if width % head.groups:
            raise InputError(
                f"head.{name}={width} does not divide into head.groups={head.groups} groups"
            )
