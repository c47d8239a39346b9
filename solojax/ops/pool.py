"""The maximum of 3x3 windows, of stride 2, that a ResNet begins with."""

import jax
import jax.numpy as jnp
from jax import lax

from solojax.parallel import is_trained_on_cpus


def max_pool(x: jax.Array) -> jax.Array:
    """``B H W C`` -> ``B H/2 W/2 C``, rounded up; a gradient goes to the first that is the maximum.

    What lies outside of the map is no maximum.
    """
    if not is_trained_on_cpus():
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        )
    # XLA for CPUs looks for a window's maximum again, and one by one, to give it its gradient.
    for axis in (2, 1):  # the first column of each row, then the first row
        pads = [(1, x.shape[axis] % 2) if i == axis else (0, 0) for i in range(4)]
        length = -(-x.shape[axis] // 2)
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        first, *others = (
            lax.slice_in_dim(padded, i, i + 2 * length - 1, stride=2, axis=axis) for i in range(3)
        )
        for other in others:
            first = jnp.where((other > first) | jnp.isnan(other), other, first)
        x = first
    return x
