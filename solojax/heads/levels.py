"""The levels of a pyramid that a head wants, and those that there are."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.ops import resize
from solojax.types import InputError


def check_levels(field: str, levels: tuple[str, ...], pyramid: dict[str, jax.Array]) -> None:
    """Refuses a head's levels that its neck does not give.

    Args:
      field: of the head, that names them.
      levels: such as p3.
      pyramid: what the neck gives.
    """
    if missing := set(levels) - pyramid.keys():
        raise InputError(
            f"head.{field}={levels}: the neck gives {', '.join(pyramid)}, not "
            f"{', '.join(sorted(missing))}"
        )


def sum_at_stride_4(
    pyramid: dict[str, jax.Array], levels: tuple[str, ...], block: Callable[..., nn.Module]
) -> jax.Array:
    """Each level convolved and enlarged by 2 until it reaches stride 4, and all added up.

    Panoptic Feature Pyramid Networks (Kirillov et al., 2019), figure 3; to be called in a compact
    method.

    Args:
      pyramid: ``{"p2": B H/4 W/4 C, ...}``.
      levels: p2 and coarser ones.
      block: makes a convolution that bears a ``name``.
    """
    at_stride_4 = []
    for level in levels:
        x = pyramid[level]
        doublings = int(level[1:]) - 2
        for i in range(max(doublings, 1)):
            x = block(name=f"{level}_{i}")(x)
            if i < doublings:
                x = resize.double(x)
        at_stride_4.append(x)
    return functools.reduce(jnp.add, at_stride_4)
