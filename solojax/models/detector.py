"""Backbone, neck and head, one after the other."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.types import InputError


class Detector(nn.Module):
    """A whole network; its parameters are ``{"backbone", "neck", "head"}``."""

    backbone: nn.Module
    neck: nn.Module
    head: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Any:
        """Runs ``B H W 3`` normalised float images (``ops.images.normalize``), H and W % 32 = 0.

        Returns what the head returns; ``head.loss`` and ``head.detect`` take it from there.
        ``train`` is for the backbone's norms (``layers.make_norm``); nothing else knows of it.
        """
        _, height, width, _ = images.shape
        if height % 32 or width % 32:
            raise InputError(f"canvas {height}x{width} is not a multiple of 32 each way")
        return self.head(self.neck(self.backbone(images, train)))


def init_variables(model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Fresh variables of a detector; their shapes do not depend on the size of the images.

    Under ``jax.eval_shape`` this gives the shapes alone.
    """
    return dict(model.init(key, jnp.zeros((1, 64, 64, 3))))
