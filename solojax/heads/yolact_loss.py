"""What YOLACT minimises."""

import dataclasses

import jax
import jax.numpy as jnp

from solojax.fields import check_fields, check_range
from solojax.heads.rescoring import Layer, rescore
from solojax.heads.yolact_targets import BACKGROUND, Positives, Targets
from solojax.ops import hard_negatives, pick, prototypes
from solojax.ops.precision import widen
from solojax.types import Mean


@dataclasses.dataclass(frozen=True)
class Objective:
    """The weights of the losses, and what they leave out; defaults are the published ones."""

    class_weight: float = 1.0
    box_weight: float = 1.5
    mask_weight: float = 6.125
    semantic_weight: float = 1.0
    rescoring_weight: float = 25.0
    negatives_per_positive: int = 3  # anchors of the background that train the classes, hardest
    least_rescored: int = 25  # pixels of the prototypes; masks up to here train no re-scoring

    def __post_init__(self) -> None:
        check_fields(self, "head.objective")
        check_range(self, "head.objective", *self.__dataclass_fields__)


def class_loss(objective: Objective, logits: jax.Array, targets: Targets) -> Mean:
    """Cross entropy of ``B A 1+C`` logits, over the positives and each image's hardest negatives.

    These follow from the outputs; what the sum is divided by does not: the positives.
    """
    logits, labels = widen(logits), targets.labels
    hardest = jax.vmap(
        lambda one, kinds: hard_negatives.hardest(
            one, kinds, per_positive=objective.negatives_per_positive
        )
    )(jax.lax.stop_gradient(logits), jnp.minimum(labels, 1))
    chosen = jax.nn.one_hot(labels, logits.shape[-1])  # all zero where neutral
    entropies = -jnp.sum(chosen * jax.nn.log_softmax(logits), -1)
    total = jnp.sum(jnp.where(hardest | (labels > BACKGROUND), entropies, 0))
    return Mean(objective.class_weight * total, targets.positive_count)


def box_loss(objective: Objective, code: jax.Array, targets: Targets) -> Mean:
    """Smooth L1 of the positives' ``B A 4``."""
    import optax  # a prediction has no losses and does not wait for it

    each = optax.losses.huber_loss(widen(code), targets.code).sum(-1)
    total = jnp.sum(jnp.where(targets.labels > BACKGROUND, each, 0))
    return Mean(objective.box_weight * total, targets.positive_count)


def mask_loss(
    objective: Objective, maps: jax.Array, coefficients: jax.Array, targets: Targets
) -> tuple[Mean, jax.Array]:
    """Cross entropy of the positives' masks, inside their instances' boxes; and those masks.

    Args:
      objective: the weights.
      maps: ``B h w E`` prototypes.
      coefficients: ``B A E``, of the same type.
      targets: what should have been predicted.

    Returns:
      The term, and ``B P h w`` float32 probabilities.
    """
    height, width = maps.shape[1:3]
    positives = targets.positives
    boxes = positives.boxes * jnp.array([width, height, width, height], jnp.float32)[None, None]
    masks = jax.vmap(prototypes.assemble)(maps, pick.take(coefficients, positives.anchors), boxes)
    wanted = pick.take(targets.masks, positives.instances)
    each = jax.vmap(prototypes.mask_losses)(masks, wanted, boxes)
    by_image = jnp.sum(jnp.where(positives.valid, each, 0), 1) * positives.weights
    return Mean(
        objective.mask_weight * jnp.sum(by_image), targets.positive_count
    ), masks.probabilities


def rescoring_loss(
    objective: Objective, layers: tuple[Layer, ...], masks: jax.Array, targets: Targets
) -> Mean:
    """Smooth L1 of the IoU that is predicted for each mask, ``B P h w``, and the one it has.

    Small instances are left out of the sum but not of what it is divided by.
    """
    import optax

    positives: Positives = targets.positives
    wanted = pick.take(targets.masks, positives.instances)
    ious = jax.vmap(prototypes.binary_iou)(masks, wanted)
    predicted = jax.vmap(lambda some: rescore(layers, some))(masks)
    own = jnp.take_along_axis(predicted, positives.labels[..., None], -1)[..., 0]
    areas = jnp.sum(wanted, (2, 3), dtype=jnp.int32)
    used = positives.valid & (areas > objective.least_rescored)
    total = jnp.sum(jnp.where(used, optax.losses.huber_loss(own, ious), 0))
    return Mean(objective.rescoring_weight * total, targets.positive_count)
