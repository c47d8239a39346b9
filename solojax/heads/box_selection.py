"""From boxes, classes and coefficients to detections: YOLACT's way."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from solojax.fields import MOST_CANDIDATES, check_count, check_fields, check_range
from solojax.heads.answer import best_first
from solojax.ops import box_nms, prototypes
from solojax.ops import boxes as box_ops
from solojax.ops.precision import widen
from solojax.types import Detections, InputError

Rescore = Callable[[jax.Array], jax.Array]
"""Masks ``K h w`` -> the IoU each has by each class, ``K C``."""


@dataclasses.dataclass(frozen=True)
class BoxSelection:
    """Thresholds and caps in the order they act; defaults are the published ones."""

    score_threshold: float = 0.05  # of an anchor's best class; its other classes come along
    max_candidates: int = 2000  # anchors above it that are looked at; an overflow is counted
    nms: Literal["each_class", "all_classes"] = "each_class"  # which boxes suppress each other
    nms_candidates: int = 200  # best boxes, of each class or of all, that enter Fast NMS
    nms_iou_threshold: float = 0.5
    max_detections: int = 100
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "head.selection")
        thresholds = ("score_threshold", "nms_iou_threshold", "mask_threshold")
        check_range(self, "head.selection", *thresholds, most=1)
        counts = ("max_candidates", "nms_candidates", "max_detections")
        check_count(self, "head.selection", *counts, most=MOST_CANDIDATES)
        if self.nms_candidates > self.max_candidates:
            raise InputError(
                f"head.selection.max_candidates={self.max_candidates} must be at least "
                f"nms_candidates={self.nms_candidates}"
            )


class Predictions(NamedTuple):
    """What is predicted at ``A`` anchors, and for all of them together."""

    code: jax.Array  # B A 4
    class_logits: jax.Array  # B A 1+C, background first
    coefficients: jax.Array  # B A E
    prototypes: jax.Array  # B h w E, which span the canvas


def select(
    selection: BoxSelection,
    anchors: jax.Array,
    canvas: tuple[int, int],
    predictions: Predictions,
    rescore: Rescore | None,
) -> Detections:
    """Finds the instances of a batch; fixed shapes, for use inside ``jit``.

    Args:
      selection: thresholds and caps.
      anchors: ``A 4`` centre x, centre y, width, height as shares of the canvas.
      canvas: (height, width), network pixels.
      predictions: of any type.
      rescore: multiplies the scores, if given.
    """
    find = functools.partial(_find, selection, anchors, rescore)
    scores, labels, masks, boxes, overflow = jax.vmap(find)(predictions)
    height, width = canvas
    boxes = boxes * jnp.array([width, height, width, height], jnp.float32)[None, None]
    found = best_first(scores, labels, masks, most=selection.max_detections, boxes=boxes)
    return found._replace(overflow=overflow)


def _find(
    selection: BoxSelection,
    anchors: jax.Array,
    rescore: Rescore | None,
    predictions: Predictions,
) -> tuple[jax.Array, ...]:
    """Scores, labels, masks and boxes (shares) of one image, and how many anchors were left out."""
    probabilities = jax.nn.softmax(widen(predictions.class_logits))[:, 1:]
    best = jnp.max(probabilities, 1)
    passing = best > selection.score_threshold
    count = min(selection.max_candidates, len(best))
    sureness, candidates = jax.lax.top_k(jnp.where(passing, best, 0), count)
    boxes = box_ops.decode(widen(predictions.code[candidates]), anchors[candidates])
    # A code may be so large that no box has it.
    usable = (sureness > 0) & jnp.isfinite(box_ops.areas(boxes))
    scores = jnp.where(usable[:, None], probabilities[candidates], 0)
    boxes = jnp.where(usable[:, None], boxes, 0)

    suppress = {
        "each_class": box_nms.fast_nms,
        "all_classes": box_nms.cross_class_fast_nms,
    }[selection.nms]
    kept = suppress(
        boxes,
        scores,
        iou_threshold=selection.nms_iou_threshold,
        candidates=selection.nms_candidates,
        most=selection.max_detections,
    )
    boxes, own = boxes[kept.boxes], candidates[kept.boxes]
    height, width = predictions.prototypes.shape[:2]
    scale = jnp.array([width, height, width, height], jnp.float32)
    masks = prototypes.assemble(
        predictions.prototypes, predictions.coefficients[own], boxes * scale[None]
    ).probabilities
    scores = kept.scores
    if rescore is not None:
        scores *= jnp.take_along_axis(rescore(masks), kept.labels[:, None], 1)[:, 0]
    overflow = jnp.maximum(jnp.sum(passing, dtype=jnp.int32) - count, 0)
    return scores, kept.labels, masks, boxes, overflow
