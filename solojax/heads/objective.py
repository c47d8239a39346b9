"""What the heads of the SOLO family minimise: focal loss over all cells, a loss of each mask."""

import dataclasses

import jax
import jax.numpy as jnp

from solojax.fields import check_fields, check_range
from solojax.heads.assign import Cells, Targets
from solojax.heads.grid import flatten
from solojax.ops import losses, pick
from solojax.ops import masks as mask_ops
from solojax.ops.precision import widen
from solojax.types import Logged, Mean


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses and their weights; defaults are the published ones."""

    category_weight: float = 1.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    mask_loss: losses.MaskLoss = "dice"
    mask_weight: float | None = None  # None: as published for the mask loss (3 for dice)
    quality_weight: float = 1.0  # of head.mask_scoring

    def __post_init__(self) -> None:
        check_fields(self, "head.objective")
        check_range(self, "head.objective", "category_weight", "focal_gamma", "quality_weight")
        check_range(self, "head.objective", "focal_alpha", most=1)
        if self.mask_weight is not None:
            check_range(self, "head.objective", "mask_weight")


def loss_terms(
    objective: Objective,
    category_logits: dict[str, jax.Array],
    mask_logits: list[jax.Array],
    targets: Targets,
    quality_logits: dict[str, jax.Array] | None = None,
    mask_threshold: float = 0.5,
) -> dict[str, Mean]:
    """The terms of the loss, weights included.

    Args:
      objective: which losses.
      category_logits: by level, ``B S S num_classes``, of any type.
      mask_logits: for each list of positives, ``B P H/stride W/stride`` float32.
      targets: what should have been predicted.
      quality_logits: by level, ``B S S 1``, where masks are scored.
      mask_threshold: above it a probability is in the mask whose fit is scored.
    """
    terms = {
        "category": _category(objective, category_logits, targets.cells),
        "mask": _mask(objective, mask_logits, targets),
    }
    if quality_logits:
        masks = [jax.nn.sigmoid(logits) > mask_threshold for logits in mask_logits]
        terms |= _quality(objective, quality_logits, masks, targets)
    return terms


def _category(objective: Objective, category_logits: dict[str, jax.Array], cells: Cells) -> Mean:
    logits = widen(flatten(category_logits))
    positive = jax.nn.one_hot(cells.labels, logits.shape[-1])  # all zero on background
    focal = losses.focal(logits, positive, alpha=objective.focal_alpha, gamma=objective.focal_gamma)
    owned = jnp.sum(cells.owners >= 0, dtype=jnp.float32)
    return Mean(objective.category_weight * jnp.sum(focal), owned, prior=1.0)


def _mask(objective: Objective, mask_logits: list[jax.Array], targets: Targets) -> Mean:
    weight = objective.mask_weight
    if weight is None:
        weight = losses.MASK_LOSS_WEIGHTS[objective.mask_loss]
    total, count = jnp.float32(0), jnp.float32(0)
    for logits, masks, positives in zip(
        mask_logits, targets.masks, targets.cells.positives, strict=True
    ):
        each = losses.mask_losses(logits, masks, objective.mask_loss)
        total += jnp.sum(jnp.where(positives.valid, each, 0))
        count += jnp.sum(positives.valid, dtype=jnp.float32)
    return Mean(weight * total, count)


def _quality(
    objective: Objective, logits: dict[str, jax.Array], masks: list[jax.Array], targets: Targets
) -> dict[str, Mean]:
    """Cross entropy with the IoU that each positive's mask has, thresholded as when detected.

    The IoU is what it is and no way to lower the loss. All positives take part, whatever theirs
    (Mask Scoring R-CNN, table 5).
    """
    scores = widen(flatten(logits))[..., 0]
    total, ious, count = jnp.float32(0), jnp.float32(0), jnp.float32(0)
    for found, wanted, positives in zip(masks, targets.masks, targets.cells.positives, strict=True):
        both, either = mask_ops.shared(found, wanted > 0)
        iou = jax.lax.stop_gradient(both / jnp.maximum(either, 1))
        each = losses.binary_cross_entropy(pick.take(scores, positives.cells), iou)
        total += jnp.sum(jnp.where(positives.valid, each, 0))
        ious += jnp.sum(jnp.where(positives.valid, iou, 0))
        count += jnp.sum(positives.valid, dtype=jnp.float32)
    return {
        "quality": Mean(objective.quality_weight * total, count),
        "mask_iou": Logged(ious, count),
    }
