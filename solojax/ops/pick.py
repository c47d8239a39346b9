"""Picking some of what each image has, in fixed shapes."""

import jax
import jax.numpy as jnp


def draw(key: jax.Array, valid: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Which of ``n`` things are valid; ``most`` of them at random where there are more.

    Args:
      key: decides among them.
      valid: ``n`` bool.
      most: ``P``.

    Returns:
      ``P`` int32 numbers of the drawn, in random order, and ``P`` bool, false behind the last one;
      shorter where ``n`` is.
    """
    # Random ranks, since top_k breaks ties by index and would starve what comes last, whenever
    # there are too many.
    rank = jnp.where(valid, jax.random.uniform(key, valid.shape, minval=1, maxval=2), 0)
    _, order = jax.lax.top_k(rank, min(most, len(rank)))
    return order, jnp.asarray(valid)[order]


def take(values: jax.Array, indices: jax.Array) -> jax.Array:
    """Of each image some of its things: ``B N ...`` and ``B P`` int -> ``B P ...``."""
    return jax.vmap(lambda one, some: jnp.take(one, some, axis=0))(values, indices)
