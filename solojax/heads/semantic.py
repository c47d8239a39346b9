"""A segmentation by class that teaches a head's features where its own loss says little of classes.

It is made of the masks of instances and asks nothing of the data; a prediction does not compute it.
Bolya et al., *YOLACT: Real-time Instance Segmentation*, ICCV 2019, section 4.
"""

import jax
import jax.numpy as jnp

from solojax.ops import losses
from solojax.ops.precision import widen
from solojax.types import Instances, Mean


def unite(masks: jax.Array, instances: Instances, num_classes: int) -> jax.Array:
    """Where any instance of each class is: ``B N h w`` of 0 and 1 -> ``B h w C`` uint8."""
    of_class = jax.nn.one_hot(instances.labels, num_classes) * instances.valid[..., None]
    return (jnp.einsum("bnhw,bnc->bhwc", masks.astype(jnp.float32), of_class) > 0).astype(jnp.uint8)


def semantic_loss(logits: jax.Array, wanted: jax.Array, weight: float) -> Mean:
    """Binary cross entropy of ``B h w C``, summed over the classes: the mean over the pixels."""
    pixels = losses.binary_cross_entropy(widen(logits), wanted)
    total = jnp.sum(jnp.mean(jnp.sum(pixels, -1), (1, 2)))
    return Mean(weight * total, jnp.float32(len(logits)))
