"""What YOLACT's anchors and prototypes are trained towards."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from solojax.fields import check_fields, check_range
from solojax.heads.anchors import Anchors
from solojax.heads.semantic import unite
from solojax.ops import boxes as box_ops
from solojax.ops import matching, pick, resize
from solojax.types import InputError, Instances, Mean

BACKGROUND = 0
"""Label of an anchor without an instance; classes follow from 1 on."""


@dataclasses.dataclass(frozen=True)
class Matching:
    """Which anchors belong to an instance; defaults are the published ones."""

    positive_iou: float = 0.5  # from here on an anchor belongs to the instance it overlaps most
    negative_iou: float = 0.4  # below it to the background; between, it trains nothing
    crowd_coverage: float = 0.7  # nor does one that lies in a crowd by more than this share

    def __post_init__(self) -> None:
        check_fields(self, "head.matching")
        check_range(self, "head.matching", *self.__dataclass_fields__, most=1)
        if self.negative_iou > self.positive_iou:
            raise InputError(
                f"head.matching.negative_iou={self.negative_iou} must be at most positive_iou="
                f"{self.positive_iou}"
            )


class Positives(NamedTuple):
    """Anchors whose masks are trained, padded to ``P`` an image."""

    anchors: jax.Array  # B P int32
    instances: jax.Array  # B P int32, index into N
    labels: jax.Array  # B P int32, 0-based class
    boxes: jax.Array  # B P 4 float32 x0 y0 x1 y1 of the instance, as shares of the canvas
    valid: jax.Array  # B P bool
    weights: jax.Array  # B float32: positives of the image for each one that is trained


class Targets(NamedTuple):
    """What should be predicted at ``A`` anchors, and numbers about it for the log."""

    labels: jax.Array  # B A int32: BACKGROUND, 1 + class, or matching.NEUTRAL
    code: jax.Array  # B A 4 float32, of the box that belongs to a positive anchor, else 0
    positives: Positives
    masks: jax.Array  # B N h w uint8, of the size of the prototypes
    semantic: jax.Array  # B h w C uint8, of the size of the finest level: where the classes are
    metrics: dict[str, Mean]

    @property
    def positive_count(self) -> jax.Array:
        """Positive anchors of this device's images, float32."""
        return jnp.sum(self.labels > BACKGROUND, dtype=jnp.float32)


def make_targets(
    anchors: Anchors,
    rule: Matching,
    instances: Instances,
    key: jax.Array,
    *,
    num_classes: int,
    max_masks: int,
    mask_scale: int = 2,
) -> Targets:
    """Matches the instances of a batch with anchors and shrinks their masks.

    Args:
      anchors: all of them.
      rule: which belong to an instance.
      instances: ``B N`` ground truth, network pixels, with masks of the whole canvas.
      key: draws which masks are trained where an image has more than ``max_masks`` positives.
      num_classes: ``C``.
      max_masks: ``P``.
      mask_scale: pixels of the prototypes for each of the finest level, each way.
    """
    whole = instances.masks[1]
    canvas = (whole.shape[2], whole.shape[3])
    anchors.check_canvas(canvas)
    laid = jnp.asarray(anchors.boxes(canvas))
    laid_boxes = box_ops.corners(laid)
    boxes = _shares(instances.boxes, canvas)
    crowd = jnp.zeros_like(instances.valid) if instances.crowd is None else instances.crowd

    match = functools.partial(
        matching.match,
        anchors=laid_boxes,
        positive_iou=rule.positive_iou,
        negative_iou=rule.negative_iou,
        crowd_coverage=rule.crowd_coverage,
    )
    found = jax.vmap(match)(boxes, instances.valid, crowd)
    is_positive = found.kinds == matching.POSITIVE
    classes = pick.take(instances.labels, found.instances)
    # An anchor without an instance has its own box: the code of that is 0, of padding not finite.
    own = jnp.where(is_positive[..., None], pick.take(boxes, found.instances), laid_boxes[None])
    keys = jax.random.split(key, len(classes))
    positives = jax.vmap(functools.partial(_draw, max_masks=max_masks))(
        keys, is_positive, found.instances, classes, own
    )
    finest = anchors.size_at(canvas, anchors.levels[0])
    count = jnp.sum(is_positive, dtype=jnp.float32)
    trained = jnp.sum(positives.valid, dtype=jnp.float32)
    return Targets(
        labels=jnp.where(is_positive, classes + 1, found.kinds).astype(jnp.int32),
        code=box_ops.encode(own, laid[None]),
        positives=positives,
        masks=shrink(whole, (mask_scale * finest[0], mask_scale * finest[1])),
        semantic=unite(shrink(whole, finest), instances, num_classes),
        metrics={
            "positives": Mean(count, jnp.float32(len(classes))),
            "dropped_masks": Mean(count - trained, jnp.float32(0)),
        },
    )


def shrink(masks: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear, not antialiased, and above a half: ``B N H W`` of 0 and 1 -> ``B N *size`` uint8.

    Four pixels of the mask lie around each new one; the masks never exist as floats.
    """
    rows, columns = (
        resize.bilinear_taps(jnp.arange(new), out_used=new, in_used=old)
        for new, old in zip(size, masks.shape[2:], strict=True)
    )

    def row(places: jax.Array) -> jax.Array:
        some = jnp.take(masks, places, axis=2)
        low, high = (jnp.take(some, ends, axis=3) for ends in (columns.low, columns.high))
        weight = columns.weight[None, None, None, :]
        return low * (1 - weight) + high * weight

    weight = rows.weight[None, None, :, None]
    value = row(rows.low) * (1 - weight) + row(rows.high) * weight
    return (value > 0.5).astype(jnp.uint8)


def _shares(boxes: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """``... 4`` network pixels -> shares of the canvas."""
    sides = jnp.array([canvas[1], canvas[0], canvas[1], canvas[0]], jnp.float32)
    # Divided, as published: to multiply by reciprocals, as XLA does where a divisor is broadcast,
    # moves borders that fall on a pixel of the prototypes.
    return boxes / jax.lax.optimization_barrier(jnp.broadcast_to(sides, boxes.shape))


def _draw(
    key: jax.Array,
    is_positive: jax.Array,
    instances: jax.Array,
    classes: jax.Array,
    boxes: jax.Array,
    *,
    max_masks: int,
) -> Positives:
    """Of one image: ``max_masks`` of its positives."""
    drawn, valid = pick.draw(key, is_positive, max_masks)
    trained = jnp.sum(valid, dtype=jnp.float32)
    return Positives(
        anchors=drawn,
        instances=instances[drawn],
        labels=classes[drawn],
        boxes=boxes[drawn],
        valid=valid,
        weights=jnp.sum(is_positive, dtype=jnp.float32) / jnp.maximum(trained, 1),
    )
