"""What a set of slots is trained on: the assignment that gains most, and a loss of its pairs."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from solojax.fields import check_fields, check_range
from solojax.ops import assignment, losses, pick
from solojax.ops import masks as mask_ops
from solojax.types import Mean

DICE_EPSILON = 5e-5  # of each of the two sums of squares
IOU_EPSILON = 1e-6  # of the union of two masks


class Instances(Protocol):
    """What slots are matched with; read-only."""

    @property
    def labels(self) -> jax.Array:
        """``B N`` int32."""
        ...

    @property
    def masks(self) -> jax.Array:
        """``B N h w`` float32 in 0..1."""
        ...

    @property
    def valid(self) -> jax.Array:
        """``B N`` bool."""
        ...


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses, their weights and what a match gains; defaults are the published ones."""

    dice_power: float = 0.8  # of the dice coefficient in what a match gains
    class_power: float = 0.2  # of the probability of the instance's class in it
    category_weight: float = 2.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    mask_weight: float = 5.0  # of the binary cross entropy of pixels
    dice_weight: float = 2.0
    objectness_weight: float = 1.0
    semantic_weight: float = 0.0  # of a segmentation by class that teaches the trunk; not published
    iou_threshold: float = 0.4  # a probability of at least this is in the mask whose IoU is learnt

    def __post_init__(self) -> None:
        check_fields(self, "head.objective")
        numbers = [field.name for field in dataclasses.fields(self)]
        check_range(self, "head.objective", *numbers)
        check_range(self, "head.objective", "focal_alpha", "iou_threshold", most=1)


def gains(
    objective: Objective, class_logits: jax.Array, probabilities: jax.Array, instances: Instances
) -> jax.Array:
    """What it would gain to match each slot with each instance (SparseInst, equation 4).

    Args:
      objective: the powers of dice and of the class.
      class_logits: ``B Q C`` float32.
      probabilities: of masks, ``B Q h w`` float32.
      instances: ``B N``, of the same size.

    Returns:
      ``B Q N`` float32 in 0..1.
    """
    dice = dice_coefficients(probabilities, instances.masks)
    classes = jax.nn.sigmoid(class_logits)
    right = jax.vmap(lambda one, labels: one[:, labels])(classes, instances.labels)
    return dice**objective.dice_power * right**objective.class_power


def dice_coefficients(probabilities: jax.Array, masks: jax.Array) -> jax.Array:
    """``2 sum(mt) / (sum(m^2) + sum(t^2) + eps)`` of each pair.

    Args:
      probabilities: ``B Q h w`` float32.
      masks: ``B N h w`` float32.

    Returns:
      ``B Q N``.
    """
    overlap = jnp.einsum("bqyx,bnyx->bqn", probabilities, masks, precision="highest")
    of_slots = jnp.sum(jnp.square(probabilities), (2, 3))
    of_instances = jnp.sum(jnp.square(masks), (2, 3))
    total = of_slots[:, :, None] + of_instances[:, None, :]
    return 2 * overlap / (total + 2 * DICE_EPSILON)


def overlaps(logits: jax.Array, masks: jax.Array, threshold: float) -> jax.Array:
    """IoU of predicted masks with those they should be, ``...``.

    Args:
      logits: ``... h w``.
      masks: ``... h w`` in 0..1; what is above a half is in the mask.
      threshold: a probability of at least this is in the predicted mask.
    """
    found = jax.nn.sigmoid(logits) >= threshold
    wanted = masks > 0.5
    both, either = mask_ops.shared(found, wanted)
    return both / (either + IOU_EPSILON)


def match(
    objective: Objective,
    class_logits: jax.Array,
    logits: jax.Array,
    instances: Instances,
) -> jax.Array:
    """The slot of each instance, ``B N`` int32, -1 for padding and for what no slot is left for.

    Args:
      objective: what a match gains.
      class_logits: ``B Q C`` float32.
      logits: of masks, ``B Q h w`` float32.
      instances: ``B N``, of the same size.
    """
    class_logits, logits = jax.lax.stop_gradient((class_logits, logits))
    gained = gains(objective, class_logits, jax.nn.sigmoid(logits), instances)
    return jax.vmap(assignment.assign)(gained, instances.valid)


def loss_terms(
    objective: Objective,
    class_logits: jax.Array,
    objectness: jax.Array,
    kernels: jax.Array,
    make_masks: Callable[[jax.Array], jax.Array],
    instances: Instances,
) -> dict[str, Mean]:
    """The terms of the loss, weights included.

    Args:
      objective: which losses.
      class_logits: ``B Q C`` float32.
      objectness: ``B Q`` float32, logits.
      kernels: ``B Q E``.
      make_masks: ``B K E`` kernels -> ``B K h w`` float32 logits.
      instances: ``B N``, what should have been found.
    """
    slots = match(objective, class_logits, make_masks(jax.lax.stop_gradient(kernels)), instances)
    matched = slots >= 0
    batch, count, num_classes = class_logits.shape
    labels = jax.vmap(
        lambda slots, labels: jnp.full(count, num_classes).at[slots].set(labels, mode="drop")
    )(jnp.where(matched, slots, count), instances.labels)
    wanted = jax.nn.one_hot(labels, num_classes)  # all zero where there is no instance
    focal = losses.focal(
        class_logits, wanted, alpha=objective.focal_alpha, gamma=objective.focal_gamma
    )

    # Masks of the pairs alone are made to be differentiated.
    slots = jnp.maximum(slots, 0)
    logits = make_masks(pick.take(kernels, slots))
    pixels = jnp.mean(losses.binary_cross_entropy(logits, instances.masks), (2, 3))
    dice = losses.dice(jax.nn.sigmoid(logits), instances.masks, epsilon=DICE_EPSILON)
    iou = overlaps(logits, instances.masks, objective.iou_threshold)
    sure = losses.binary_cross_entropy(pick.take(objectness, slots), jax.lax.stop_gradient(iou))

    # How many are matched does not depend on which: the targets alone say it.
    given = jnp.sum(instances.valid, 1, dtype=jnp.float32)
    everything, pairs = jnp.sum(given), jnp.sum(jnp.minimum(given, count))

    def over_pairs(values: jax.Array, weight: float, number: jax.Array) -> Mean:
        return Mean(weight * jnp.sum(jnp.where(matched, values, 0)), number)

    return {
        "category": Mean(objective.category_weight * jnp.sum(focal), everything),
        "mask": over_pairs(pixels, objective.mask_weight, pairs),
        "dice": over_pairs(dice, objective.dice_weight, everything),
        "objectness": over_pairs(sure, objective.objectness_weight, pairs),
    }
