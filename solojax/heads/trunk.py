"""What the branches of every head are built of: a stack of convolutions and a predictor."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax

from solojax.fields import DEEPEST, check_count, check_fields, check_range
from solojax.models.layers import (
    HE_INIT,
    HEAD_INIT,
    PRIOR_BIAS,
    Conv,
    ConvNormReLU,
    ConvReLU,
    Deform,
    rematerialised,
)
from solojax.ops import coords, drop_block
from solojax.types import InputError

DeformConvs = Literal["last", "all"]


class Trunk(nn.Module):
    """``depth`` blocks of 3x3 convolution, group norm and ReLU: ``B H W C -> B H W width``."""

    width: int
    depth: int
    groups: int
    coordinates: str = ""  # channels that the first convolutions are given: "", "x", "y" or "xy"
    coord_convs: int = 1  # how many of them are
    deform: Deform = "none"
    deform_convs: DeformConvs = "last"  # which convolutions are deformable
    deform_bias: bool = False  # whether these have a bias
    remat: bool = False  # hold each block's input alone for the backward pass
    drop_block: float = 0.0  # share of the result's cells that training drops, in blocks
    drop_block_size: int = 3  # cells each way

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``train`` lets it drop blocks; where it does, it draws from the stream "dropout"."""
        block = functools.partial(
            rematerialised(ConvNormReLU, self.remat),
            self.width,
            groups=self.groups,
            deform_bias=self.deform_bias,
        )
        for i in range(self.depth):
            if i < self.coord_convs:
                x = coords.append_coordinates(x, self.coordinates)
            deforms = self.deform_convs == "all" or i == self.depth - 1
            deform = self.deform if deforms else "none"
            x = block(deform=deform, name=f"conv_{i}")(x)
        if train and self.drop_block:
            key = self.make_rng("dropout")
            x = drop_block.drop_block(x, key, rate=self.drop_block, size=self.drop_block_size)
        return x


class ConvTrunk(nn.Module):
    """3x3 convolutions and ReLUs, with group norms where asked: ``B H W C -> B H W width``."""

    width: int
    depth: int
    norm_groups: int  # 0: none
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        block: Callable[..., nn.Module] = rematerialised(ConvReLU, self.remat)
        if self.norm_groups:
            normalised = rematerialised(ConvNormReLU, self.remat)
            block = functools.partial(normalised, groups=self.norm_groups)
        for i in range(self.depth):
            x = block(self.width, kernel_init=HE_INIT, name=f"conv_{i}")(x)
        return x


def make_trunk(head: Any, name: str, coordinates: str = "", coord_convs: int = 0) -> Trunk:
    """A trunk of ``head``, by whose fields it is shaped; to be called in its compact method.

    Args:
      head: has all fields of ``Trunk`` but for the coordinates.
      name: of the trunk's parameters.
      coordinates: channels that the first convolutions are given.
      coord_convs: how many of them are.
    """
    return Trunk(
        width=head.width,
        depth=head.depth,
        groups=head.groups,
        coordinates=coordinates,
        coord_convs=coord_convs,
        deform=head.deform,
        deform_convs=head.deform_convs,
        deform_bias=head.deform_bias,
        remat=head.remat,
        drop_block=head.drop_block,
        drop_block_size=head.drop_block_size,
        name=name,
    )


def prior_predictor(width: int, name: str, size: int = 3) -> nn.Conv:
    """Square convolution ``B H W C -> B H W width`` whose fresh outputs have a probability of 0.01.

    For use in a compact method.
    """
    return Conv(
        width,
        (size, size),
        padding=size // 2,
        kernel_init=HEAD_INIT,
        bias_init=nn.initializers.constant(PRIOR_BIAS),
        name=name,
    )


def quality_predictor() -> nn.Conv:
    """3x3 convolution ``B S S C -> B S S 1``: how well the mask of each cell fits, as a logit.

    For use in a compact method.
    """
    return Conv(1, (3, 3), padding=1, kernel_init=HEAD_INIT, name="quality_predictor")


def check_head(head: nn.Module, *widths: str) -> None:
    """Refuses what no head can work with; ``widths`` are the fields that divide into groups."""
    check_fields(head, "head")
    counts = ("num_classes", "max_positives", "groups", *widths)
    check_count(head, "head", *counts)
    check_count(head, "head", "depth", most=DEEPEST)
    if hasattr(head, "coord_convs"):
        check_range(head, "head", "coord_convs", most=head.depth)
    if not 0 <= head.drop_block < 1:
        raise InputError(f"head.drop_block={head.drop_block} must be at least 0 and below 1")
    if head.drop_block_size < 1 or head.drop_block_size % 2 == 0:
        raise InputError(f"head.drop_block_size={head.drop_block_size} must be odd, and at least 1")
    check_count(head, "head", "drop_block_size")
    for name in widths:
        width = getattr(head, name)
        if width % head.groups:
            raise InputError(
                f"head.{name}={width} does not divide into head.groups={head.groups} groups"
            )
