"""The three ways in which COCO writes a mask, and those near them, to compressed run lengths.

What has one meaning is read: a polygon that is no list of polygons, one that lies too deep, points
in pairs or as objects, run lengths in a list, fractions without a rest, JSON in a text, and
polygons of other programs (``mask_forms``).
"""

import ast
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.data.annotations import mask_forms, polygons
from solojax.data.annotations.mask_forms import HOLES, NO_SEGMENTATION, NoMaskError

FARTHEST = 100_000  # pixels; beyond that no coordinate is one of an image
EXCHANGED = "run lengths whose size is width, height; COCO's is height, width"
OTHER_SIZE = "run lengths of another size than the image"
DEEPEST = 8  # lists in lists
MOST_PARTS = 1000  # of a mask whose polygons are compared with each other


def ignore(_: str) -> None:
    """Tells nobody."""


def unchecked_rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """Compressed run lengths of an image of that size, as they are; None if it is no such text."""
    if isinstance(segmentation, dict) and segmentation.get("size") == [height, width]:
        counts = segmentation.get("counts")
        if isinstance(counts, str) and counts.isascii():
            return {"size": [height, width], "counts": counts.encode()}
    return None


def to_rle(
    segmentation: Any, height: int, width: int, tell: Callable[[str], None] = ignore
) -> dict[str, Any]:
    """Polygons, run lengths or compressed run lengths -> compressed run lengths.

    Args:
      segmentation: as a JSON holds it.
      height: of the image, pixels.
      width: likewise.
      tell: is called with what had to be read in another way than COCO's.

    Raises:
      NoMaskError: they are unusable; the message is the reason.
    """
    if isinstance(segmentation, str):
        segmentation = parse(segmentation)
        tell("masks written as text")
    if mask_forms.is_foreign(segmentation):
        segmentation = mask_forms.points_of(segmentation)
        tell("polygons in the form of another program")
    if isinstance(segmentation, list):
        if is_list_of_runs(segmentation):
            tell("run lengths in a list")
            return coco_mask.merge([_read_runs(part, height, width) for part in segmentation])
        if (array := mask_forms.array_of(segmentation, height, width)) is not None:
            tell("zeros and ones, pixel by pixel")
            return coco_mask.encode(np.asfortranarray(array))
        found = polygons_of(segmentation, tell)
        if any(max(one) > FARTHEST or min(one) < -FARTHEST for one in found):
            raise NoMaskError(f"a polygon point beyond {FARTHEST} pixels")
        return polygons.to_rle(found, height, width)
    if not isinstance(segmentation, dict):
        raise NoMaskError(NO_SEGMENTATION)
    return _read_runs(segmentation, height, width, tell)


def is_list_of_runs(segmentation: Any) -> bool:
    """Whether it is a list of run lengths, which are parts of one mask."""
    return (
        isinstance(segmentation, list)
        and bool(segmentation)
        and all(isinstance(one, dict) and "counts" in one for one in segmentation)
    )


def show(segmentation: Any, reason: str, height: int, width: int) -> str:
    """What is to be seen of a mask that cannot be read for that reason; may be empty."""
    if reason in (EXCHANGED, OTHER_SIZE) and isinstance(segmentation, dict):
        return f"size {segmentation.get('size')!r:.40}, of the image {[height, width]}"
    return f"{segmentation!r:.60}" if reason in mask_forms.SHOWN else ""


def polygons_of(segmentation: list, tell: Callable[[str], None] = ignore) -> list[list[float]]:
    """The polygons ``x y x y ...`` of three points or more that a list holds.

    Raises:
      NoMaskError: it holds none, or could mean several things.
    """
    # Fewer than three points enclose nothing; four numbers would be read as a box.
    plain = [one for one in segmentation if _is_polygon(one)]
    if plain:
        if len(plain) < len(segmentation):
            tell("masks without those of their polygons that have no three finite points")
        return plain
    if _is_polygon(segmentation):
        tell("polygons that are no list of polygons")
        return [segmentation]
    found = list(_rings(segmentation, DEEPEST))
    if not found:
        lists = list(_innermost(segmentation, DEEPEST))
        raise NoMaskError(mask_forms.name_lists(lists) or "no polygon of three finite points")
    if len(found) > MOST_PARTS:
        raise NoMaskError(f"more than {MOST_PARTS} polygons in lists of lists")
    boxes = np.array([(*_corner(one, min), *_corner(one, max)) for one in found])
    low, high = boxes[:, :2], boxes[:, 2:]
    within = ((low[:, None] >= low) & (high[:, None] <= high)).all(2)
    if within.sum() > len(found):  # each lies in itself
        raise NoMaskError(HOLES)
    tell("polygons of points in pairs, as objects, as text or too deep in lists")
    return found


