"""Losses as plain functions of arrays."""

from typing import Literal

import jax
import jax.numpy as jnp

MaskLoss = Literal["dice", "focal", "bce"]

# Added to each sum of squares (not to the numerator), as in the authors' release.
DICE_EPSILON = 1e-3

# Of a foreground pixel in the binary cross entropy (SOLO paper, section 3.3, loss function).
BCE_POSITIVE_WEIGHT = 2.0

MASK_LOSS_WEIGHTS: dict[MaskLoss, float] = {"dice": 3.0, "focal": 20.0, "bce": 10.0}
"""What each mask loss is multiplied by beside the category loss (SOLO paper, text to table 4)."""


def focal(
    logits: jax.Array, targets: jax.Array, *, alpha: float = 0.25, gamma: float = 2.0
) -> jax.Array:
    """Sigmoid focal loss of every logit (RetinaNet, equation 5), not reduced.

    Examples:
      >>> round(float(focal(jnp.array(2.0), jnp.array(0.0))), 5)
      1.23756

    Args:
      logits: ``...`` float32.
      targets: ``...`` 0 or 1, the shape of logits.
      alpha: weight of the positives; negatives get ``1 - alpha``.
      gamma: focusing exponent.
    """
    import optax  # a prediction has no losses and does not wait for it

    return optax.losses.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy of every logit, ``...`` float32, not reduced; targets in 0..1."""
    import optax

    return optax.losses.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))


def dice(
    probabilities: jax.Array, targets: jax.Array, *, epsilon: float = DICE_EPSILON
) -> jax.Array:
    """Dice loss of each mask, ``1 - 2 sum(pt) / (sum(p^2) + sum(t^2) + 2 eps)``.

    The sums run over the padding too: there the target is 0 and the network learns so. An empty
    target costs 1 whatever is predicted. Not optax's dice, which does not square.

    Args:
      probabilities: ``... H W`` in 0..1.
      targets: ``... H W`` in 0..1, any dtype.
      epsilon: added to each of the two sums of squares.

    Returns:
      ``...`` float32.
    """
    targets = targets.astype(probabilities.dtype)
    overlap = jnp.sum(probabilities * targets, (-2, -1))
    total = jnp.sum(jnp.square(probabilities), (-2, -1)) + jnp.sum(jnp.square(targets), (-2, -1))
    return 1 - 2 * overlap / (total + 2 * epsilon)


def mask_losses(logits: jax.Array, targets: jax.Array, kind: MaskLoss) -> jax.Array:
    """The loss of each mask by itself, one of the three the SOLO paper compares, not weighted.

    All run over the padding too: there the target is 0.

    Args:
      logits: ``... H W`` float32.
      targets: ``... H W``, 0 or 1, any dtype, the shape of logits.
      kind: ``dice``: of the probabilities; ``focal``: mean over the pixels, alpha 0.25 and gamma
        2; ``bce``: binary cross entropy, foreground pixels twice, the sum divided by the number
        of pixels (not by the sum of the weights).

    Returns:
      ``...`` float32.
    """
    if kind == "dice":
        return dice(jax.nn.sigmoid(logits), targets)
    if kind == "focal":
        return jnp.mean(focal(logits, targets), (-2, -1))
    if kind == "bce":
        pixels = binary_cross_entropy(logits, targets)
        return jnp.mean(pixels * (1 + (BCE_POSITIVE_WEIGHT - 1) * targets), (-2, -1))
    raise ValueError(f"mask loss {kind!r} is none of 'dice', 'focal' and 'bce'")


def product_logit(x: jax.Array, y: jax.Array) -> jax.Array:
    """The logit of a product of probabilities: its sigmoid is ``sigmoid(x) sigmoid(y)``.

    For losses that read logits where a mask is the product of two maps (Decoupled SOLO). The odds
    against are exp(-x) + exp(-y) + exp(-x-y); summed as logarithms they neither overflow nor
    vanish, and the gradients stay within 0 and 1.

    Args:
      x: ``...`` float32.
      y: ``...`` float32, the shape of x.

    >>> round(float(product_logit(jnp.array(0.0), jnp.array(0.0))), 5)  # of 1/4
    -1.09861
    """
    return -jnp.logaddexp(jnp.logaddexp(-x, -y), -x - y)
