"""A neck for heads that read the backbone's levels as they are."""

from typing import ClassVar

import flax.linen as nn
import jax


class Levels(nn.Module):
    """``{"c2": B H/4 W/4 C, ...}`` -> the same as ``{"p2", ...}``: all that the backbone gives."""

    canvas_multiple: ClassVar[int] = 32  # so that levels of all strides span the same canvas

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {f"p{name[1:]}": level for name, level in features.items()}
