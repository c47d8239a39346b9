"""COCO folders of any layout that a training reads: to be divided, or to be laid out as usual."""

import collections
import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from solojax import config
from solojax.data import annotations
from solojax.data.annotations import ids, label_pngs, panoptic
from solojax.data.annotations.left_out import OF_IMPORT, Faults
from solojax.data.foreign.contents import (
    STRICT,
    Import,
    LabelMap,
    Picture,
    Split,
    categories_of,
    instance_of,
)
from solojax.data.foreign.files import check_name, folder_of, size_of
from solojax.data.foreign.texts import load
from solojax.data.records import layout
from solojax.types import IGNORED, InputError


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads a COCO folder, or the folder of the JSON that is given; checked as for a training.

    Entries of images, annotations and categories stay as they are, ids among them, but for
    ``file_name``, which becomes the image's path, and sides that are absent.

    Raises:
      InputError: there is no JSON in a usual place, or a set is not sound.
    """
    root, data = source, faults.data
    if source.is_file() and source.suffix.lower() == ".json":
        path = Path(os.path.abspath(source))
        root = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        data = dataclasses.replace(data, train_json=path.relative_to(root).as_posix())
    data = dataclasses.replace(data, root=str(folder_of(root)))
    # With one JSON given, another is no split of it.
    wanted: tuple[layout.Split, ...] = ("train",) if data.train_json else ("train", "val")
    places = {
        split: layout.locate(data, split) for split in wanted if layout.has_split(data, split)
    }
    if not places:
        raise InputError(f"{source} has no JSON of COCO in a usual place; give the JSON itself")
    several = len({images for _, images in places.values()}) > 1
    splits: dict[str, Split] = {
        split: _read_split(data, *place, f"{split}/" if several else "", faults)
        for split, place in places.items()
    }
    return Import("coco", Path(data.root), splits)


def _read_split(
    data: config.Data, path: epath.Path, images: epath.Path, folder: str, faults: Faults
) -> Split:
    found = annotations.read(path, images, data=data, words=OF_IMPORT)
    if data.faults != "fail":
        faults.left_out += found.faults.left_out
    content = load(Path(path), json.loads)
    entries: dict[Any, dict[str, Any]] = {}
    for entry in filter(_is_object, content["images"]):
        entries.setdefault(ids.read(entry.get("id")), entry)
    by_image = collections.defaultdict(list)
    names = [one.id for one in (*found.categories, *(found.stuff or ()))]
    for entry in filter(_is_object, content["annotations"]):
        if ids.read(entry.get("category_id")) in found.category_ids:
            by_image[ids.read(entry.get("image_id"))].append(entry)
    keys = {image_id: key for key, image_id in found.image_ids.items()}
    pictures = []
    for image in tqdm(found.images, f"reading {path.name}", unit="image"):
        file, key = Path(image.path), keys[image.id]
        name = check_name(folder + image.path.relative_to(images).as_posix(), file)
        with faults.one_image(name):
            size_of(file.read_bytes(), file)
            size = image.height, image.width  # the JSON's, in which its coordinates are
            drawn = by_image[key] if image.instances else []
            if image.instances and not drawn:  # things of a panoptic JSON
                drawn = [_annotation_of(one, size, names) for one in image.instances]
            label_map = None
            if image.label_map is not None:
                panoptic.read_labels(image)
                label_map = functools.partial(_label_map, image, names)
            about = name, file, file.read_bytes, size, drawn, entries[key], label_map
            pictures.append(Picture(*about))
    extra = {key: content[key] for key in content if key not in annotations.LISTS}
    stuff = None
    if found.stuff is not None:
        stuff = categories_of({one.id: one.name for one in found.stuff})
    things = [one for one in content["categories"] if not (_is_object(one) and _is_stuff(one))]
    return Split(things, pictures, found.findings, extra, stuff)


def _annotation_of(
    one: annotations.Instance, size: tuple[int, int], categories: list[int]
) -> dict[str, Any]:
    mask = {"size": [*size], "counts": one.rle.decode()}
    encoded = {**mask, "counts": one.rle}
    return {"id": one.id} | instance_of(mask, encoded, categories[one.label], int(one.is_crowd))


def _label_map(image: annotations.Image, categories: list[int]) -> LabelMap:
    _, numbers, labels, crowd = image.label_map
    rows = zip(numbers.tolist(), labels.tolist(), crowd.tolist(), strict=True)
    segments = {
        number: (categories[label], int(one)) for number, label, one in rows if label != IGNORED
    }
    return LabelMap(
        label_pngs.read_ids(image.label_map.path, (image.height, image.width)), segments
    )


def _is_stuff(entry: dict[str, Any]) -> bool:
    return entry.get("isthing") == 0


def _is_object(entry: Any) -> bool:
    return isinstance(entry, dict)
