"""Resizing: bilinear (half-pixel centres, never antialiased), its matrix form, and to a grid."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solojax.ops.conv import on_cpus
from solojax.ops.forward import forward_only
from solojax.ops.precision import sum_type, widen
from solojax.parallel import is_trained_on_cpus

Alignment = Literal["bilinear", "adaptive_pool", "region_grid"]

REGION_POINTS = 4
"""Samples per cell, each way, of the region grid; the SOLO paper says "dense", no number."""


def bilinear(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes ``B H W C`` to ``B *size C``.

    JAX antialiases by default when it shrinks, which the published models do not: the difference
    is of the order of the features themselves.

    Maps of half and of twice the size are sums of neighbours, on CPUs where nothing is
    differentiated: there that takes from a quarter to a twentieth of the time of
    ``jax.image.resize``, which multiplies by matrices, but a training is faster by matrices.
    """
    batch, height, width, channels = features.shape
    by_matrices = functools.partial(
        jax.image.resize, shape=(batch, *size, channels), method="bilinear", antialias=False
    )
    if (height, width) == size:
        return features
    if is_trained_on_cpus():
        return by_matrices(features)
    if (height, width) == (2 * size[0], 2 * size[1]):
        return forward_only(_halve, _mean_of_four)(features)
    if (2 * height, 2 * width) == size:
        return _double(features)
    return on_cpus(by_matrices, functools.partial(_by_products, size=size), features)


def _halve(features: jax.Array) -> jax.Array:
    """Means of 2 x 2: each sample lies in the middle of four."""
    rows = 0.5 * (features[:, ::2] + features[:, 1::2])
    return 0.5 * (rows[:, :, ::2] + rows[:, :, 1::2])


def _mean_of_four(features: jax.Array) -> jax.Array:
    """``_halve`` whose gradient is a repetition."""
    batch, height, width, channels = features.shape
    blocks = features.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.mean(blocks, (2, 4))


@jax.custom_vjp
def _double(features: jax.Array) -> jax.Array:
    """Each sample is three quarters of the nearest one and a quarter of the next."""
    dtype, features = features.dtype, widen(features)
    for axis in (1, 2):
        length = features.shape[axis]
        ends = [(1, 1) if i == axis else (0, 0) for i in range(features.ndim)]
        padded = jnp.pad(features, ends, mode="edge")
        before, after = (lax.slice_in_dim(padded, i, i + length, axis=axis) for i in (0, 2))
        near = 0.75 * features
        pairs = jnp.stack([near + 0.25 * before, near + 0.25 * after], axis + 1)
        features = pairs.reshape(*features.shape[:axis], 2 * length, *features.shape[axis + 1 :])
    return features.astype(dtype)


def _undouble(_: None, gradient: jax.Array) -> tuple[jax.Array]:
    """What a sample gave to two neighbours each way; behind the ends they are itself."""
    dtype, gradient = gradient.dtype, widen(gradient)
    for axis in (2, 1):
        length = gradient.shape[axis] // 2
        pairs = gradient.reshape(*gradient.shape[:axis], length, 2, *gradient.shape[axis + 1 :])
        even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
        part = functools.partial(lax.slice_in_dim, axis=axis)
        before = jnp.concatenate([part(even, 0, 1), part(odd, 0, length - 1)], axis)
        after = jnp.concatenate([part(even, 1, length), part(odd, length - 1, length)], axis)
        gradient = 0.75 * (even + odd) + 0.25 * (before + after)
    return (gradient.astype(dtype),)


_double.defvjp(lambda features: (_double(features), None), _undouble)


def _by_products(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    def matrix(old: int, new: int) -> jax.Array:
        taps = bilinear_taps(jnp.arange(new), out_used=new, in_used=old)
        return bilinear_matrix(old, taps).astype(features.dtype)

    return _multiply(*map(matrix, features.shape[1:3], size), features)


@jax.custom_vjp
def _multiply(rows: jax.Array, columns: jax.Array, features: jax.Array) -> jax.Array:
    """``y h`` and ``x w`` by ``B h w C`` -> ``B y x C``, all of which stay in this order.

    To a product a matrix that is there for each image and row is a stack of them: so neither its
    operands nor its result are transposed, nor those of the gradient.
    """
    batch, new = features.shape[0], len(rows)
    by_image = jnp.broadcast_to(rows, (batch, *rows.shape))
    by_row = jnp.broadcast_to(columns, (batch, new, *columns.shape))
    tall = jnp.einsum("byh,bhwc->bywc", by_image, features, precision="highest")
    return jnp.einsum("byxw,bywc->byxc", by_row, tall, precision="highest")


_multiply.defvjp(
    lambda *given: (_multiply(*given), given[:2]),
    lambda matrices, gradient: (None, None, _multiply(*(one.T for one in matrices), gradient)),
)


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
