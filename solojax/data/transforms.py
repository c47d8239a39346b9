"""Augmentations and resizing: NumPy functions of one example and one random generator.

All of the geometry is an upright scaling, a mirror and a shift, so where a pixel of the canvas
comes from is two lists of source indices, one for rows, one for columns. Masks are sampled through
them where the targets look, and never exist at network size.
"""

from typing import NamedTuple

import cv2
import numpy as np

from solojax.types import Instances


class Placement(NamedTuple):
    """Where the original image lies on the canvas: its top left corner, resized, maybe mirrored."""

    original: tuple[int, int]  # (height, width), original pixels
    size: tuple[int, int]  # (height, width), network pixels
    flip: bool = False  # left to right


def rescale_size(original: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """The (height, width) at which the short or the long side reaches its limit first."""
    scale = min(long_side / max(original), short_side / min(original))
    return int(original[0] * scale + 0.5), int(original[1] * scale + 0.5)


def draw_placement(
    rng: np.random.Generator,
    original: tuple[int, int],
    canvas: tuple[int, int],
    *,
    short_sides: tuple[int, ...],
    long_side: int,
    flip_probability: float,
) -> Placement:
    """Draws one of ``short_sides`` and a mirroring; never larger than the canvas."""
    short_side = short_sides[rng.integers(len(short_sides))]
    flip = bool(rng.random() < flip_probability)
    return Placement(original, fit_size(original, canvas, short_side, long_side), flip)


def fit_size(
    original: tuple[int, int], canvas: tuple[int, int], short_side: int, long_side: int
) -> tuple[int, int]:
    """``rescale_size``, or as large as the canvas allows where that does not fit."""
    height, width = rescale_size(original, short_side, long_side)
    if height > canvas[0] or width > canvas[1]:
        scale = min(canvas[0] / original[0], canvas[1] / original[1])
        height = min(int(original[0] * scale + 0.5), canvas[0])
        width = min(int(original[1] * scale + 0.5), canvas[1])
    return max(height, 1), max(width, 1)  # a strip keeps a pixel of its short side


def place_image(image: np.ndarray, placement: Placement, canvas: tuple[int, int]) -> np.ndarray:
    """``H W 3`` uint8 at original size -> ``*canvas 3`` uint8, zero where no image is."""
    height, width = placement.size
    placed = np.zeros((*canvas, 3), np.uint8)
    # Two-tap bilinear without antialiasing: what the published models were trained with.
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    placed[:height, :width] = resized[:, ::-1] if placement.flip else resized
    return placed


def place_instances(
    masks: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    placement: Placement,
    canvas: tuple[int, int],
    max_instances: int,
    mask_strides: tuple[int, ...],
) -> tuple[Instances, int]:
    """Ground truth at original size -> padded ``Instances`` of one image, and how many it lacks.

    Masks are resized to nearest neighbours and shrunk by the published rule: a pixel of the target
    is 1 where at least 2 of the central 2 x 2 pixels of its stride x stride block are. Instances
    without a pixel or with a box below one pixel after resizing take no part.

    Args:
      masks: ``n H W`` uint8 0 or 1, original pixels.
      boxes: ``n 4`` x0 y0 x1 y1, original pixels.
      labels: ``n`` int.
      placement: of the image on the canvas.
      canvas: (height, width), multiples of every stride.
      max_instances: ``N``; of more than that the smallest are left out.
      mask_strides: even numbers, network pixels per pixel of a target, each way.
    """
    boxes = _place_boxes(np.asarray(boxes, np.float32).reshape(-1, 4), placement)
    rows = _source(placement.original[0], placement.size[0])
    columns = _source(placement.original[1], placement.size[1])
    if placement.flip:
        columns = columns[::-1]
    centers, areas = _measure(masks, rows, columns)
    usable = (areas > 0) & (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    kept = np.flatnonzero(usable)
    dropped = max(len(kept) - max_instances, 0)
    if dropped:
        # Order decides who wins a cell, so the largest are chosen but stay in their order.
        kept = np.sort(kept[np.argsort(-areas[kept], kind="stable")[:max_instances]])
    used = len(kept)

    def pad(values: np.ndarray, dtype: type) -> np.ndarray:
        padded = np.zeros((max_instances, *values.shape[1:]), dtype)
        padded[:used] = values[kept]
        return padded

    return Instances(
        masks={
            stride: pad(_shrink(masks, rows, columns, canvas, stride), np.uint8)
            for stride in sorted(set(mask_strides))
        },
        boxes=pad(boxes, np.float32),
        centers=pad(centers, np.float32),
        labels=pad(np.asarray(labels), np.int32),
        valid=np.arange(max_instances) < used,
    ), dropped


def _place_boxes(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    height, width = placement.size
    scale = np.array(
        [width / placement.original[1], height / placement.original[0]] * 2, np.float32
    )
    placed = np.clip(boxes * scale, 0, np.array([width, height] * 2, np.float32))
    if placement.flip:
        placed[:, [0, 2]] = width - placed[:, [2, 0]]
    return placed


def _shrink(
    masks: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    canvas: tuple[int, int],
    stride: int,
) -> np.ndarray:
    """``n H W`` -> targets ``n H/stride W/stride`` on the canvas, by the central 2 x 2 rule."""
    sampled = masks[:, _central(rows, canvas[0], stride)]
    sampled = sampled[:, :, _central(columns, canvas[1], stride)]
    sampled = sampled & (_central(rows, canvas[0], stride, outside=-1) >= 0)[:, None]
    sampled = sampled & (_central(columns, canvas[1], stride, outside=-1) >= 0)
    blocks = sampled.reshape(len(masks), canvas[0] // stride, 2, canvas[1] // stride, 2)
    return (blocks.sum((2, 4), dtype=np.uint8) >= 2).astype(np.uint8)


def _measure(
    masks: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres of mass ``n 2`` (x, y) and areas ``n`` of the resized masks, network pixels.

    Exact sums from the original masks: each source row and column counts as often as it was taken,
    and weighs as far out as where it went.
    """
    height, width = masks.shape[1:]
    weights = np.stack(_weights(columns, width), 1)
    across = np.zeros((len(masks), height, 2))  # n H (count, sum of x)
    for mask, sums in zip(masks, across, strict=True):  # one at a time: as floats they are large
        np.matmul(mask, weights, out=sums)
    row_count, row_sum = _weights(rows, height)
    areas = across[:, :, 0] @ row_count
    sums = np.stack([across[:, :, 1] @ row_count, across[:, :, 0] @ row_sum], 1)
    centers = sums.astype(np.float32) / np.maximum(areas, 1e-6).astype(np.float32)[:, None]
    return centers, areas


def _source(original: int, size: int) -> np.ndarray:
    """The source index of each pixel of a row resized to nearest neighbours, OpenCV's rule."""
    return np.minimum((np.arange(size) * (1 / (size / original))).astype(np.int64), original - 1)


def _central(source: np.ndarray, length: int, stride: int, outside: int = 0) -> np.ndarray:
    """Of ``source``, padded to ``length``, the central two of each ``stride``."""
    padded = np.full(length, outside)
    padded[: len(source)] = source
    middle = stride // 2
    return padded.reshape(-1, stride)[:, middle - 1 : middle + 1].reshape(-1)


def _weights(source: np.ndarray, original: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each source index is taken, and the sum of the places it is taken to."""
    count = np.bincount(source, minlength=original)
    places = np.bincount(source, weights=np.arange(len(source)), minlength=original)
    return count.astype(np.float64), places
