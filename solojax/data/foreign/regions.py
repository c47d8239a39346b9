"""What programs for drawing have in common: regions of a label, and how they become instances."""

import collections
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.data import rle
from solojax.data.annotations.left_out import Faults
from solojax.data.annotations.segmentations import to_rle
from solojax.data.findings import Findings
from solojax.data.foreign.contents import (
    Import,
    Picture,
    Size,
    Split,
    categories_of,
    from_polygons,
    from_rle,
)
from solojax.data.foreign.files import images_in, size_in_frame
from solojax.data.images.names import folded

CURVE_ERROR = 0.1  # pixels between a circle or an ellipse and its polygon, at most


class Region(NamedTuple):
    """One region; several may be an instance."""

    label: str
    group: Any  # what regions of one instance share, None where it is one by itself
    place: str  # for people: file and number
    polygon: Callable[[Size], list[float]]  # of an image of that size, x y x y ..., in pixels
    mask: Callable[[Size], dict[str, Any]] | None = None  # in its place: compressed run lengths


class Drawing(NamedTuple):
    """The regions of one image."""

    origin: Path  # the file that describes it
    image: Path  # its place within the source
    load: Callable[[], bytes]
    stated: tuple[Any, Any]  # height and width that are stated for it
    regions: list[Region]
    in_percent: bool = False  # drawn so, and therefore the same on images made larger or smaller


def assemble(
    form: str,
    source: Path,
    drawings: dict[str, list[Drawing]],
    findings: dict[str, Findings],
    faults: Faults,
    classes: Iterable[str] = (),
) -> Import:
    """A whole set of drawings, of which regions of one label and group are one instance.

    Args:
      form: what it is called.
      source: its folder.
      drawings: of each split.
      findings: of each split.
      faults: of the set.
      classes: those that are numbered first, in that order; others follow by their names.
    """
    ids = {label: number for number, label in enumerate(dict.fromkeys(classes), 1)}
    labels = {r.label for drawn in drawings.values() for one in drawn for r in one.regions}
    for label in _ordered(labels - ids.keys()):
        ids[label] = len(ids) + 1
    first = next(iter(findings.values()))
    _compare(sorted(ids), first)
    used = {one.image for drawn in drawings.values() for one in drawn}
    for image in images_in(source, source, first):
        if image not in used:
            place = image.relative_to(source).as_posix()
            first.add("lost", "images that no file describes left out", place)
    categories = categories_of({number: label for label, number in ids.items()})
    splits = {}
    for split, drawn in drawings.items():
        pictures = []
        for one in tqdm(drawn, f"measuring {split}", unit="image"):
            with faults.one_image(one.image.relative_to(source).as_posix()):
                pictures.append(_picture(one, source, ids, findings[split]))
        splits[split] = Split(categories, pictures, findings[split], {})
    return Import(form, source, splits)


def _picture(drawing: Drawing, source: Path, ids: dict[str, int], findings: Findings) -> Picture:
    name, encoded = drawing.image.relative_to(source).as_posix(), drawing.load()
    where = drawing.image if os.path.isfile(drawing.image) else f"{drawing.origin}: {name}"
    size = size_in_frame(encoded, where, drawing.stated, findings, drawing.in_percent)
    objects = collections.defaultdict(list)
    for number, region in enumerate(drawing.regions):
        objects[region.label, number if region.group is None else repr(region.group)].append(region)
    instances: list[dict[str, Any]] = []
    for (label, _), regions in objects.items():
        place = regions[0].place
        if any(region.mask for region in regions):
            parts = [r.mask(size) if r.mask else to_rle([r.polygon(size)], *size) for r in regions]
            instances += from_rle(coco_mask.merge(parts), ids[label], findings, place)
        else:
            polygons = [region.polygon(size) for region in regions]
            instances += from_polygons(polygons, ids[label], size, findings, place)
    return Picture(name, drawing.origin, drawing.load, size, instances, {})


def _ordered(labels: set[str]) -> list[str]:
    """By name, or by number where all are such."""
    if all(label.isdecimal() and len(label) < 10 for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _compare(labels: list[str], findings: Findings) -> None:
    alike = collections.defaultdict(list)
    for label in labels:
        alike[folded(label)].append(label)
    for group in alike.values():
        if len(group) > 1:
            cure = "make them one if they mean one class"
            what = "labels that differ by case or spaces alone, read as different classes"
            findings.add("doubtful", what, ", ".join(map(repr, group)), cure=cure)


def fixed(points: Any) -> Callable[[Size], list[float]]:
    """The polygon of points ``N 2`` in pixels, whatever the image."""
    polygon: list[float] = np.asarray(points, float).ravel().tolist()
    return lambda size: polygon


def rectangle(low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """The corners ``4 2`` of an upright box, clockwise from the upper left."""
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def ellipse(centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """A polygon ``N 2`` of an upright ellipse; radii (x, y)."""
    largest = max(*radii, 1)
    corners = math.ceil(math.pi / math.acos(1 - CURVE_ERROR / largest))
    turn = np.arange(corners) * (2 * np.pi / corners)
    return np.asarray(centre, float) + np.stack([np.cos(turn), np.sin(turn)], -1) * radii


def turned(points: np.ndarray, about: Sequence[float], radians: float) -> np.ndarray:
    """Points ``N 2`` turned clockwise, as it is seen, around another."""
    cos, sin = math.cos(radians), math.sin(radians)
    return (points - about) @ np.array([[cos, sin], [-sin, cos]]) + about


def paste(drawn: np.ndarray, corner: tuple[int, int], size: Size) -> dict[str, Any]:
    """A mask ``h w`` whose upper left pixel lies at (top, left) of an image -> run lengths.

    What lies outside of the image is cut off.
    """
    (top, left), (height, width) = corner, size
    inside = drawn[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    if not inside.size:
        inside, top, left = np.zeros((1, 1), bool), 0, 0
    counts = rle.encode_patch(inside.astype(np.uint8), (max(top, 0), max(left, 0)), size)
    return {"size": list(size), "counts": counts}
