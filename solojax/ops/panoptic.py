"""Segments of a whole image: instances and stuff, merged so that each pixel is of one at most.

The rule is that of Kirillov et al., *Panoptic Segmentation* and *Panoptic Feature Pyramid
Networks*, CVPR 2019: the surest instance lies on top, one that is mostly hidden is left out, stuff
fills what is left, and small patches of stuff are left out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.types import IGNORED


class Merged(NamedTuple):
    """``H W`` int32 of segments, and which there are."""

    ids: jax.Array  # 0: void; k + 1: detection k; K + 1 + l: stuff of label l
    instances: jax.Array  # K bool
    stuff: jax.Array  # 256 bool, by label


def merge(
    masks: jax.Array,
    scores: jax.Array,
    label_map: jax.Array,
    things: jax.Array | int,
    *,
    least_score: jax.Array | float,
    least_visible: jax.Array | float,
    least_stuff: jax.Array | int,
) -> Merged:
    """Merges what was found in one image; fixed shapes, for use inside ``jit``.

    Args:
      masks: ``K H W/8`` uint8, bits along the width, best first.
      scores: ``K`` float32, 0 on padding.
      label_map: ``H W`` uint8.
      things: labels below are of instances, and label no pixel here.
      least_score: of an instance.
      least_visible: share of an instance's pixels that none above it has.
      least_stuff: pixels of a label.
    """
    width = label_map.shape[1]

    def put(ids: jax.Array, one: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        number, bits, score = one
        mask = jnp.unpackbits(bits, axis=-1, count=width) > 0
        free = mask & (ids == 0)
        area, visible = jnp.sum(mask), jnp.sum(free)
        kept = (score >= least_score) & (visible > 0) & (visible >= least_visible * area)
        return jnp.where(kept & free, number, ids), kept

    numbers = jnp.arange(1, len(masks) + 1, dtype=jnp.int32)
    start = jnp.zeros(label_map.shape, jnp.int32)
    ids, instances = jax.lax.scan(put, start, (numbers, masks, scores))
    free = (ids == 0) & (label_map >= things) & (label_map != IGNORED)
    labels = label_map.astype(jnp.int32)
    areas = jnp.bincount(jnp.where(free, labels, IGNORED).ravel(), length=IGNORED + 1)
    stuff = (areas >= jnp.maximum(least_stuff, 1)) & (jnp.arange(IGNORED + 1) < IGNORED)
    ids = jnp.where(free & stuff[labels], len(masks) + 1 + labels, ids)
    return Merged(ids, instances, stuff)
