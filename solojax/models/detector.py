"""Backbone, neck and head, one after the other."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.types import InputError

REMAT: tuple[tuple[str, str, Any], ...] = (
    ("backbone", "remat_stages", (1, 2, 3, 4)),
    ("head", "remat", True),
)
"""Fields that let a part compute again what it would keep for the backward pass, and all of it.

The numbers are the same; a part that lacks the field keeps everything.
"""


class Detector(nn.Module):
    """A whole network; its parameters are ``{"backbone", "neck", "head"}``."""

    backbone: nn.Module
    neck: nn.Module
    head: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Any:
        """Runs ``B H W 3`` normalised float images (``ops.images.normalize``), H and W % 32 = 0.

        All of it computes in their type, float32 or bfloat16, norms in float32. Returns what the
        head returns; ``head.loss`` and ``head.detect`` take it from there, in float32.

        ``train`` is for the backbone's norms (``layers.make_norm``) and for what a head leaves out
        at random (``drop_block``), which takes a key by the name of "dropout".
        """
        _, height, width, _ = images.shape
        if height % 32 or width % 32:
            raise InputError(f"canvas {height}x{width} is not a multiple of 32 each way")
        return self.head(self.neck(self.backbone(images, train)), train)


def init_variables(model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Fresh variables of a detector; their shapes do not depend on the size of the images."""
    # Inside jit what the network computes on the way is left out.
    return dict(jax.jit(model.init)(key, jnp.zeros((1, 64, 64, 3))))


@functools.cache
def variable_shapes(model: nn.Module) -> dict[str, Any]:
    """The variables of ``init_variables`` as shapes and types alone; do not write into it."""
    # Kept: to trace a network takes a second or more.
    return jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
