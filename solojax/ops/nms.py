"""Non-maximum suppression without boxes and without loops: points NMS and Matrix NMS."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax


def points_nms(scores: jax.Array) -> jax.Array:
    """Keeps a score only where none of its neighbours left, above and above-left exceeds it.

    Equal neighbours all survive. A cheap first thinning before masks are computed.

    Args:
      scores: ``B S S C``.

    Returns:
      ``B S S C``, zero where suppressed.
    """
    window = lax.reduce_window(
        scores,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 1, 1, 1),
        padding=((0, 0), (1, 0), (1, 0), (0, 0)),
    )
    return jnp.where(scores == window, scores, 0)


def pairwise_intersections(masks: jax.Array) -> jax.Array:
    """Counts the pixels each two masks share: ``K H W`` bool -> ``K K`` float32.

    A bfloat16 product summed in float32 is exact for 0 and 1 up to 2^24 pixels, and the fastest
    form on GPUs, TPUs and CPUs alike.
    """
    flat = masks.reshape(len(masks), -1).astype(jnp.bfloat16)
    return jnp.matmul(flat, flat.T, preferred_element_type=jnp.float32)


def matrix_nms(
    masks: jax.Array,
    labels: jax.Array,
    scores: jax.Array,
    *,
    kernel: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 2.0,
) -> jax.Array:
    """Decays each score by its overlap with better masks of its class (SOLOv2, section 3.3).

    All masks at once: a mask's decay is the least, over the masks i above it, of f(iou with i)
    over f(the greatest iou of i itself with a mask above i). Needs no order: a mask is above
    another where its score is greater or, at equal scores, its place earlier. Padding takes part
    harmlessly when its score is below all others, -1 for instance.

    Args:
      masks: ``K H W`` bool, non-empty; an empty mask has IoU 0 with every other.
      labels: ``K`` int, only masks of one label suppress each other.
      scores: ``K`` float32.
      kernel: ``gaussian``: f(x) = exp(-sigma x^2); ``linear``: f(x) = 1 - x.
      sigma: of the gaussian; 2 is the 0.5 of the paper, where it divides.

    Returns:
      ``K`` float32 decayed scores, in the order given.
    """
    areas = jnp.sum(masks, (1, 2), dtype=jnp.float32)
    intersections = pairwise_intersections(masks)
    unions = areas[:, None] + areas[None, :] - intersections
    place = jnp.arange(len(scores))
    above = (scores[:, None] > scores[None, :]) | (
        (scores[:, None] == scores[None, :]) & (place[:, None] < place[None, :])
    )
    related = above & (labels[:, None] == labels[None, :])
    iou = jnp.where(related, intersections / jnp.maximum(unions, 1), 0.0)  # row above column
    greatest = jnp.max(iou, axis=0)[:, None]  # of each row with a mask above it
    if kernel == "gaussian":
        decay = jnp.exp(-sigma * jnp.square(iou)) / jnp.exp(-sigma * jnp.square(greatest))
    elif kernel == "linear":
        # A row that equals a mask above it has been suppressed itself and must not divide by zero.
        decay = jnp.where(greatest < 1, (1 - iou) / jnp.where(greatest < 1, 1 - greatest, 1), 1.0)
    else:
        raise ValueError(f"kernel {kernel!r} is neither 'gaussian' nor 'linear'")
    return scores * jnp.min(decay, axis=0)
