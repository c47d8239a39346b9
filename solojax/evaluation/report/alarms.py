"""What a person must not be left to find out: why the scores of a run may be lower than they need.

Each is told where it is so, with its number and what to do, whatever the AP.
"""

import math
from typing import Any

from solojax.data.annotations.suspicions import FEW
from solojax.data.findings import shorten
from solojax.evaluation.report import advice
from solojax.evaluation.report.advice import Facts
from solojax.heads import protocol
from solojax.ops.losses import MASK_LOSS_WEIGHTS
from solojax.types import MASK_STRIDE

TINY = 2 * MASK_STRIDE  # network pixels across below which an instance has fewer than 4 mask pixels
SHARE = 0.02  # of the instances, from which on it is told
FAR = 0.5  # of the IoU in training, below which the one of the scoring is told


def tell(scored: dict[str, Any], facts: Facts) -> list[str]:
    """Lines for people.

    Args:
      scored: from ``scores.score``.
      facts: of the run.
    """
    return [*_few(scored, facts), *_tiny(facts), *_without_cell(facts), *_far(scored, facts)]


def _few(scored: dict[str, Any], facts: Facts) -> list[str]:
    pairs = zip(scored["classes"], facts.trained_on, strict=False)
    few = sorted((count, one["name"]) for one, count in pairs if count < FEW)
    if not few:
        return []
    named = shorten([f"{name} {count}" for count, name in few], len(few), ", ")
    return [
        f"{len(few)} of {len(scored['classes'])} classes have fewer than {FEW} training instances "
        f"({named}): what they score is an accident. Label more, or repeat them "
        "(data.augmentation.copy_paste_probability)"
    ]


def _tiny(facts: Facts) -> list[str]:
    across = facts.surveyed.sizes[~facts.surveyed.crowds]
    tiny = int((across < TINY).sum())
    if tiny <= SHARE * len(across) or not tiny:
        return []
    still = int((across < TINY / 2).sum())
    return [
        f"{tiny} of {len(across)} instances ({tiny / len(across):.0%}) are below {TINY} pixels "
        f"across on the canvas, fewer than 4 mask pixels at stride {MASK_STRIDE}; on a canvas "
        "twice as large (data.test_short_side, train_short_sides, long_side, canvases) "
        f"{still} would be"
    ]


def _without_cell(facts: Facts) -> list[str]:
    if not facts.grid:
        return []
    surveyed = facts.surveyed
    lacking = int(advice.cellless(surveyed, facts.grid).sum())
    whole = int(surveyed.valid.sum())
    if lacking <= SHARE * whole or not lacking:
        return []
    return [
        f"{lacking} of {whole} instances ({lacking / whole:.0%}) own no cell of the grid, so that "
        f"nothing is taught or found of them. {advice.finer(facts)}; "
        "solojax data stats tries others"
    ]


def _far(scored: dict[str, Any], facts: Facts) -> list[str]:
    """Where masks fit while training and instances are not found."""
    _, head = protocol.finder(facts.config.model.head)
    objective: Any = getattr(head, "objective", None)
    if getattr(objective, "mask_loss", "") != "dice" or not facts.history:
        return []
    loss = facts.history.last_losses.get("mask")
    weight = objective.mask_weight
    weight = MASK_LOSS_WEIGHTS["dice"] if weight is None else weight
    if loss is None or not weight:
        return []
    dice = min(max(1 - loss / weight, 0.0), 1.0)
    suggested, reached = dice / (2 - dice), scored["best_iou"]
    if not math.isfinite(reached) or reached < 0 or reached >= FAR * suggested:
        return []
    return [
        f"training ended with masks at a dice of {dice:.2f}, an IoU of {suggested:.2f}, and the "
        f"best detection of an instance has {reached:.2f} here on average: more is lost in finding "
        "instances, or between the sets, than in their masks. solojax eval --split train tells "
        "which"
    ]
