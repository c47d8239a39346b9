"""Which of many negatives train a classifier: the hardest ones of each image (SSD, section 2.2)."""

import jax
import jax.numpy as jnp

from solojax.ops.matching import NEGATIVE, POSITIVE


def hardest(logits: jax.Array, kinds: jax.Array, *, per_positive: int = 3) -> jax.Array:
    """The negatives of an image that look least like background.

    Args:
      logits: ``A 1+C`` float32, background first.
      kinds: ``A`` int, as of ``matching.match``.
      per_positive: how many are chosen for each positive: all where there are fewer, and never all
        anchors of the image.

    Returns:
      ``A`` bool.
    """
    # The cross entropy that a negative has. What is no negative comes after all that are.
    surprise = jax.nn.logsumexp(logits, axis=-1) - logits[:, 0]
    order = jnp.argsort(jnp.where(kinds == NEGATIVE, -surprise, jnp.inf), stable=True)
    count = jnp.minimum(per_positive * jnp.sum(kinds == POSITIVE), len(kinds) - 1)
    among = jnp.zeros(len(kinds), bool).at[order].set(jnp.arange(len(kinds)) < count)
    return among & (kinds == NEGATIVE)
