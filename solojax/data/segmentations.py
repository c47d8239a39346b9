"""The three ways in which COCO writes a mask, each to compressed run lengths."""

import sys
from typing import Any

from pycocotools import mask as coco_mask

from solojax.data import rle

# pycocotools walks along polygons in steps of a fifth of a pixel, and counts them in 32 bits.
FARTHEST = 100_000


class NoMaskError(ValueError):
    """An instance without a usable mask; the message is the reason."""


def unchecked_rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """Compressed run lengths of an image of that size, as they are; None if it is no such text."""
    if isinstance(segmentation, dict) and segmentation.get("size") == [height, width]:
        counts = segmentation.get("counts")
        if isinstance(counts, str) and counts.isascii():
            return {"size": [height, width], "counts": counts.encode()}
    return None


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Polygons, run lengths or compressed run lengths -> compressed run lengths.

    Raises:
      ValueError: they are unusable; the message is the reason.
    """
    if isinstance(segmentation, list):
        # Fewer than three points enclose nothing; four numbers would be read as a box.
        polygons = [p for p in segmentation if is_numbers(p) and len(p) >= 6 and len(p) % 2 == 0]
        if not polygons:
            raise NoMaskError("no polygon of three finite points")
        if any(abs(value) > FARTHEST for polygon in polygons for value in polygon):
            raise NoMaskError(f"a polygon point beyond {FARTHEST} pixels")
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    if not isinstance(segmentation, dict):
        raise NoMaskError("no segmentation")
    if segmentation.get("size") != [height, width]:
        raise NoMaskError("run lengths of another size than the image")
    counts = segmentation.get("counts")
    if isinstance(counts, list) and all(isinstance(run, int) for run in counts):
        runs = counts
    elif isinstance(counts, str) and counts.isascii():
        try:
            runs = rle.read_runs([counts.encode()]).lengths.tolist()
        except ValueError as error:
            raise NoMaskError(str(error)) from error
    else:
        raise NoMaskError("no run lengths")
    if sum(runs) != height * width or min(runs, default=-1) < 0:
        raise NoMaskError("run lengths that do not add up to the image")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def is_numbers(values: Any) -> bool:
    """Whether it is a list of finite numbers."""
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= sys.float_info.max
        for v in values
    )
