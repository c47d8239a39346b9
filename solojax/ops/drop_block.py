"""DropBlock (Ghiasi et al., 2018): dropout of neighbouring cells together."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from solojax.ops.precision import widen


def drop_block(x: jax.Array, key: jax.Array, *, rate: float, size: int) -> jax.Array:
    """Sets blocks of ``size x size`` cells to zero, in each image and channel others.

    Each cell is the middle of a dropped block with a probability, the paper's gamma, that drops
    about ``rate`` of all cells: a little more, since blocks may reach over the border as in
    PaddleDetection's SOLOv2, a little less, since they overlap. All that is left is multiplied by
    the number of cells over the number of those left, of the whole array.

    Args:
      x: ``B H W C``; a block is no longer than the map, each way.
      key: of the draw.
      rate: share of the cells to drop, in 0..1; 1 itself is no rate.
      size: cells of a block each way.

    Returns:
      ``B H W C`` of the type of ``x``; where all of it is dropped, zeros.
    """
    block = [min(size, side) for side in x.shape[1:3]]
    starts = rate * math.prod(
        side / (length * (side - length + 1))
        for side, length in zip(x.shape[1:3], block, strict=True)
    )
    dropped = lax.reduce_window(
        jax.random.bernoulli(key, starts, x.shape),
        False,
        lax.bitwise_or,
        window_dimensions=(1, *block, 1),
        window_strides=(1, 1, 1, 1),
        padding="SAME",
    )
    kept = jnp.sum(~dropped, dtype=jnp.float32)
    factor = jnp.where(dropped, 0, x.size / jnp.maximum(kept, 1))
    return (widen(x) * factor).astype(x.dtype)
