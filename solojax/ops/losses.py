"""The two losses of the SOLO family, as plain functions of arrays."""

import jax
import jax.numpy as jnp
import optax

# Added to each sum of squares (not to the numerator), as in the authors' release.
DICE_EPSILON = 1e-3


def focal(
    logits: jax.Array, targets: jax.Array, *, alpha: float = 0.25, gamma: float = 2.0
) -> jax.Array:
    """Sigmoid focal loss of every logit (RetinaNet, equation 5), not reduced.

    Args:
      logits: ``...`` float32.
      targets: ``...`` 0 or 1, the shape of logits.
      alpha: weight of the positives; negatives get ``1 - alpha``.
      gamma: focusing exponent.

    >>> round(float(focal(jnp.array(2.0), jnp.array(0.0))), 5)
    1.23756
    """
    return optax.losses.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


def dice(probabilities: jax.Array, targets: jax.Array) -> jax.Array:
    """Dice loss of each mask, ``1 - 2 sum(pt) / (sum(p^2) + sum(t^2) + 2 eps)``.

    The sums run over the padding too: there the target is 0 and the network learns so. An empty
    target costs 1 whatever is predicted. Not optax's dice, which does not square.

    Args:
      probabilities: ``... H W`` in 0..1.
      targets: ``... H W``, 0 or 1, any dtype.

    Returns:
      ``...`` float32.
    """
    targets = targets.astype(probabilities.dtype)
    overlap = jnp.sum(probabilities * targets, (-2, -1))
    total = jnp.sum(jnp.square(probabilities), (-2, -1)) + jnp.sum(jnp.square(targets), (-2, -1))
    return 1 - 2 * overlap / (total + 2 * DICE_EPSILON)
