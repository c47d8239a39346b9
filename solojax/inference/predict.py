"""Prediction as functions to compile: images on their canvas in, packed masks and labels out."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax import parallel
from solojax.heads import protocol
from solojax.heads.protocol import Head
from solojax.ops import label_maps, masks
from solojax.ops.precision import whole_products
from solojax.types import MASK_STRIDE, Answer, Array, Detections, Results

BLOCK = 20  # detections whose masks are made at once
TILE = 640  # original pixels each way that are made at once, at most: those of COCO's images
TILE_CANVASES = 2  # and at most so many sides of the canvas: small images would pay for more


def make_answer(
    model: nn.Module, precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array], Answer]:
    """Builds ``answer(variables, images, sizes) -> Answer``, pure and of fixed shapes.

    Args:
      model: a Detector.
      precision: what the network computes in; scores and masks are float32 either way. float32 is
        all of it, on GPUs and TPUs as well (``ops.precision.whole_products``).

    The built function's arguments: ``images`` ``B H W 3`` uint8 RGB on their canvas, ``sizes``
    ``B 2`` (height, width) of what is image there, network pixels.
    """

    def answer(variables: dict[str, Any], batch: Array, sizes: Array) -> Answer:
        inputs = model.normalize(batch, sizes, jnp.dtype(precision))
        images, height, width = batch.shape[:3]
        with whole_products(inputs.dtype):
            return answer_of(model.head, model.apply(variables, inputs), images, (height, width))

    return answer


def answer_of(head: Head, outputs: Any, images: int, canvas: tuple[int, int]) -> Answer:
    """What a head says by its outputs of so many images on a canvas (height, width)."""
    found, logits = nothing_found(images, canvas), None
    if protocol.finds_instances(head):
        found = head.detect(outputs)
        protocol.check_detections(head, found, images, canvas)
    if protocol.labels_pixels(head):
        logits = head.label_logits(outputs)
        protocol.check_label_logits(head, logits, images)
    return Answer(found, logits)


def make_detect(
    model: nn.Module, precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array], Detections]:
    """The part of ``make_answer`` that is about instances."""
    answer = make_answer(model, precision)
    return lambda variables, batch, sizes: answer(variables, batch, sizes).detections


def nothing_found(images: int, canvas: tuple[int, int]) -> Detections:
    """Of images in which no head looks for instances."""
    none = jnp.zeros((images, 0), jnp.int32)
    masks = jnp.zeros((images, 0, *(side // MASK_STRIDE for side in canvas)))
    return Detections(
        scores=none.astype(jnp.float32),
        labels=none,
        masks=masks,
        valid=none.astype(bool),
        overflow=jnp.zeros(images, jnp.int32),
    )


def make_predict(
    model: nn.Module, output_size: tuple[int, int], precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array, Array], Results]:
    """Builds ``predict(variables, images, sizes, original_sizes) -> Results``, all in one.

    Pure and of fixed shapes, for use inside ``jit``, ``vmap`` or ``pmap``.

    Args:
      model: a Detector.
      output_size: (height, width) that holds every original image; the width a multiple of 8.
      precision: as of ``make_detect``.

    The built function's arguments: those of ``make_detect`` and ``original_sizes`` ``B 2`` (height,
    width), original pixels.
    """
    answer = make_answer(model, precision)

    def predict(
        variables: dict[str, Any], batch: Array, sizes: Array, original_sizes: Array
    ) -> Results:
        found, logits = answer(variables, batch, sizes)
        canvas = batch.shape[1], batch.shape[2]

        def restore(one: tuple[Array, Array, Array]) -> Array:
            threshold = mask_threshold(model)
            return masks.restore(*one, output_size=output_size, canvas=canvas, threshold=threshold)

        def label(one: tuple[Array, Array, Array]) -> Array:
            return label_maps.restore(one[0], masks.Frame(*one[1:], output_size, canvas))

        return Results(
            scores=found.scores,
            labels=found.labels,
            # One image at a time: as floats the masks of a whole batch would be gigabytes.
            masks=jax.lax.map(restore, (found.masks, sizes, original_sizes)),
            valid=found.valid,
            overflow=found.overflow,
            boxes=restore_boxes(found.boxes, sizes, original_sizes),
            label_maps=None
            if logits is None
            else jax.lax.map(label, (logits, sizes, original_sizes)),
        )

    return predict


def mask_threshold(model: nn.Module) -> float:
    """Above it a probability is in a mask; 0.5 where there is none."""
    return getattr(model.head, "mask_threshold", 0.5)


def restore_boxes(boxes: Array | None, sizes: Array, original_sizes: Array) -> Array | None:
    """``B K 4``, network pixels -> original pixels, without what is beyond the image."""
    if boxes is None:
        return None
    scale = original_sizes / sizes
    twice = jnp.concatenate([scale[:, ::-1]] * 2, 1)[:, None]
    ends = jnp.concatenate([original_sizes[:, ::-1]] * 2, 1)[:, None]
    return jnp.clip(boxes * twice, 0, ends).astype(jnp.float32)


def tile_side(canvas: tuple[int, int]) -> int:
    """Original pixels each way that masks of a canvas are made of at once; a multiple of 8."""
    return min(TILE, -(-TILE_CANVASES * max(canvas) // 8) * 8)


def make_label_block(
    canvas: tuple[int, int],
    restore: Callable[[Array, masks.Frame], Array] = label_maps.restore,
) -> Callable[..., Array]:
    """Builds ``make(corner, logits, sizes, originals) -> labels``, pure and of fixed shapes.

    That of ``make_block`` for label maps: ``corner`` (top, left), ``logits`` ``B h w L``; it makes
    ``B side side`` uint8, or what else ``restore`` makes of logits.
    """
    output_size = (tile_side(canvas),) * 2

    def make(corner: Array, logits: Array, sizes: Array, originals: Array) -> Array:
        def of_image(logits: Array, size: Array, original: Array) -> Array:
            return restore(logits, masks.Frame(size, original, output_size, canvas, corner))

        return jax.vmap(of_image)(logits, sizes, originals)

    return make


def make_block(model: nn.Module, canvas: tuple[int, int]) -> Callable[..., Array]:
    """Builds ``make(block, found, sizes, originals) -> masks``, pure and of fixed shapes.

    Args:
      model: a Detector.
      canvas: (height, width), network pixels.

    The built function's arguments: ``block`` (first detection, top, left), ``found`` the masks of
    ``Detections``, ``sizes`` ``B 2`` as of ``make_detect``, ``originals`` ``B 2`` (height, width),
    original pixels; ``threshold``, where that is not to be the head's. It makes those of ``BLOCK``
    detections from ``first`` on, of ``tile_side`` original pixels each way from ``top`` and
    ``left`` on, bits packed along the width: ``B BLOCK side side/8`` uint8.
    """
    side, usual = tile_side(canvas), mask_threshold(model)

    def make(
        block: tuple[Array, Array, Array],
        found: Array,
        sizes: Array,
        originals: Array,
        threshold: Array | float = usual,
    ) -> Array:
        first, top, left = block
        some = jnp.take(found, first + jnp.arange(BLOCK), axis=1, mode="clip")
        restore = functools.partial(
            masks.restore,
            output_size=(side, side),
            canvas=canvas,
            corner=(top, left),
            threshold=threshold,
        )
        return jax.vmap(restore)(some, sizes, originals)

    return make
