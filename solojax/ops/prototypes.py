"""Masks as weighted sums of prototypes (YOLACT, section 3.3), cut off at their boxes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.ops import boxes as box_ops
from solojax.ops.bounded_entropy import bounded_entropy, cut_sigmoid
from solojax.ops.dynamic_conv import dynamic_conv
from solojax.ops.masks import shared


class CutMasks(NamedTuple):
    """``K`` masks of an image, and which of their pixels their boxes hold."""

    logits: jax.Array  # K h w float32, of bfloat16 factors as well
    inside: jax.Array  # K h w bool

    @property
    def probabilities(self) -> jax.Array:
        """``K h w`` float32, 0 outside."""
        return cut_sigmoid(self.logits, self.inside)


def assemble(prototypes: jax.Array, coefficients: jax.Array, boxes: jax.Array) -> CutMasks:
    """One image's masks: sums of prototypes, cut off a pixel around their boxes.

    Args:
      prototypes: ``h w E``.
      coefficients: ``K E``, of the same type.
      boxes: ``K 4`` x0 y0 x1 y1 in pixels of the prototypes.
    """
    height, width, _ = prototypes.shape
    return CutMasks(dynamic_conv(prototypes, coefficients), box_ops.inside(boxes, (height, width)))


def mask_losses(masks: CutMasks, targets: jax.Array, boxes: jax.Array) -> jax.Array:
    """Cross entropy of each mask, summed over its pixels and divided by the area of its box.

    What of a target lies beyond the box costs 100 a pixel and teaches nothing.

    Args:
      masks: ``K h w``.
      targets: ``K h w``, 0 or 1, any dtype.
      boxes: ``K 4`` x0 y0 x1 y1 in pixels of the masks; none without an area.

    Returns:
      ``K`` float32.
    """
    pixels = bounded_entropy(*masks, targets.astype(masks.logits.dtype))
    return jnp.sum(pixels, (1, 2)) / box_ops.areas(boxes)


def binary_iou(probabilities: jax.Array, targets: jax.Array) -> jax.Array:
    """IoU of each mask above a half with its target: ``K`` float32, 0 where both are empty.

    Args:
      probabilities: ``K h w``.
      targets: ``K h w``, 0 or 1, any dtype.
    """
    both, either = shared(probabilities > 0.5, targets > 0)
    return both / jnp.maximum(either, 1)
