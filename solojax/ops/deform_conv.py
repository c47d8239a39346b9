"""Deformable convolution (Dai et al., 2017; modulated: Zhu et al., 2019) of gathers and matmuls."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

from solojax.ops.precision import sum_type


def deform_conv(
    features: jax.Array,
    offsets: jax.Array,
    mask: jax.Array | None,
    kernel: jax.Array,
    *,
    stride: int,
    padding: int,
    groups: int = 1,
) -> jax.Array:
    """Convolves ``features``, each tap of each output pixel displaced by an offset of its own.

    A sample between pixels is bilinear over its four neighbours; what lies outside the map is
    zero. At a whole position the derivative is that towards larger ones, as in the published
    programs: offsets start at zero, so it decides their first step.

    Args:
      features: ``B H W C``.
      offsets: ``B H' W' 2*k*k``, pixels of ``features``: dy and dx of the first tap, then of the
        next, row by row. Offsets of any size are safe: far outside the samples are zero.
      mask: ``B H' W' k*k``, a factor for each tap's sample, or None (the first version).
      kernel: ``k k C/groups O``.
      stride: pixels of ``features`` from one output pixel to the next.
      padding: pixels of zeros on each side.
      groups: of channels, as in an ordinary convolution; the offsets are common to all of them.

    Returns:
      ``B H' W' O``, with the ``H' W'`` of an ordinary convolution, of the type of ``features`` and
      ``kernel``. In bfloat16 each tap is; positions, and the sums over corners and taps, are not.
    """
    batch, height, width, channels = features.shape
    size, _, in_width, out_channels = kernel.shape
    out_height, out_width = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
    for name, array, depth in (("offsets", offsets, 2 * size**2), ("mask", mask, size**2)):
        wanted = (batch, out_height, out_width, depth)
        if array is not None and array.shape != wanted:
            raise ValueError(f"{name} has shape {array.shape} where {wanted} is wanted")
    if in_width * groups != channels or out_channels % groups:
        raise ValueError(f"kernel {kernel.shape} does not fit {channels} channels, {groups} groups")
    # float32: positions reach a thousand pixels and more, offsets are fractions of one.
    displacements = offsets.astype(jnp.float32).reshape(*offsets.shape[:3], size**2, 2)
    rows, columns = (jnp.arange(side) * stride - padding for side in (out_height, out_width))
    kernels = kernel.reshape(size**2, in_width, groups, out_channels // groups)

    # Tap by tap: the samples of all taps are k*k times the features, 600 MB an image for a 3x3
    # convolution of 256 channels at stride 4 of a canvas of 800x1344, and the backward pass would
    # hold several times that. It takes the samples anew instead of keeping them.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add_tap(total: jax.Array, tap: tuple) -> tuple[jax.Array, None]:
        number, displacement, factor, tap_kernel = tap
        y = displacement[..., 0] + (rows + number // size)[None, :, None]
        x = displacement[..., 1] + (columns + number % size)[None, None, :]
        samples = jax.vmap(_sample)(features, y, x)
        if factor is not None:
            samples *= factor[..., None].astype(samples.dtype)
        # Channels of a group are neighbours, in the result as well.
        samples = samples.reshape(*y.shape, groups, in_width)
        return total + jnp.einsum("bhwgi,igo->bhwgo", samples, tap_kernel), None

    taps = (
        jnp.arange(size**2),
        jnp.moveaxis(displacements, 3, 0),
        None if mask is None else jnp.moveaxis(mask, 3, 0),
        kernels,
    )
    dtype = jnp.result_type(features, kernel)
    total = jnp.zeros((batch, out_height, out_width, groups, out_channels // groups))
    total, _ = lax.scan(add_tap, total.astype(sum_type(dtype)), taps)
    return total.reshape(batch, out_height, out_width, out_channels).astype(dtype)


def _sample(features: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Bilinear samples of ``H W C`` at positions ``...``: ``... C``."""
    height, width, channels = features.shape
    pixels = features.reshape(height * width, channels)
    samples = jnp.zeros((*y.shape, channels), sum_type(features.dtype))
    for row, row_weight in _neighbours(y, height):
        for column, column_weight in _neighbours(x, width):
            corner = pixels.at[row * width + column].get(mode="promise_in_bounds")
            samples += (row_weight * column_weight)[..., None] * corner
    return samples.astype(features.dtype)


def _neighbours(position: jax.Array, length: int) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Index in 0..length-1 and weight of the pixel before each position and of the one behind."""
    # From a pixel beyond the border on nothing contributes, and no int32 need hold the position.
    # NaN stays NaN, for the loss to show it.
    position = jnp.where((position <= -1) | (position >= length), -1, position)
    before = jnp.floor(position)
    for pixel, weight in ((before, before + 1 - position), (before + 1, position - before)):
        outside = (pixel < 0) | (pixel >= length)
        index = jnp.clip(pixel.astype(jnp.int32), 0, length - 1)
        yield index, jnp.where(outside, 0, weight)
