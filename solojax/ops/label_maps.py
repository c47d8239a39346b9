"""Label maps as arrays: from the logits of a canvas to the labels of original pixels."""

import jax
import jax.numpy as jnp

from solojax.ops.masks import Frame, resampling
from solojax.types import IGNORED


def restore(logits: jax.Array, frame: Frame) -> jax.Array:
    """The label of each original pixel: the greatest of the logits, resized as masks are.

    One label's are resized at a time: at original size all of them would fill a device.

    Args:
      logits: ``h w L`` float32, which span the canvas.
      frame: which pixels.

    Returns:
      ``*output_size`` uint8, IGNORED outside of the original. Of equal ones the first label has it.
    """
    resample, inside = resampling(logits.shape[0], logits.shape[1], frame)

    def compare(best: tuple[jax.Array, jax.Array], one: tuple[jax.Array, jax.Array]) -> tuple:
        (greatest, labels), (label, plane) = best, one
        seen = resample(plane)
        above = seen > greatest
        return (jnp.where(above, seen, greatest), jnp.where(above, label, labels)), None

    planes = jnp.moveaxis(logits, -1, 0)
    start = resample(planes[0]), jnp.zeros(frame.output_size, jnp.uint8)
    others = jnp.arange(1, len(planes), dtype=jnp.uint8), planes[1:]
    (_, labels), _ = jax.lax.scan(compare, start, others)
    return jnp.where(inside, labels, jnp.uint8(IGNORED))


def probabilities(logits: jax.Array, frame: Frame) -> jax.Array:
    """The probability of each label at each original pixel, ``*output_size L`` float32.

    Args:
      logits: ``h w L`` float32, which span the canvas.
      frame: which pixels.
    """
    resample, _ = resampling(logits.shape[0], logits.shape[1], frame)
    planes = jax.lax.map(resample, jnp.moveaxis(logits, -1, 0))
    return jax.nn.softmax(jnp.moveaxis(planes, 0, -1))
