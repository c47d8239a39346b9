"""Looks at all annotations of a set at once while they are read, one row for each.

Each may be fit to be read, and the set be wrong: all masks of crowds, points in parts of the image,
boxes that are corners. ``suspicions`` says what the rows tell.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from solojax.data.annotations import row_order
from solojax.data.findings import LISTED, Effect, Findings

DEEPEST = 4  # lists in lists in which points are looked for
MOST = 255  # masks whose areas pycocotools counts at once
EDGE = 0.5  # pixels; a mask that comes as near to its image's border may have been cut by it


class Rows(NamedTuple):
    """``n`` annotations; boxes are x0 y0 x1 y1 in original pixels, NaN where there is none."""

    ids: np.ndarray  # n int64
    image_ids: np.ndarray  # n int64
    frames: np.ndarray  # n 2 float32, width and height of the images
    extents: np.ndarray  # n 4 float32, around the points as they are written, else as ``masks``
    masks: np.ndarray  # n 4 float32, around the pixels of what was read
    stated: np.ndarray  # n 4 float32, ``bbox`` as it is written: x, y, width and height in COCO
    areas: np.ndarray  # n float32, ``area`` as it is written
    pixels: np.ndarray  # n float32, of what was read, 0 where nothing was
    crowd: np.ndarray  # n bool
    by_rows: np.ndarray  # n 4 float32, around masks read by rows (``row_order``), NaN of most
    striped: np.ndarray  # n bool, whether such a mask is whole by rows alone

    def take(self, which: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(*(column[which] for column in self))

    def add(
        self, findings: Findings, effect: Effect, what: str, which: np.ndarray, cure: str = ""
    ) -> None:
        """Adds what is true of some of the rows, ``which`` is n bool, by the ids of the first."""
        first = np.flatnonzero(which)[:LISTED]
        ids = zip(self.ids[first].tolist(), self.image_ids[first].tolist(), strict=True)
        places = [f"annotation {one} of image {image}" for one, image in ids]
        findings.add_all(effect, what, places, cure=cure, count=int(which.sum()))


class Survey:
    """Collects the rows of a set."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._sample = row_order.Sample()

    def see(self, entries: Sequence[Any], read: Sequence[Any]) -> None:
        """Takes some entries of a JSON.

        Args:
          entries: ``annotations.Entry``, with the annotation as it is written and its image.
          read: ``annotations.Instance`` that was read of each, or why none could be.
        """
        if not entries:
            return
        annotations = [one.annotation for one in entries]
        images = [one.image for one in entries]
        count = len(annotations)
        places = [number for number, one in enumerate(read) if not isinstance(one, str)]
        sizes = np.array([(image.width, image.height) for image in images], np.float64)
        masks, pixels = np.full((count, 4), math.nan), np.zeros(count)
        if places:
            encoded = [
                {"size": [images[n].height, images[n].width], "counts": read[n].rle} for n in places
            ]
            masks[places] = coco_mask.toBbox(encoded)
            pixels[places] = np.concatenate(
                [coco_mask.area(encoded[i : i + MOST]) for i in range(0, len(encoded), MOST)]
            )
            masks[:, 2:] += masks[:, :2]
        # Points beyond the border leave pixels at the border, or none: the others need no look.
        inside = (masks[:, :2] > EDGE).all(1) & (masks[:, 2:] < sizes - EDGE).all(1)
        extents = masks.copy()
        for number in np.flatnonzero(~inside).tolist():
            extent = _extent(annotations[number].get("segmentation"))
            if extent:
                extents[number] = extent
        rows = Rows(
            _integers(annotations, "id"),
            np.array([image.id for image in images], np.int64),
            sizes,
            extents,
            masks,
            _boxes(annotations),
            np.array([_area(one.get("area")) for one in annotations]),
            pixels,
            np.array([not isinstance(one, str) and one.is_crowd for one in read]),
            *self._sample.see(annotations, images, read),
        )
        with np.errstate(over="ignore"):
            self._parts.append(
                Rows(*(c.astype(np.float32) if c.dtype == np.float64 else c for c in rows))
            )

    def rows(self) -> Rows | None:
        """All that was seen; None where nothing was."""
        if not self._parts:
            return None
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [Rows(*(np.concatenate(column) for column in columns))]
        return self._parts[0]


def _integers(annotations: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    values = [one.get(key) for one in annotations]
    return np.array([v if type(v) is int and abs(v) < 2**63 else -1 for v in values], np.int64)


def _boxes(annotations: Sequence[dict[str, Any]]) -> np.ndarray:
    values: list[Any] = [one.get("bbox") for one in annotations]
    try:
        boxes = np.array(values, np.float64)
        if boxes.shape == (len(values), 4) and not any(bool in map(type, box) for box in values):
            return boxes
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array(
        [
            [_number(v) for v in box] if isinstance(box, list) and len(box) == 4 else [math.nan] * 4
            for box in values
        ]
    )


def _area(value: Any) -> float:
    area = _number(value)
    return area if area >= 0 else math.nan  # as one that is not there: the mask's is taken


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.nan
    return math.nan


def _extent(segmentation: Any) -> tuple[float, float, float, float] | None:
    """x0 y0 x1 y1 around the points of polygons; None of run lengths, and where there is none."""
    if isinstance(segmentation, dict):
        return None
    try:  # as COCO writes them, which is most of what there is
        x = [v for one in segmentation for v in one[0::2]]
        y = [v for one in segmentation for v in one[1::2]]
        if math.isfinite(sum(x) + sum(y)):
            return min(x), min(y), max(x), max(y)
    except (TypeError, KeyError, ValueError, OverflowError):  # a part may be a dictionary
        pass
    points = list(_numbers(segmentation))
    if len(points) < 2:
        return None
    x, y = points[0::2], points[1::2]
    return min(x), min(y), max(x), max(y)


def _numbers(segmentation: Any, depth: int = DEEPEST) -> Iterator[float]:
    """The numbers of polygons in whatever lists, x and y by turns; none of run lengths."""
    if isinstance(segmentation, list) and depth:
        for one in segmentation:
            if isinstance(one, list | dict):
                yield from _numbers(one, depth - 1)
            else:
                value = _number(one)
                if math.isfinite(value):
                    yield value
    elif isinstance(segmentation, dict) and "x" in segmentation and "y" in segmentation:
        yield from _numbers([segmentation["x"], segmentation["y"]])
