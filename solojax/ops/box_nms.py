"""Fast NMS on boxes (YOLACT, section 5): what a better box covers goes, all boxes at once.

A box that is removed removes as well, which hard NMS would not let it: a little more is
suppressed, and there is no loop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.ops import boxes as box_ops


class Kept(NamedTuple):
    """The ``K`` best (box, class) pairs of an image, best first."""

    scores: jax.Array  # K float32, 0 on padding
    boxes: jax.Array  # K int32, index into N
    labels: jax.Array  # K int32


def fast_nms(
    boxes: jax.Array,
    scores: jax.Array,
    *,
    iou_threshold: float = 0.5,
    candidates: int = 200,
    most: int = 100,
) -> Kept:
    """Of each class by itself: a box may be kept as several classes.

    Args:
      boxes: ``N 4`` x0 y0 x1 y1.
      scores: ``N C``, 0 where a box is out of the question.
      iou_threshold: a box goes whose IoU with a better one of its class is above this.
      candidates: boxes of each class that take part, best first.
      most: pairs that are kept.
    """
    of_class = jax.vmap(_suppress, (0, None, None, None))
    kept, index = of_class(scores.T, boxes, iou_threshold, min(candidates, len(boxes)))
    best, place = jax.lax.top_k(kept.reshape(-1), min(most, kept.size))
    labels = place // kept.shape[1]
    return Kept(best, index.reshape(-1)[place].astype(jnp.int32), labels.astype(jnp.int32))


def cross_class_fast_nms(
    boxes: jax.Array,
    scores: jax.Array,
    *,
    iou_threshold: float = 0.5,
    candidates: int = 200,
    most: int = 100,
) -> Kept:
    """Of all classes together: each box has its best class alone; arguments as of ``fast_nms``."""
    labels = jnp.argmax(scores, axis=1)
    kept, index = _suppress(
        jnp.max(scores, axis=1), boxes, iou_threshold, min(candidates, len(boxes))
    )
    best, place = jax.lax.top_k(kept, min(most, len(kept)))
    index = index[place].astype(jnp.int32)
    return Kept(best, index, labels[index].astype(jnp.int32))


def _suppress(
    scores: jax.Array, boxes: jax.Array, iou_threshold: float, candidates: int
) -> tuple[jax.Array, jax.Array]:
    """The best ``candidates`` by score, their score or 0 where suppressed, and their indices."""
    best, index = jax.lax.top_k(scores, candidates)
    chosen = boxes[index]
    above = jnp.triu(box_ops.iou(chosen, chosen) > iou_threshold, 1)
    return jnp.where(jnp.any(above, axis=0), 0, best), index
