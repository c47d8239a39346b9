"""Masks as arrays: how sure, how large, and back in the frame of the original image."""

import jax
import jax.numpy as jnp

from solojax.ops import resize
from solojax.types import MASK_STRIDE


def maskness(probabilities: jax.Array, foreground: jax.Array) -> jax.Array:
    """Mean probability over the foreground of each mask; 0 for an empty one.

    Args:
      probabilities: ``K H W`` in 0..1.
      foreground: ``K H W`` bool.

    >>> soft = jnp.array([[[0.9, 0.8, 0.6, 0.4, 0.2]]])
    >>> round(float(maskness(soft, soft > 0.5)[0]), 4)
    0.7667
    """
    area = jnp.sum(foreground, (1, 2), dtype=jnp.float32)
    return jnp.sum(jnp.where(foreground, probabilities, 0), (1, 2)) / jnp.maximum(area, 1)


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


def restore(
    masks: jax.Array,
    size: jax.Array,
    original_size: jax.Array,
    *,
    output_size: tuple[int, int],
    threshold: float = 0.5,
) -> jax.Array:
    """Brings masks of one image back to its original pixels and packs their bits.

    The published steps are: enlarge by 4 to the canvas, crop the padding off, resize to the
    original size, threshold. The resizes are linear and separable, so they are one matrix on each
    side and the masks at network size never exist.

    Args:
      masks: ``K H/4 W/4`` float32, network frame.
      size: (height, width) of the resized image on its canvas, network pixels; may be traced.
      original_size: (height, width) of the file; may be traced.
      output_size: static (height, width) that holds the original; the width a multiple of 8.
      threshold: foreground is above it.

    Returns:
      ``K *output_size`` with the width packed by 8, uint8; zero outside of the original size.
    """
    if output_size[1] % 8:
        raise ValueError(f"output width {output_size[1]} is not a multiple of 8")

    def matrix(axis: int) -> jax.Array:
        short = masks.shape[1 + axis]
        long = short * MASK_STRIDE
        enlarge = resize.bilinear_matrix(long, short, out_used=long, in_used=short)
        fit = resize.bilinear_matrix(
            output_size[axis], long, out_used=original_size[axis], in_used=size[axis]
        )
        return jnp.matmul(fit, enlarge, precision="highest")

    rows, columns = matrix(0), matrix(1)
    full = jnp.einsum("yh,khw,xw->kyx", rows, masks, columns, precision="highest")
    inside = (jnp.arange(output_size[0]) < original_size[0])[:, None] & (
        jnp.arange(output_size[1]) < original_size[1]
    )[None, :]
    return jnp.packbits((full > threshold) & inside[None], axis=-1)
