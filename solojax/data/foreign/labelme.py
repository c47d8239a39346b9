"""labelme: a JSON beside each image, with polygons, rectangles and circles."""

import base64
import collections
import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from solojax.data.foreign.contents import (
    SPLITS,
    Import,
    Picture,
    Skipped,
    Split,
    categories_of,
    check_numbers,
    from_polygons,
)
from solojax.data.foreign.files import check_name, files_in, folder_of, load, size_of
from solojax.types import InputError

LEAST_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2}  # the shapes of labelme with a mask
CIRCLE_ERROR = 0.1  # pixels between a circle and its polygon, at most


def read(source: Path) -> Import:
    """Reads the labelme JSONs below ``source``: polygons, rectangles and circles.

    Shapes of one label that share a ``group_id`` are one instance. All is train, unless ``source``
    has both folders ``train`` and ``val``. Classes are numbered from 1 in the order of their names.
    An image is looked for where ``imagePath`` says, then beside the JSON, then embedded in it; its
    own size counts, not the one that the JSON states. Images without a JSON are left out.

    Raises:
      InputError: a JSON is not labelme's, a coordinate is no number, an image is missing.
    """
    source = folder_of(source)
    folders = {split: source / split for split in SPLITS}
    if not all(folder.is_dir() for folder in folders.values()):
        folders = {"train": source}
    skipped = {split: Skipped() for split in folders}
    drawings = {}
    for split, folder in folders.items():
        files = tqdm(files_in(folder, (".json",)), f"reading {split}", unit="file")
        drawings[split] = [(path, *_read_drawing(path, skipped[split])) for path in files]
    labels = {shape[0] for drawn in drawings.values() for *_, shapes in drawn for shape in shapes}
    ids = {label: number for number, label in enumerate(sorted(labels), 1)}
    splits = {}
    for split, drawn in drawings.items():
        pictures = []
        for path, image, shapes in tqdm(drawn, f"measuring {split}", unit="image"):
            file, load = _find_image(path, image, source)
            size = size_of(load(), f"{path}: {file.name}")
            objects = collections.defaultdict(list)
            for number, (label, group, polygon) in enumerate(shapes):
                objects[label, number if group is None else repr(group)].append(polygon)
            instances: list[dict[str, Any]] = []
            for (label, _), polygons in objects.items():
                instances += from_polygons(polygons, ids[label], size, skipped[split])
            name = file.relative_to(source).as_posix()
            pictures.append(Picture(name, path, load, size, instances, {}))
        categories = categories_of({number: label for label, number in ids.items()})
        splits[split] = Split(categories, pictures, skipped[split], {})
    return Import("labelme", source, splits)


def _read_drawing(path: Path, skipped: Skipped) -> tuple[str, list[tuple[str, Any, list[float]]]]:
    """The image path of a labelme file, and of its shapes: label, group, polygon."""
    content = load(path, json.loads)
    shapes, image = content.get("shapes"), content.get("imagePath")
    if not isinstance(shapes, list) or not isinstance(image, str):
        raise InputError(f"{path} is not labelme's: no 'shapes' or no 'imagePath'; move it away")
    found = []
    for number, shape in enumerate(shapes):
        where = f"{path}: shapes[{number}]"
        label, points = (isinstance(shape, dict) and shape.get(k) for k in ("label", "points"))
        if not isinstance(label, str) or not isinstance(points, list):
            raise InputError(f"{where} has no 'label' or no 'points'; correct or delete it")
        kind = str(shape.get("shape_type") or "polygon")  # early versions knew polygons alone
        if kind not in LEAST_POINTS:
            skipped[f"shape of type {kind}"] += 1
        elif len(points) < LEAST_POINTS[kind]:
            skipped[f"{kind} of fewer than {LEAST_POINTS[kind]} points"] += 1
        elif any(len(check_numbers(point, where)) != 2 for point in points):
            raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
        else:
            found.append((label, shape.get("group_id"), _outline(kind, np.array(points, float))))
    return image.replace("\\", "/"), found


def _outline(kind: str, points: np.ndarray) -> list[float]:
    """The polygon x y x y ... of a shape of labelme that is given by points ``N 2``."""
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    elif kind == "circle":  # its centre, and a point on it
        radius = math.dist(points[0], points[1])
        corners = math.ceil(math.pi / math.acos(1 - CIRCLE_ERROR / max(radius, 1)))
        turn = np.arange(corners) * (2 * np.pi / corners)
        points = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], -1)
    return points.ravel().tolist()


def _find_image(path: Path, named: str, source: Path) -> tuple[Path, Callable[[], bytes]]:
    """The place of the image of a labelme file, within ``source``, and what loads it."""
    beside = path.parent / check_name(PurePosixPath(named).name, path)
    for file in (Path(os.path.abspath(path.parent / named)), beside):
        if file.is_relative_to(source) and file.is_file():
            return file, file.read_bytes
    return beside, functools.partial(_embedded, path, named)


def _embedded(path: Path, named: str) -> bytes:
    data = load(path, json.loads).get("imageData")
    if not data:
        raise InputError(f"{path}: the image {named!r} is missing; put it beside the JSON")
    try:
        return base64.b64decode(data)
    except (ValueError, TypeError):
        raise InputError(f"{path}: imageData is not base64; put the image beside it") from None
