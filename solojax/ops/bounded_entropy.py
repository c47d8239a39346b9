"""Binary cross entropy of masks that are cut off at their boxes before they are compared."""

from typing import Any

import jax
import jax.numpy as jnp

MOST = 100.0
"""The greatest loss of a pixel: that of a probability of exactly 0 or 1 on the wrong side."""

LEAST_VARIANCE = 1e-12
"""Of p (1 - p), which the derivative is divided by."""


def cut_sigmoid(logits: jax.Array, inside: jax.Array) -> jax.Array:
    """Probabilities, 0 where a pixel is not ``inside``."""
    return jnp.where(inside, jax.nn.sigmoid(logits), 0)


@jax.custom_jvp
def bounded_entropy(logits: jax.Array, inside: jax.Array, targets: jax.Array) -> jax.Array:
    """``-(t log p + (1 - t) log(1 - p))`` of every ``p = cut_sigmoid``, logarithms above -100.

    As PyTorch defines it of probabilities, derivative included: ``(p - t) / max(p (1 - p), 1e-12)``
    of the probability, times p (1 - p). Where p has rounded to exactly 0 or 1 that is 0, so such a
    pixel costs 100 where it is wrong and is never mended: not the cross entropy of logits, which
    would pull it back. Nor is a pixel that the box cuts off.

    Args:
      logits: ``...`` float32.
      inside: ``...`` bool, whether the box holds the pixel.
      targets: ``...`` float32 in 0..1.

    >>> one = jnp.ones(3)
    >>> bounded_entropy(jnp.array([0.0, 0.0, -200.0]), one > jnp.array([0, 1, 0]), one).tolist()
    [0.6931471824645996, 100.0, 100.0]
    """
    # Of the odds, since the least of all probabilities would be rounded to 0 on the way.
    yes = jnp.where(inside, -jnp.log(1 + jnp.exp(-logits)), -jnp.inf)
    no = jnp.log(1 - cut_sigmoid(logits, inside))
    return -(targets * jnp.maximum(yes, -MOST) + (1 - targets) * jnp.maximum(no, -MOST))


@bounded_entropy.defjvp
def _bounded_entropy_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    logits, inside, targets = primals
    probabilities = cut_sigmoid(logits, inside)
    variance = probabilities * (1 - probabilities)
    slope = (probabilities - targets) * variance / jnp.maximum(variance, LEAST_VARIANCE)
    return bounded_entropy(logits, inside, targets), slope * tangents[0]
