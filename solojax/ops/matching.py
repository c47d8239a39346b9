"""Which anchor is trained towards which instance (SSD, section 2.2, as YOLACT has it)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.ops import boxes as box_ops

NEUTRAL, NEGATIVE, POSITIVE = -1, 0, 1


class Matches(NamedTuple):
    """Of ``A`` anchors of an image."""

    kinds: jax.Array  # A int32: POSITIVE, NEGATIVE or NEUTRAL, which trains nothing
    instances: jax.Array  # A int32, index into N; of meaning where positive


def match(
    boxes: jax.Array,
    valid: jax.Array,
    crowd: jax.Array,
    anchors: jax.Array,
    *,
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
    crowd_coverage: float = 0.7,
) -> Matches:
    """Matches the anchors of one image; fixed shapes, for use inside ``jit`` and ``vmap``.

    Each anchor belongs to the instance it overlaps most: positive from ``positive_iou`` on,
    negative below ``negative_iou``, neutral between. Each instance also has one anchor of its own,
    whatever their overlap: of all pairs whose instance and anchor are both free the one of greatest
    IoU is taken, and so on until every instance has one. At equal IoU the first instance, then the
    first anchor comes first. An anchor that a crowd covers is neutral unless it is positive.

    Args:
      boxes: ``N 4`` x0 y0 x1 y1, in the frame of the anchors.
      valid: ``N`` bool, the instances.
      crowd: ``N`` bool, the crowd regions; none of them valid.
      anchors: ``A 4`` x0 y0 x1 y1; instances beyond their number have none of their own.
      positive_iou: see above.
      negative_iou: see above.
      crowd_coverage: an anchor is covered where more than this share of it lies in one region.
    """
    overlaps = jnp.where(valid[:, None], box_ops.iou(boxes, anchors), -1)
    best = jnp.max(overlaps, axis=0)
    kinds = jnp.where(best < positive_iou, NEUTRAL, POSITIVE)
    kinds = jnp.where(best < negative_iou, NEGATIVE, kinds)
    kinds, instances, _ = jax.lax.fori_loop(
        0,
        jnp.minimum(jnp.sum(valid), len(anchors)),
        _force_best,
        (kinds, jnp.argmax(overlaps, axis=0), overlaps),
    )
    shares = jnp.where(crowd[None, :], box_ops.coverage(anchors, boxes), 0)
    covered = (kinds != POSITIVE) & jnp.any(shares > crowd_coverage, axis=1)
    kinds = jnp.where(covered, NEUTRAL, kinds)
    return Matches(kinds.astype(jnp.int32), instances.astype(jnp.int32))


def _force_best(
    _: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes the best pair that is left out of ``free``, whose taken rows and columns are below 0.

    Rows of instances that have their anchor, and of padding, must lose to free ones that touch no
    anchor at all: IoU 0.
    """
    kinds, instances, free = state
    instance = jnp.argmax(jnp.max(free, axis=1))
    anchor = jnp.argmax(free[instance])
    return (
        kinds.at[anchor].set(POSITIVE),
        instances.at[anchor].set(instance),
        free.at[instance, :].set(-1).at[:, anchor].set(-1),
    )
