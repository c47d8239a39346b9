"""Masks in the forms of other programs than COCO's: the lists of points in them, or their names."""

import re
from typing import Any

import numpy as np

from solojax.data.images import endings

AXES = (("x", "y"), ("all_points_x", "all_points_y"))
KINDS = ("type", "shape_type")  # keys that say what the points of an object are
HOLES = "polygons in polygons, holes or parts; write run lengths"
NO_SEGMENTATION = "no segmentation"
OBJECT = "an object that is no mask; write polygons, or run lengths as size and counts"
WKT = "polygons as WKT; write them as lists x y x y"
FILE = "the name of a mask file; data import pairs reads mask files"
NUMBERS = "numbers in a text, points or run lengths; write them as a list"
TEXT = "a text that is no mask; write polygons or run lengths"
TRIPLES = "points of three numbers; write x and y alone"
ODD = "polygons of an odd count of numbers; write x y x y"
ROWS = "rows of zeros and ones, not as many as the image has pixels"
SHOWN = (OBJECT, NUMBERS, TEXT)  # reasons that are clear with the value alone


class NoMaskError(ValueError):
    """An instance without a usable mask; the message is the reason."""


def is_foreign(segmentation: Any) -> bool:
    """Whether it is an object, and none of run lengths."""
    return isinstance(segmentation, dict) and not {"size", "counts"} & segmentation.keys()


def points_of(about: dict[str, Any]) -> list:
    """The points or polygons of an object of another program.

    Read are lists of x and of y, ``points``, ``exterior`` (Supervisely), and GeoJSON's polygons.

    Raises:
      NoMaskError: it has none, or has holes.
    """
    about = about["geometry"] if isinstance(about.get("geometry"), dict) else about
    if about.get("type") in ("Polygon", "MultiPolygon"):
        rings: Any = about.get("coordinates")
        parts = rings if about["type"] == "MultiPolygon" else [rings]
        if isinstance(parts, list) and all(isinstance(part, list) for part in parts):
            if any(len(part) > 1 for part in parts):
                raise NoMaskError(HOLES)
            return parts
    # A line, a circle or a rectangle may be written by points as well.
    elif all(str(about.get(key, "polygon")).lower() == "polygon" for key in KINDS):
        for x, y in ((about.get(x), about.get(y)) for x, y in AXES):
            if isinstance(x, list) and isinstance(y, list) and len(x) == len(y):
                return [list(point) for point in zip(x, y, strict=True)]
        if about.get("interior") or about.get("interiors"):
            raise NoMaskError(HOLES)
        for points in (about.get("exterior"), about.get("points")):
            if isinstance(points, dict):
                return points_of(points)
            if isinstance(points, list):
                return points
    raise NoMaskError(OBJECT if about else NO_SEGMENTATION)


def array_of(segmentation: list, height: int, width: int) -> np.ndarray | None:
    """``H W`` uint8 of a mask that is written pixel by pixel, in rows; None where it is not.

    Raises:
      NoMaskError: it is of another size than the image.
    """
    rows = len(segmentation)
    if rows < 2 or not all(isinstance(row, list) and row for row in segmentation):
        return None
    if not all(value in (0, 1) for row in segmentation for value in row):
        return None
    if rows == height and all(len(row) == width for row in segmentation):
        return np.array(segmentation, np.uint8)
    # A few polygons may lie in the image's first pixels.
    if rows > 8 and len({len(row) for row in segmentation}) == 1:
        raise NoMaskError(ROWS)
    return None


def numbers_in(text: str) -> list[str] | None:
    """The numbers of a text that holds several, and spaces and commas, and nothing else."""
    numbers = re.split(r"[\s,]+", text.strip())
    number = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
    return numbers if len(numbers) > 1 and all(map(number.fullmatch, numbers)) else None


def name_text(text: str) -> str:
    """What a text is that is no mask."""
    if not text.strip():
        return NO_SEGMENTATION
    if re.match(r"\s*(SRID=\d+;)?\s*(MULTI)?POLYGON\b", text, re.IGNORECASE):
        return WKT
    if text.strip().lower().endswith(endings.IMAGE_ENDINGS):
        return FILE
    return NUMBERS if numbers_in(text) else TEXT


def name_lists(lists: list[list]) -> str:
    """Why the innermost lists of numbers of a mask are no polygons; empty where none tells."""
    if len(lists) > 2 and all(len(one) == 3 for one in lists):
        return TRIPLES
    return ODD if any(len(one) > 6 and len(one) % 2 for one in lists) else ""
