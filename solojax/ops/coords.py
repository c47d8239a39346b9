"""Coordinate channels, the term that makes a convolution know where it is (CoordConv)."""

import jax
import jax.numpy as jnp

from solojax.ops.precision import sum_type


def append_coordinates(features: jax.Array, axes: str = "xy") -> jax.Array:
    """Appends a channel for each of ``axes``, from -1 to 1 inclusive over the padded map.

    ``B H W C -> B H W C+len(axes)`` (SOLO paper, section 3.2). ``x`` runs along the width.
    """
    batch, height, width, _ = features.shape
    # Rounded last: bfloat16 does not even count beyond 256.
    exact = sum_type(features.dtype)
    x = jnp.linspace(-1, 1, width, dtype=exact).astype(features.dtype)[None, None, :, None]
    y = jnp.linspace(-1, 1, height, dtype=exact).astype(features.dtype)[None, :, None, None]
    appended = [
        jnp.broadcast_to({"x": x, "y": y}[axis], (batch, height, width, 1)) for axis in axes
    ]
    return jnp.concatenate([features, *appended], -1)
