"""From scored masks to ``Detections``: the last step of a head without a way of its own."""

import jax
import jax.numpy as jnp

from solojax.ops import pick
from solojax.types import Detections


def best_first(
    scores: jax.Array,
    labels: jax.Array,
    masks: jax.Array,
    *,
    most: int,
    boxes: jax.Array | None = None,
    threshold: float = 0.0,
) -> Detections:
    """The best of what an image was found to have; fixed shapes, for use inside ``jit``.

    ``overflow`` counts what this leaves out; a head with a cap of its own before it adds that, by
    ``_replace(overflow=...)``.

    Args:
      scores: ``B Q`` float32; what is out of the question has 0.
      labels: ``B Q`` int.
      masks: ``B Q H/4 W/4`` float32 in 0..1 or finer, which span the canvas.
      most: how many to keep; all ``Q`` where there are fewer.
      boxes: ``B Q 4`` x0 y0 x1 y1, network pixels, if there are any.
      threshold: what does not score above it is not found.
    """
    best, order = jax.lax.top_k(scores, min(most, scores.shape[1]))
    valid = best > max(threshold, 0.0)
    return Detections(
        scores=jnp.where(valid, best, 0),
        labels=pick.take(labels, order).astype(jnp.int32),
        masks=pick.take(masks, order),
        valid=valid,
        overflow=jnp.maximum(
            jnp.sum(scores > max(threshold, 0.0), 1, dtype=jnp.int32) - best.shape[1], 0
        ),
        boxes=None if boxes is None else pick.take(boxes, order),
    )
