"""Resizing, cropping, mirroring and pasting: NumPy functions of one example, nothing random.

All of the geometry is an upright scaling of a window, a mirror and a shift, so where a pixel of the
canvas comes from is two lists of source indices, one for rows, one for columns. At network size a
mask is held where it can be set, in the rectangle around it, and never for the whole canvas.
"""

from typing import NamedTuple

import cv2
import numpy as np

from solojax.data import rle
from solojax.types import Instances


class Placement(NamedTuple):
    """Where the original image, or a window of it, lies on the canvas, resized, maybe mirrored."""

    original: tuple[int, int]  # (height, width), original pixels
    size: tuple[int, int]  # (height, width) of what is shown, network pixels
    flip: bool = False  # left to right
    window: tuple[int, int, int, int] | None = None  # top left bottom right; None: all of it
    corner: tuple[int, int] = (0, 0)  # (top, left) of what is shown, network pixels


class Shapes(NamedTuple):
    """The ``n`` instances of one image at network size."""

    masks: list[np.ndarray]  # h w uint8 0 or 1 each, what can be set of it
    corners: np.ndarray  # n 2 int, (top, left) of each of masks on the canvas
    boxes: np.ndarray  # n 4 float32 x0 y0 x1 y1, network pixels
    labels: np.ndarray  # n int32
    crowd: np.ndarray  # n bool, regions of many instances that nobody told apart


NO_SHAPES = Shapes(
    [],
    np.zeros((0, 2), np.int64),
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.int32),
    np.zeros(0, bool),
)


def rescale_size(original: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """The (height, width) at which the short or the long side reaches its limit first."""
    scale = min(long_side / max(original), short_side / min(original))
    return int(original[0] * scale + 0.5), int(original[1] * scale + 0.5)


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


def place_image(image: np.ndarray, placement: Placement, canvas: np.ndarray) -> np.ndarray:
    """Draws an image, ``H W 3`` uint8 at original size, onto ``canvas``.

    Returns:
      The part of ``canvas`` that it fills, ``*placement.size 3``, a view.
    """
    (top, left), (height, width) = placement.corner, placement.size
    y0, x0, y1, x1 = _window(placement)
    view = canvas[top : top + height, left : left + width]
    # Two-tap bilinear without antialiasing: what the published models were trained with.
    resized = cv2.resize(
        image[y0:y1, x0:x1],
        (width, height),
        dst=None if placement.flip else view,
        interpolation=cv2.INTER_LINEAR,
    )
    if placement.flip:
        cv2.flip(resized, 1, dst=view)
    return view


def place_labels(labels: np.ndarray, placement: Placement, canvas: np.ndarray) -> None:
    """Draws a label map, ``H W`` uint8 at original size, onto ``canvas``, as masks are placed."""
    (top, left), (height, width) = placement.corner, placement.size
    rows, columns = _sources(placement)
    columns = columns[::-1] if placement.flip else columns
    canvas[top : top + height, left : left + width] = labels.take(columns, 1)[rows]


def place_shapes(
    masks: rle.Masks,
    boxes: np.ndarray,
    labels: np.ndarray,
    placement: Placement,
    crowd: np.ndarray | None = None,
) -> Shapes:
    """Ground truth at original size -> at network size, masks by nearest neighbours.

    Instances without a pixel there, or with a box below one pixel, are left out.

    Args:
      masks: ``n``, original pixels.
      boxes: ``n 4`` x0 y0 x1 y1, original pixels.
      labels: ``n`` int.
      placement: of the image on the canvas.
      crowd: ``n`` bool; None: there are no crowds.
    """
    placed = _place_boxes(np.asarray(boxes, np.float32).reshape(-1, 4), placement)
    large = (placed[:, 2:] - placed[:, :2] >= 1).all(1)
    rows, columns = _sources(placement)
    width = placement.size[1]
    sizes = np.array([patch.shape for patch in masks.patches], np.int64).reshape(-1, 2)
    ends = np.stack([masks.corners, masks.corners + sizes], 1)  # n 2 2, (first, end) of (y, x)
    row_ends = np.searchsorted(rows, ends[:, :, 0]).tolist()
    column_ends = np.searchsorted(columns, ends[:, :, 1]).tolist()
    kept, patches, corners = [], [], []
    for i in np.flatnonzero(large).tolist():
        (row, last_row), (column, last_column) = row_ends[i], column_ends[i]
        top, left = masks.corners[i]
        # Decoded patches run down their columns, which would make taking rows slow.
        patch = np.ascontiguousarray(masks.patches[i])
        patch = patch[rows[row:last_row] - top][:, columns[column:last_column] - left]
        if not patch.any():
            continue
        if placement.flip:
            patch, column = cv2.flip(patch, 1), width - last_column
        kept.append(i)
        patches.append(patch)
        corners.append((placement.corner[0] + row, placement.corner[1] + column))
    return Shapes(
        patches,
        np.array(corners, np.int64).reshape(-1, 2),
        placed[kept],
        np.asarray(labels, np.int32)[kept],
        np.zeros(len(kept), bool) if crowd is None else np.asarray(crowd, bool)[kept],
    )


def merge(parts: list[Shapes]) -> Shapes:
    """The instances of all ``parts``, which lie on one canvas, in their order."""
    masks = [mask for part in parts for mask in part.masks]
    return Shapes(masks, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))


