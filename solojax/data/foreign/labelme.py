"""labelme: a JSON beside each image, with polygons, rectangles, circles and masks."""

import collections
import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask
from tqdm import tqdm

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
from solojax.data.foreign.files import (
    check_name,
    file_called,
    files_in,
    folder_of,
    images_in,
    load,
    size_in_frame,
    split_folders,
)
from solojax.data.foreign.labelme_shapes import Shape, from_base64, read_shape, rle_of
from solojax.data.image_files import IMAGE_ENDINGS
from solojax.types import InputError


class Drawing(NamedTuple):
    """One JSON."""

    path: Path
    image: str  # imagePath, with / between folders; empty where it names none
    stated: tuple[Any, Any]  # imageHeight, imageWidth
    shapes: list[Shape]


def read(source: Path) -> Import:
    """Reads the labelme JSONs below ``source``: polygons, boxes, circles and masks.

    Shapes of one label that share a ``group_id`` are one instance. All is train, unless ``source``
    has both folders ``train`` and ``val``. Classes are numbered from 1 in the order of their names.
    An image is looked for where ``imagePath`` says, then beside the JSON, then embedded in it, and
    is at last one beside it that is called as the JSON is. Its own size counts, not the one that
    the JSON states, unless the sides are exchanged by EXIF. Images without a JSON are left out.

    Raises:
      InputError: a JSON is not labelme's, a coordinate is no number, an image is missing.
    """
    source = folder_of(source)
    folders = split_folders(source) or {"train": source}
    findings = {split: Findings() for split in folders}
    drawings = {}
    for split, folder in folders.items():
        files = tqdm(files_in(folder, (".json",)), f"reading {split}", unit="file")
        drawings[split] = [_read_drawing(path, source, findings[split]) for path in files]
    ids = _number(
        (shape.label for drawn in drawings.values() for one in drawn for shape in one.shapes),
        findings["train"],
    )
    categories = categories_of({number: label for label, number in ids.items()})
    splits = {}
    for split, drawn in drawings.items():
        pictures = [
            _picture(one, source, ids, findings[split])
            for one in tqdm(drawn, f"measuring {split}", unit="image")
        ]
        named = {source / picture.name for picture in pictures}
        for image in images_in(folders[split], source, findings[split]):
            if image not in named:
                place = image.relative_to(source).as_posix()
                findings[split].add("lost", "images without a JSON left out", place)
        splits[split] = Split(categories, pictures, findings[split], {})
    return Import("labelme", source, splits)


def _number(labels: Iterable[str], findings: Findings) -> dict[str, int]:
    """Label -> category id, in the order of their names, or of their numbers where all are such."""
    known = sorted(set(labels))
    if all(label.isdecimal() and len(label) < 10 for label in known):
        known.sort(key=int)
    alike = collections.defaultdict(list)
    for label in known:
        alike[label.strip().casefold()].append(label)
    for group in alike.values():
        if len(group) > 1:
            cure = "make them one if they mean one class"
            what = "labels that differ by case or spaces alone, read as different classes"
            findings.add("doubtful", what, ", ".join(map(repr, group)), cure=cure)
    return {label: number for number, label in enumerate(known, 1)}


def _read_drawing(path: Path, source: Path, findings: Findings) -> Drawing:
    content = load(path, json.loads)
    shapes, image = content.get("shapes"), content.get("imagePath")
    sound = isinstance(shapes, list) and isinstance(image, str | None) and "imagePath" in content
    if not sound:
        raise InputError(f"{path} is not labelme's: no 'shapes' or no 'imagePath'; move it away")
    place = path.relative_to(source).as_posix()
    flags = content.get("flags")
    if isinstance(flags, dict) and any(flags.values()):
        findings.add("told", "images with a flag set; flags are not kept", place)
    read = [
        read_shape(shape, path, f"{place}: shapes[{number}]", findings)
        for number, shape in enumerate(content["shapes"])
    ]
    stated = content.get("imageHeight"), content.get("imageWidth")
    return Drawing(path, (image or "").replace("\\", "/"), stated, [one for one in read if one])


def _picture(drawing: Drawing, source: Path, ids: dict[str, int], findings: Findings) -> Picture:
    file, load = _find_image(drawing, source, findings)
    size = _size(drawing, load(), file, findings)
    objects = collections.defaultdict(list)
    for number, shape in enumerate(drawing.shapes):
        objects[shape.label, number if shape.group is None else repr(shape.group)].append(shape)
    instances: list[dict[str, Any]] = []
    for (label, _), shapes in objects.items():
        place = shapes[0].place
        if any(shape.mask for shape in shapes):
            rle = coco_mask.merge([rle_of(shape, drawing.path, size) for shape in shapes])
            instances += from_rle(rle, ids[label], findings, place)
        else:
            polygons = [shape.polygon for shape in shapes]
            instances += from_polygons(polygons, ids[label], size, findings, place)
    name = file.relative_to(source).as_posix()
    return Picture(name, drawing.path, load, size, instances, {})


def _size(drawing: Drawing, encoded: bytes, file: Path, findings: Findings) -> Size:
    """The size of an image in the frame of its shapes."""
    where = f"{drawing.path}: {file.name}"
    stated = drawing.stated
    size = size_in_frame(encoded, where, stated)
    if stated == size or not all(type(side) is int and side > 0 for side in stated):
        return size
    findings.add(
        "doubtful",
        "images of another size than their JSON states; its points are taken for pixels of the "
        "image as it is",
        f"{file.name} is {size[1]}x{size[0]}, not {stated[1]}x{stated[0]}",
        cure="put the images back that were drawn on if they were resized since",
    )
    return size


def _find_image(
    drawing: Drawing, source: Path, findings: Findings
) -> tuple[Path, Callable[[], bytes]]:
    """The place of the image of a labelme file, within ``source``, and what loads it."""
    path, named = drawing.path, drawing.image or drawing.path.name
    beside = path.parent / check_name(PurePosixPath(named).name, path)
    if drawing.image:
        for place in (Path(os.path.abspath(path.parent / named)), beside):
            if place.is_relative_to(source) and (file := file_called(place)):
                return file, file.read_bytes
        if load(path, json.loads).get("imageData"):
            return beside, functools.partial(_embedded, path)
    for ending in IMAGE_ENDINGS:
        if file := file_called(path.with_suffix(ending)):
            what = "images that are not where imagePath says, taken from beside their JSON"
            findings.add("repaired", what, file.relative_to(source).as_posix())
            return file, file.read_bytes
    raise InputError(f"{path}: the image {named!r} is missing; put it beside the JSON")


def _embedded(path: Path) -> bytes:
    return from_base64(load(path, json.loads).get("imageData"), f"{path}: imageData")
