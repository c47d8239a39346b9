"""Polygons to compressed run lengths, as pycocotools makes them, in memory that has a bound.

pycocotools walks along polygons in fifths of a pixel and keeps every step, within the image or not:
four thousand characters of JSON can ask for gigabytes. Of what it walks, only the places matter at
which a border crosses from one column of the image to the next. Of long polygons these are computed
directly, by the same sums in the same order, so that the masks are the same to the bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

STEPS = 5  # of a pixel
MOST_STEPS = 2**21  # pycocotools takes 20 to 40 bytes for each
MOST_CROSSINGS = 2**20  # that are computed at once


def to_rle(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """The union of polygons ``x y x y ...`` of three points or more, each in pixels."""
    # No border is longer than its points times the larger side of the box around it, about.
    long = any(STEPS * len(one) * (max(one) - min(one)) > MOST_STEPS for one in polygons)
    if not long:
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return coco_mask.merge(
        [_long_to_rle(np.array(one, np.float64), height, width) for one in polygons]
    )


def _long_to_rle(polygon: np.ndarray, height: int, width: int) -> dict[str, Any]:
    starts = (STEPS * polygon.reshape(-1, 2) + 0.5).astype(np.int64)
    ends = np.roll(starts, -1, axis=0)
    pixels = height * width
    inside = np.zeros(pixels + 1, bool)  # where, column by column, the inside begins or ends
    most = max(1, MOST_CROSSINGS // width)
    for first in range(0, len(starts), most):
        found = _crossings(starts[first : first + most], ends[first : first + most], height, width)
        places, times = np.unique(found, return_counts=True)
        inside[places[times % 2 == 1]] ^= True
    runs = np.diff(np.flatnonzero(inside[:pixels]), prepend=0, append=pixels).tolist()
    encoded: dict[str, Any] = coco_mask.frPyObjects(
        {"size": [height, width], "counts": runs}, height, width
    )
    return encoded


def _crossings(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels, counted column by column, below which borders cross the middle of a column.

    Args:
      starts: of ``n`` borders, ``n 2`` int64, (x, y) in fifths of a pixel.
      ends: likewise.
      height: of the image, pixels.
      width: likewise.
    """
    along = np.abs(ends - starts)
    is_flat = along[:, 0] >= along[:, 1]
    # Walked along the longer axis, from its lower end.
    back = np.where(is_flat, starts[:, 0] > ends[:, 0], starts[:, 1] > ends[:, 1])[:, None]
    starts, ends = np.where(back, ends, starts), np.where(back, starts, ends)
    rise = np.where(is_flat, (ends - starts)[:, 1], (ends - starts)[:, 0])
    slopes = rise / np.maximum(along.max(1), 1)
    # Of a column's fifths, its middle is the border between the third and the fourth.
    thirds = STEPS * np.arange(width) + STEPS // 2
    low, high = np.minimum(starts[:, 0], ends[:, 0]), np.maximum(starts[:, 0], ends[:, 0])
    which, columns = np.nonzero((low[:, None] <= thirds) & (thirds < high[:, None]))
    third, slope, (x, y) = thirds[columns], slopes[which], starts[which].T
    flat = np.minimum(_walk(y, slope, third - x), _walk(y, slope, third - x + 1))
    steep = y + _last_steps(x, slope, third)
    fifths = np.where(is_flat[which], flat, steep)
    rows = np.ceil(np.clip((fifths + 0.5) / STEPS - 0.5, 0, height)).astype(np.int64)
    return columns * height + rows


def _last_steps(x: np.ndarray, slope: np.ndarray, third: np.ndarray) -> np.ndarray:
    """The steps along steep borders before which x goes from one of two fifths to the other."""
    rises = slope > 0
    step = np.floor((third + 0.5 - x) / np.where(slope == 0, 1, slope)).astype(np.int64) + 1
    for _ in range(2):  # the quotient may be off by one
        after = _walk(x, slope, step)
        step -= np.where(rises, after > third, after <= third)
    return step


def _walk(start: np.ndarray, slope: np.ndarray, step: np.ndarray) -> np.ndarray:
    return (start + slope * step + 0.5).astype(np.int64)
