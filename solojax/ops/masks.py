"""Masks as arrays: how sure, how large, and back in the frame of the original image."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.ops import resize
from solojax.types import MASK_STRIDE

AT_ONCE = 2**28  # bytes of masks at original size, as floats, that exist at a time


def maskness(
    probabilities: jax.Array,
    foreground: jax.Array,
    areas: jax.Array,
    pixels: tuple[int, int] = (1, 2),
) -> jax.Array:
    """Mean probability over the foreground of each mask; 0 for an empty one.

    Args:
      probabilities: ``B H W K`` in 0..1, the masks last, or first, ``B K H W``.
      foreground: bool, of the same shape.
      areas: pixels of each foreground, ``B K``.
      pixels: the axes of height and width.

    Returns:
      ``B K``.

    >>> soft = jnp.array([0.9, 0.8, 0.6, 0.4, 0.2]).reshape(1, 1, 5, 1)
    >>> round(float(maskness(soft, soft > 0.5, jnp.array([[3]]))[0, 0]), 4)
    0.7667
    """
    return jnp.sum(jnp.where(foreground, probabilities, 0), pixels) / jnp.maximum(areas, 1)


def unpack(masks: dict[int, jax.Array], width: int) -> dict[int, jax.Array]:
    """Targets as a batch carries them, ``... W/stride/8`` by stride -> ``... W/stride`` uint8.

    Args:
      masks: uint8, bits along the width, most significant first.
      width: of the canvas, network pixels.
    """
    return {
        stride: jnp.unpackbits(bits, axis=-1, count=width // stride)
        for stride, bits in masks.items()
    }


def soften(masks: jax.Array, stride: int) -> jax.Array:
    """Masks of a whole canvas, shrunk without a threshold.

    That is bilinear shrinking by an even number: the mean of the central 2 x 2 pixels of each
    stride x stride block.

    Args:
      masks: ``... H W``, 0 or 1, any dtype; sides are multiples of stride.
      stride: an even number.

    Returns:
      ``... H/stride W/stride`` float32, one of 0, 1/4, 1/2, 3/4 and 1.

    >>> soften(jnp.eye(4), 4)
    Array([[0.5]], dtype=float32)
    """
    *others, height, width = masks.shape
    blocks = masks.reshape(*others, height // stride, stride, width // stride, stride)
    centre = slice(stride // 2 - 1, stride // 2 + 1)
    return jnp.mean(blocks[..., centre, :, centre], (-3, -1), dtype=jnp.float32)


def shared(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pixels that are in both masks and in either of them.

    Args:
      first: ``... H W`` bool.
      second: of the same shape.

    Returns:
      ``...`` float32 each; an IoU is the first over the second.
    """
    both = jnp.sum(first & second, (-2, -1), dtype=jnp.float32)
    return both, jnp.sum(first | second, (-2, -1), dtype=jnp.float32)


class Frame(NamedTuple):
    """Which original pixels are made of what spans a canvas; sizes are (height, width)."""

    size: jax.Array  # of the resized image on its canvas, network pixels; may be traced
    original_size: jax.Array  # of the file; may be traced
    output_size: tuple[int, int]  # static, of the part of the original that is made
    canvas: tuple[int, int]  # static, network pixels
    corner: jax.Array | tuple[int, int] = (0, 0)  # (top, left) of the part; may be traced


def restore(
    masks: jax.Array,
    size: jax.Array,
    original_size: jax.Array,
    *,
    output_size: tuple[int, int],
    canvas: tuple[int, int] | None = None,
    corner: jax.Array | tuple[int, int] = (0, 0),
    threshold: float = 0.5,
) -> jax.Array:
    """Brings masks of one image back to its original pixels and packs their bits.

    The published steps are: enlarge to the canvas, crop the padding off, resize to the
    original size, threshold. The resizes are linear and separable: they are one matrix for the
    columns and a mean of four rows for the rows, and the masks at network size never exist. Of
    those at original size ``AT_ONCE`` bytes exist at a time, as floats.

    Args:
      masks: ``K H/4 W/4`` float32 or finer, which span the canvas.
      size: (height, width) of the resized image on its canvas, network pixels; may be traced.
      original_size: (height, width) of the file; may be traced.
      output_size: static (height, width) of the part of the original that is made, or of what
        holds all of it; the width a multiple of 8.
      canvas: static (height, width), network pixels; None: four times as many as the masks have.
      corner: (top, left) of that part, original pixels; may be traced.
      threshold: foreground is above it.

    Returns:
      ``K *output_size`` with the width packed by 8, uint8; zero outside of the original size.
    """
    if output_size[1] % 8:
        raise ValueError(f"output width {output_size[1]} is not a multiple of 8")
    full = canvas or (MASK_STRIDE * masks.shape[1], MASK_STRIDE * masks.shape[2])
    frame = Frame(size, original_size, output_size, full, corner)
    resample, inside = resampling(masks.shape[1], masks.shape[2], frame)

    def make(mask: jax.Array) -> jax.Array:
        return jnp.packbits((resample(mask) > threshold) & inside, axis=-1)

    if len(masks) == 1:  # whatever the output size, which an export leaves open
        return make(masks[0])[None]
    together = max(AT_ONCE // (4 * output_size[0] * output_size[1]), 1)
    if together >= len(masks):
        return jax.vmap(make)(masks)
    return jax.lax.map(make, masks, batch_size=together)


def resampling(
    height: int, width: int, frame: Frame
) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """How a plane that spans a canvas is brought back, and what of the output is original.

    Args:
      height: of the plane.
      width: of it.
      frame: where to.

    Returns:
      ``resample(h w float32) -> *output_size``, and ``*output_size`` bool.
    """
    size, original_size, output_size, full, corner = frame
    rows, columns = (jnp.arange(output_size[axis]) + corner[axis] for axis in (0, 1))
    inside = (rows < original_size[0])[:, None] & (columns < original_size[1])[None, :]

    def taps(axis: int, positions: jax.Array) -> tuple[resize.Taps, Callable[..., resize.Taps]]:
        """Of original pixels in network pixels, and those of network pixels in the masks."""
        short = (height, width)[axis]
        enlarge = functools.partial(resize.bilinear_taps, out_used=full[axis], in_used=short)
        fit = resize.bilinear_taps(positions, out_used=original_size[axis], in_used=size[axis])
        return fit, enlarge

    fit_columns, enlarge = taps(1, columns)
    to_columns = jnp.matmul(
        resize.bilinear_matrix(full[1], fit_columns),
        resize.bilinear_matrix(width, enlarge(jnp.arange(full[1]))),
        precision="highest",
    )
    fit_rows, enlarge = taps(0, rows)
    four_rows = []
    for row, share in ((fit_rows.low, 1 - fit_rows.weight), (fit_rows.high, fit_rows.weight)):
        low, high, weight = enlarge(row)
        four_rows += [(low, share * (1 - weight)), (high, share * weight)]

    def resample(plane: jax.Array) -> jax.Array:
        wide = jnp.einsum("hw,xw->hx", plane, to_columns, precision="highest")
        rows = [jnp.take(wide, row, axis=0) * share[:, None] for row, share in four_rows]
        return sum(rows[1:], rows[0])

    return resample, inside
