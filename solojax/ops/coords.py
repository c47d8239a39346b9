"""Coordinate channels, the term that makes a convolution know where it is (CoordConv)."""

import jax
import jax.numpy as jnp


def append_coordinates(features: jax.Array) -> jax.Array:
    """Appends two channels, x then y, running from -1 to 1 inclusive over the padded map.

    ``B H W C -> B H W C+2`` (SOLO paper, section 3.2).
    """
    batch, height, width, _ = features.shape
    x = jnp.linspace(-1, 1, width, dtype=features.dtype)[None, None, :, None]
    y = jnp.linspace(-1, 1, height, dtype=features.dtype)[None, :, None, None]
    shape = (batch, height, width, 1)
    return jnp.concatenate([features, jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape)], -1)