def select(shapes: Shapes, chosen: np.ndarray) -> Shapes:
    """Some of the instances: ``chosen`` are their numbers."""
    masks, *columns = shapes
    return Shapes([masks[i] for i in chosen], *(column[chosen] for column in columns))


def draw_labels(shapes: Shapes, canvas: np.ndarray) -> None:
    """Draws the labels of instances upon a label map, ``H W`` uint8, the later ones on top."""
    for mask, label, view in zip(shapes.masks, shapes.labels, _views(canvas, shapes), strict=True):
        view[mask > 0] = label


def paste(image: np.ndarray, shapes: Shapes, source: np.ndarray, pasted: Shapes) -> Shapes:
    """Copies the instances ``pasted``, pixels included, from ``source`` onto ``image``.

    They come to lie above ``shapes``, whose masks lose what is covered; an instance that lost
    pixels gets the box of those it kept, and one that kept none is left out (Simple Copy-Paste,
    arXiv 2012.07177).

    Args:
      image: ``H W 3`` uint8, a canvas; drawn upon.
      shapes: of ``image``.
      source: ``H W 3`` uint8, another canvas of that size.
      pasted: of ``source``; among themselves they overlap as they do there.

    Returns:
      What is left of ``shapes``, then ``pasted``.
    """
    covered = np.zeros(image.shape[:2], np.uint8)
    for mask, view in zip(pasted.masks, _views(covered, pasted), strict=True):
        view |= mask
    np.copyto(image, source, where=covered[:, :, None].astype(bool))
    masks, boxes, kept = [], shapes.boxes.copy(), []
    for i, (mask, view) in enumerate(zip(shapes.masks, _views(covered, shapes), strict=True)):
        visible = mask & ~view
        masks.append(visible)
        if (mask & view).any():
            x, y, width, height = cv2.boundingRect(visible)
            top, left = shapes.corners[i]
            boxes[i] = left + x, top + y, left + x + width, top + y + height
            if not width:
                continue
        kept.append(i)
    seen = select(shapes._replace(masks=masks, boxes=boxes), np.array(kept, np.int64))
    return merge([seen, pasted])


