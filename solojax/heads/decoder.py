"""What a ``Labeller`` reads its features from, and what such decoders share.

Their module fields are ``norm``, a word of ``models.layers.Norm``, and ``groups``, of norm "group".
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax

from solojax.fields import MANY, check_count, check_fields, check_range
from solojax.heads.levels import check_levels
from solojax.models.layers import HE_INIT, ConvNormReLU
from solojax.types import InputError

Features = tuple[jax.Array, tuple[jax.Array, ...]]
"""``B h w C``, which span the canvas; and others of any size, whose labels are trained as well."""


class Decoder(Protocol):
    """A linen module of whose features a ``Labeller`` makes labels."""

    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        """Runs on ``{"p2": B H/4 W/4 C, ...}``."""
        ...


def check_decoder(decoder: Any, *widths: str) -> None:
    """Refuses what no decoder can work with; ``widths`` are the fields that are channels."""
    check_fields(decoder, "head.decoder")
    check_count(decoder, "head.decoder", "groups", *widths)
    if hasattr(decoder, "auxiliary_width"):
        check_range(decoder, "head.decoder", "auxiliary_width", most=MANY)
        widths = (*widths, "auxiliary_width")
    for name in widths:
        value = getattr(decoder, name)
        for width in value if isinstance(value, tuple) else (value,):
            if decoder.norm == "group" and width % decoder.groups:
                raise InputError(
                    f"head.decoder.{name}={value} does not divide into head.decoder.groups="
                    f"{decoder.groups} groups"
                )


def block_of(decoder: Any) -> Callable[..., ConvNormReLU]:
    """Makes convolutions with a decoder's norm, of 3x3 taps unless told."""
    return functools.partial(
        ConvNormReLU, groups=decoder.groups, norm=decoder.norm, kernel_init=HE_INIT
    )


def auxiliary_of(decoder: Any, pyramid: dict[str, jax.Array], train: bool) -> tuple[jax.Array, ...]:
    """A convolution of p4 that trains alone, where ``auxiliary_width`` is not 0.

    To be called in a compact method.
    """
    if not decoder.auxiliary_width:
        return ()
    check_levels("decoder", ("p4",), pyramid)
    return (block_of(decoder)(decoder.auxiliary_width, name="auxiliary")(pyramid["p4"], train),)
