"""Binary cross entropy of probabilities, for masks that are cut off before they are compared."""

from typing import Any

import jax
import jax.numpy as jnp

MOST = 100.0
"""The greatest loss of a pixel: that of a probability of exactly 0 or 1 on the wrong side."""

LEAST_VARIANCE = 1e-12
"""Of p (1 - p), which the derivative is divided by."""


@jax.custom_jvp
def bounded_entropy(probabilities: jax.Array, targets: jax.Array) -> jax.Array:
    """``-(t log p + (1 - t) log(1 - p))`` of every pixel, logarithms no lower than -100.

    As PyTorch defines it, derivative included: ``(p - t) / max(p (1 - p), 1e-12)``. Where a sigmoid
    has rounded to exactly 0 or 1 its own derivative is 0, so such a pixel costs 100 where it is
    wrong and is never mended: not the cross entropy of logits, which would pull it back.

    Args:
      probabilities: ``...`` float32 in 0..1.
      targets: ``...`` float32 in 0..1; of no derivative.

    >>> bounded_entropy(jnp.array([0.5, 0.0]), jnp.array([1.0, 1.0])).tolist()
    [0.6931471824645996, 100.0]
    """
    yes = jnp.maximum(jnp.log(probabilities), -MOST)
    no = jnp.maximum(jnp.log1p(-probabilities), -MOST)
    return -(targets * yes + (1 - targets) * no)


@bounded_entropy.defjvp
def _bounded_entropy_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    probabilities, targets = primals
    variance = jnp.maximum(probabilities * (1 - probabilities), LEAST_VARIANCE)
    slope = (probabilities - targets) / variance
    return bounded_entropy(probabilities, targets), slope * tangents[0]