def make_instances(
    shapes: Shapes, canvas: tuple[int, int], max_instances: int, mask_strides: tuple[int, ...]
) -> tuple[Instances, int]:
    """Instances of one image -> padded, with packed targets, and how many it lacks.

    Masks are shrunk by the published rule: a pixel of the target is 1 where at least 2 of the
    central 2 x 2 pixels of its stride x stride block are. Crowds follow the instances where there
    is room, and are not valid.

    Args:
      shapes: on a canvas.
      canvas: (height, width), multiples of every stride.
      max_instances: ``N``; of more than that the smallest are left out.
      mask_strides: network pixels per pixel of a target, each way: even numbers, or 1.
    """
    centers, areas = _measure(shapes)
    kept = np.flatnonzero(~shapes.crowd)
    dropped = max(len(kept) - max_instances, 0)
    if dropped:
        # Order decides who wins a cell, so the largest are chosen but stay in their order.
        kept = np.sort(kept[np.argsort(-areas[kept], kind="stable")[:max_instances]])
    used = len(kept)
    kept = np.concatenate([kept, np.flatnonzero(shapes.crowd)])[:max_instances]
    shapes = select(shapes, kept)

    def pad(values: np.ndarray) -> np.ndarray:
        padded = np.zeros((max_instances, *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        return padded

    return Instances(
        masks={
            stride: _shrink(shapes, canvas, stride, max_instances)
            for stride in sorted(set(mask_strides))
        },
        boxes=pad(shapes.boxes),
        centers=pad(centers[kept]),
        labels=pad(shapes.labels),
        valid=np.arange(max_instances) < used,
        crowd=pad(shapes.crowd),
    ), dropped


def _window(placement: Placement) -> tuple[int, int, int, int]:
    return placement.window or (0, 0, *placement.original)


def _sources(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of the original that what is shown comes from, before it is mirrored."""
    y0, x0, y1, x1 = _window(placement)
    return y0 + _source(y1 - y0, placement.size[0]), x0 + _source(x1 - x0, placement.size[1])


def _place_boxes(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    y0, x0, y1, x1 = _window(placement)
    height, width = placement.size
    origin = np.array([x0, y0] * 2, np.float32)
    scale = np.array([width / (x1 - x0), height / (y1 - y0)] * 2, np.float32)
    placed = np.clip((boxes - origin) * scale, 0, np.array([width, height] * 2, np.float32))
    if placement.flip:
        placed[:, [0, 2]] = width - placed[:, [2, 0]]
    return placed + np.array(placement.corner[::-1] * 2, np.float32)


def _views(canvas: np.ndarray, shapes: Shapes) -> list[np.ndarray]:
    """The part of a canvas, ``H W``, that each mask lies on."""
    return [
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
        for mask, (top, left) in zip(shapes.masks, shapes.corners, strict=True)
    ]


def _shrink(shapes: Shapes, canvas: tuple[int, int], stride: int, most: int) -> np.ndarray:
    """Targets by the central 2 x 2 rule, packed: ``most H/stride W/stride/8`` on the canvas."""
    targets = np.zeros((most, canvas[0] // stride, -(-canvas[1] // (8 * stride))), np.uint8)
    across = 8 * stride  # network pixels to a byte
    placed = zip(shapes.masks, shapes.corners.tolist(), targets, strict=False)
    for mask, (top, left), target in placed:
        height, width = mask.shape
        row, column = top // stride, left // across
        rows = -(-(top + height) // stride) - row
        columns = -(-(left + width) // across) - column
        blocks = np.zeros((rows * stride, columns * across), np.uint8)
        y, x = top - row * stride, left - column * across
        blocks[y : y + height, x : x + width] = mask
        # Two-tap bilinear shrinking by an even number is the mean of the central 2 x 2, and OpenCV
        # rounds a half up: 1 where at least two of them are. By 1 it changes nothing.
        shrunk = cv2.resize(blocks, (8 * columns, rows), interpolation=cv2.INTER_LINEAR)
        target[row : row + rows, column : column + columns] = np.packbits(
            shrunk.view(np.uint8), axis=-1
        )
    return targets


def _measure(shapes: Shapes) -> tuple[np.ndarray, np.ndarray]:
    """Centres of mass ``n 2`` float32 (x, y), areas ``n``, network pixels; the sums are exact."""
    moments = [cv2.moments(mask) for mask in shapes.masks]
    sums = np.array([(one["m10"], one["m01"], one["m00"]) for one in moments]).reshape(-1, 3)
    areas = sums[:, 2]
    sums = sums[:, :2] + shapes.corners[:, ::-1] * areas[:, None]
    return sums.astype(np.float32) / areas.astype(np.float32)[:, None], areas


def _source(original: int, size: int) -> np.ndarray:
    """The source index of each pixel of a row resized to nearest neighbours, OpenCV's rule."""
    return np.minimum((np.arange(size) * (1 / (size / original))).astype(np.int64), original - 1)