def _rings(values: Any, depth: int) -> Iterator[list[float]]:
    """The polygons in lists in lists, of numbers or of points."""
    if not isinstance(values, list) or depth == 0:
        return
    flat: list[Any] = values
    if all(isinstance(one, dict) and {"x", "y"} <= one.keys() for one in values):
        flat = [one[axis] for one in values for axis in ("x", "y")]
    elif all(isinstance(one, list) and len(one) == 2 for one in values):
        flat = [item for one in values for item in one]
    numbers = [number(one) for one in flat]
    if _is_polygon(numbers):
        yield numbers
    else:
        for one in values:
            yield from _rings(one, depth - 1)


def _innermost(values: Any, depth: int) -> Iterator[list]:
    """The lists of numbers in lists in lists."""
    if is_numbers(values) and values:
        yield values
    elif isinstance(values, list) and depth:
        for one in values:
            yield from _innermost(one, depth - 1)


def _corner(polygon: list[float], choose: Callable[[list[float]], float]) -> tuple[float, float]:
    return choose(polygon[::2]), choose(polygon[1::2])


def _is_polygon(values: Any) -> bool:
    return is_numbers(values) and len(values) >= 6 and len(values) % 2 == 0


def number(value: Any) -> Any:
    """A number that is written as text; all else as it is."""
    if isinstance(value, str) and "_" not in value:
        try:
            return int(value) if value.strip().isdecimal() else float(value)
        except ValueError:
            pass
    return value


def parse(text: str) -> Any:
    """What a segmentation that is a text says; raises NoMaskError where it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict | list):
        return content
    # With spaces alone they may be run lengths as well.
    if "," in text and (numbers := mask_forms.numbers_in(text)):
        return [number(one) for one in numbers]
    raise NoMaskError(mask_forms.name_text(text))


def _read_runs(
    segmentation: dict, height: int, width: int, tell: Callable[[str], None] = ignore
) -> dict[str, Any]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size is None and counts:  # they must add up to the image
        size = [height, width]
        tell("run lengths without a size, as the image's")
    sides = [number(side) for side in size] if isinstance(size, list) else []
    if sides != [height, width]:
        raise NoMaskError(EXCHANGED if sides == [width, height] else OTHER_SIZE)
    given = counts
    if isinstance(counts, str):
        counts = mask_forms.numbers_in(counts) or counts
    if isinstance(counts, list):
        counts = [number(run) for run in counts]
    if sides != size or counts != given:
        tell("run lengths with numbers as text")
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):  # no run length begins so
        try:
            counts = ast.literal_eval(counts).decode("ascii")
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise NoMaskError("corrupt run lengths") from error
        tell("run lengths written as Python's bytes")
    if isinstance(counts, list) and all(
        isinstance(run, int) or (isinstance(run, float) and run.is_integer()) for run in counts
    ):
        runs = [int(run) for run in counts]
    elif isinstance(counts, str) and counts.isascii():
        try:
            runs = rle.read_runs([counts.encode()]).lengths.tolist()
        except ValueError as error:
            raise NoMaskError(str(error)) from error
    else:
        raise NoMaskError("corrupt run lengths" if isinstance(counts, str) else "no run lengths")
    if sum(runs) != height * width or min(runs, default=-1) < 0:
        raise NoMaskError("run lengths that do not add up to the image")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def is_numbers(values: Any) -> bool:
    """Whether it is a list of finite numbers."""
    if not isinstance(values, list):
        return False
    # Of most lists the sum tells, in a fifth of the time.
    if {int, float}.issuperset(map(type, values)):
        try:
            if math.isfinite(sum(values)):
                return True
        except OverflowError:
            pass
    return all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= sys.float_info.max
        for v in values
    )
