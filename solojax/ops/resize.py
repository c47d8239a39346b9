"""Bilinear resizing, half-pixel centres, never antialiased, and its matrix form."""

import jax
import jax.numpy as jnp


def bilinear(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes ``B H W C`` to ``B *size C``.

    JAX antialiases by default when it shrinks, which the published models do not: the difference
    is of the order of the features themselves.
    """
    batch, height, width, channels = features.shape
    if (height, width) == size:
        return features
    return jax.image.resize(features, (batch, *size, channels), "bilinear", antialias=False)


def bilinear_matrix(
    out_length: int, in_length: int, *, out_used: jax.Array | int, in_used: jax.Array | int
) -> jax.Array:
    """The matrix that resizes the first ``in_used`` of a row's samples to ``out_used`` samples.

    Lengths are static, what is used of them may be traced: this is how images of all sizes go
    through one compiled program. Rows from ``out_used`` on are without meaning.

    Returns:
      ``out_length in_length`` float32.
    """
    scale = jnp.asarray(in_used, jnp.float32) / jnp.asarray(out_used, jnp.float32)
    source = jnp.maximum((jnp.arange(out_length, dtype=jnp.float32) + 0.5) * scale - 0.5, 0)
    last = jnp.asarray(in_used, jnp.int32) - 1
    low = jnp.minimum(jnp.floor(source).astype(jnp.int32), last)
    high = jnp.minimum(low + 1, last)
    weight = (source - low.astype(jnp.float32))[:, None]
    samples = jnp.arange(in_length)[None, :]
    return jnp.where(samples == low[:, None], 1 - weight, 0) + jnp.where(
        samples == high[:, None], weight, 0
    )
