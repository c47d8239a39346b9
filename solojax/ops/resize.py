"""Resizing: bilinear (half-pixel centres, never antialiased), its matrix form, and to a grid."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solojax.ops.forward import forward_only
from solojax.ops.precision import sum_type
from solojax.parallel import is_trained_on_cpus

Alignment = Literal["bilinear", "adaptive_pool", "region_grid"]

REGION_POINTS = 4
"""Samples per cell, each way, of the region grid; the SOLO paper says "dense", no number."""


def bilinear(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes ``B H W C`` to ``B *size C``.

    JAX antialiases by default when it shrinks, which the published models do not: the difference
    is of the order of the features themselves.

    Maps of half and of twice the size are sums of shifted maps where nothing is differentiated. On
    a CPU that takes from a quarter to a twentieth of the time of ``jax.image.resize``, which
    multiplies by matrices; but a training would need up to a seventh more memory.
    """
    batch, height, width, channels = features.shape
    by_matrices = functools.partial(
        jax.image.resize, shape=(batch, *size, channels), method="bilinear", antialias=False
    )
    if (height, width) == size:
        return features
    if (height, width) == (2 * size[0], 2 * size[1]):
        return forward_only(_halve, by_matrices)(features)
    if (2 * height, 2 * width) == size:
        return forward_only(_double, by_matrices)(features)
    return by_matrices(features)


def _halve(features: jax.Array) -> jax.Array:
    """Means of 2 x 2: each sample lies in the middle of four."""
    rows = 0.5 * (features[:, ::2] + features[:, 1::2])
    return 0.5 * (rows[:, :, ::2] + rows[:, :, 1::2])


def _double(features: jax.Array) -> jax.Array:
    """Each sample is three quarters of the nearest one and a quarter of the next."""
    for axis in (1, 2):
        length = features.shape[axis]
        ends = [(1, 1) if i == axis else (0, 0) for i in range(features.ndim)]
        padded = jnp.pad(features, ends, mode="edge")
        before, after = (lax.slice_in_dim(padded, i, i + length, axis=axis) for i in (0, 2))
        near = 0.75 * features
        pairs = jnp.stack([near + 0.25 * before, near + 0.25 * after], axis + 1)
        features = pairs.reshape(*features.shape[:axis], 2 * length, *features.shape[axis + 1 :])
    return features


def repeat(features: jax.Array) -> jax.Array:
    """Enlarges ``B H W C`` by 2 each way; every sample is there four times."""
    if not is_trained_on_cpus():
        return jnp.repeat(jnp.repeat(features, 2, axis=1), 2, axis=2)
    # The gradient of a stack is a sum of two slices. That of a repetition is a reduction over axes
    # of two, at which XLA for CPUs is ten times slower.
    for axis in (2, 1):
        shape = list(features.shape)
        shape[axis] *= 2
        features = jnp.stack([features, features], axis + 1).reshape(shape)
    return features


def double(features: jax.Array) -> jax.Array:
    """Enlarges ``B H W C`` by 2 each way."""
    return bilinear(features, (2 * features.shape[1], 2 * features.shape[2]))


class Taps(NamedTuple):
    """Which two samples of a row each new sample lies between, and how near it is to the second."""

    low: jax.Array  # n int32
    high: jax.Array  # n int32
    weight: jax.Array  # n float32, of high; low has the rest


def bilinear_taps(
    positions: jax.Array, *, out_used: jax.Array | int, in_used: jax.Array | int
) -> Taps:
    """Where the samples of a row come from that is resized from ``in_used`` to ``out_used``.

    Both may be traced: this is how images of all sizes go through one compiled program.

    Args:
      positions: ``n`` int, the samples in question; from ``out_used`` on without meaning.
      out_used: samples that the row is resized to.
      in_used: samples that it is resized from.
    """
    scale = jnp.asarray(in_used, jnp.float32) / jnp.asarray(out_used, jnp.float32)
    source = jnp.maximum((positions.astype(jnp.float32) + 0.5) * scale - 0.5, 0)
    last = jnp.asarray(in_used, jnp.int32) - 1
    low = jnp.minimum(jnp.floor(source).astype(jnp.int32), last)
    return Taps(low, jnp.minimum(low + 1, last), source - low.astype(jnp.float32))


