"""Boxes as arrays, ``x0 y0 x1 y1``: what they share, their code, the pixels they hold."""

import jax
import jax.numpy as jnp

VARIANCES = (0.1, 0.2)
"""What offsets of centres and logarithms of sides are divided by (SSD's training code)."""


def intersections(first: jax.Array, second: jax.Array) -> jax.Array:
    """Area that each two boxes share: ``N 4``, ``M 4`` -> ``N M``."""
    start = jnp.maximum(first[:, None, :2], second[None, :, :2])
    end = jnp.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = jnp.maximum(end - start, 0)
    return sides[..., 0] * sides[..., 1]


def areas(boxes: jax.Array) -> jax.Array:
    """``... 4`` -> ``...``."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(first: jax.Array, second: jax.Array) -> jax.Array:
    """Intersection over union of each two boxes: ``N 4``, ``M 4`` -> ``N M``.

    Boxes without an area have IoU 0 with each other.
    """
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def coverage(boxes: jax.Array, regions: jax.Array) -> jax.Array:
    """The share of each box that lies in each region: ``N 4``, ``M 4`` -> ``N M``."""
    own = areas(boxes)[:, None]
    return jnp.where(own > 0, intersections(boxes, regions) / jnp.where(own > 0, own, 1), 0)


def corners(centred: jax.Array) -> jax.Array:
    """``... 4`` as (centre x, centre y, width, height) -> ``... 4`` as x0 y0 x1 y1."""
    start = centred[..., :2] - centred[..., 2:] / 2
    return jnp.concatenate([start, start + centred[..., 2:]], -1)


def encode(boxes: jax.Array, anchors: jax.Array) -> jax.Array:
    """What has to be predicted at an anchor for a box to come out (SSD, equation 2).

    Args:
      boxes: ``... 4`` x0 y0 x1 y1; without an area the code is not finite.
      anchors: ``... 4`` centre x, centre y, width, height, in the same frame.

    Returns:
      ``... 4``: the centre's offset in sides of the anchor and the logarithms of the sides'
      ratios, both over ``VARIANCES``.
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = boxes[..., 2:] - boxes[..., :2]
    offsets = (centres - anchors[..., :2]) / (VARIANCES[0] * anchors[..., 2:])
    ratios = jnp.log(sides / anchors[..., 2:]) / VARIANCES[1]
    return jnp.concatenate([offsets, ratios], -1)


def decode(code: jax.Array, anchors: jax.Array) -> jax.Array:
    """The boxes ``... 4`` x0 y0 x1 y1 of a ``code`` at ``anchors``: the inverse of ``encode``."""
    centres = anchors[..., :2] + code[..., :2] * VARIANCES[0] * anchors[..., 2:]
    sides = anchors[..., 2:] * jnp.exp(code[..., 2:] * VARIANCES[1])
    return corners(jnp.concatenate([centres, sides], -1))


def inside(boxes: jax.Array, size: tuple[int, int], *, margin: float = 1.0) -> jax.Array:
    """Which pixels a box holds and the ``margin`` around it: ``... 4`` -> ``... h w`` bool.

    A pixel counts by its index, not by its centre: column x is held where
    ``x0 - margin <= x < x1 + margin`` (YOLACT's crop of masks).

    Args:
      boxes: ``... 4`` in pixels of the map; corners may come in either order.
      size: (h, w) of the map.
      margin: pixels.
    """
    least = jnp.minimum(boxes[..., :2], boxes[..., 2:]) - margin
    greatest = jnp.maximum(boxes[..., :2], boxes[..., 2:]) + margin

    def held(axis: int, length: int) -> jax.Array:
        places = jnp.arange(length, dtype=boxes.dtype)
        places = places.reshape((1,) * (boxes.ndim - 1) + (length,))
        return (places >= least[..., axis, None]) & (places < greatest[..., axis, None])

    return held(1, size[0])[..., :, None] & held(0, size[1])[..., None, :]