def bilinear_matrix(in_length: int, taps: Taps) -> jax.Array:
    """The matrix that resizes a row of ``in_length`` samples: ``n in_length`` float32."""
    samples = jnp.arange(in_length)[None, :]
    low, high, weight = (one[:, None] for one in taps)
    return jnp.where(samples == low, 1 - weight, 0) + jnp.where(samples == high, weight, 0)


def adaptive_max(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Pools ``B H W C`` to ``B *size C``, each output the maximum of the inputs it touches."""
    for axis, cells in zip((1, 2), size, strict=True):
        first, end = _windows(features.shape[axis], cells)
        # Shorter windows than the longest look at their last input again.
        window = np.minimum(first[:, None] + np.arange((end - first).max()), end[:, None] - 1)
        features = jnp.max(jnp.take(features, jnp.asarray(window), axis=axis), axis=axis + 1)
    return features


def adaptive_mean(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Pools ``B H W C`` to ``B *size C``, each output the mean of the inputs it touches."""

    def matrix(length: int, cells: int) -> jax.Array:
        first, end = _windows(length, cells)
        inputs = np.arange(length)[None, :]
        inside = (inputs >= first[:, None]) & (inputs < end[:, None])
        return jnp.asarray(inside / (end - first)[:, None], sum_type(features.dtype))

    rows, columns = map(matrix, features.shape[1:3], size)
    pooled = jnp.einsum("yh,bhwc,xw->byxc", rows, features, columns, precision="highest")
    return pooled.astype(features.dtype)


def _windows(length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """First input of each output, and the first behind its last.

    Output i of S sees the inputs from floor(i H / S) to before ceil((i + 1) H / S): windows overlap
    where S does not divide H, and repeat inputs where S exceeds it.
    """
    return np.arange(cells) * length // cells, -(-(np.arange(cells) + 1) * length // cells)


def region_grid(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes ``B H W C`` to ``B *size C``, each cell the mean of 4 x 4 bilinear samples.

    The samples lie evenly, half a step inside of the cell's border: this is ``bilinear`` to 4
    times the size and the mean of each block, but both are linear, so they are one matrix on each
    side and the large map never exists.
    """

    def matrix(axis: int) -> jax.Array:
        length, points = features.shape[1 + axis], size[axis] * REGION_POINTS
        taps = bilinear_taps(jnp.arange(points), out_used=points, in_used=length)
        samples = bilinear_matrix(length, taps)
        return jnp.mean(samples.reshape(size[axis], REGION_POINTS, length), 1)

    rows, columns = matrix(0), matrix(1)
    resized = jnp.einsum("yh,bhwc,xw->byxc", rows, features, columns, precision="highest")
    return resized.astype(features.dtype)


def to_grid(features: jax.Array, side: int, alignment: Alignment) -> jax.Array:
    """Brings ``B H W C`` to the cells of a grid, ``B side side C``.

    The three ways of the SOLO paper (section 3.3, alignment in the category branch), which finds
    them within 0.1 AP of each other.

    Args:
      features: ``B H W C``; a rectangle is squashed to the square.
      side: cells per side.
      alignment: ``bilinear``, one sample per cell; ``adaptive_pool``, the maximum of a cell's
        inputs (``adaptive_max``); ``region_grid``, the mean of 4 x 4 samples per cell.
    """
    if alignment == "bilinear":
        return bilinear(features, (side, side))
    if alignment == "adaptive_pool":
        return adaptive_max(features, (side, side))
    if alignment == "region_grid":
        return region_grid(features, (side, side))
    raise ValueError(
        f"alignment {alignment!r} is none of 'bilinear', 'adaptive_pool' and 'region_grid'"
    )
