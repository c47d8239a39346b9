"""COCO folders of any layout that a training reads: to be divided, or to be laid out as usual."""

import collections
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from solojax import config
from solojax.data import annotations
from solojax.data.annotations import ids
from solojax.data.annotations.left_out import OF_IMPORT, Faults
from solojax.data.foreign.contents import STRICT, Import, Picture, Split
from solojax.data.foreign.files import check_name, folder_of, size_of
from solojax.data.foreign.texts import load
from solojax.data.records import layout
from solojax.types import InputError


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
            pictures.append(Picture(name, file, file.read_bytes, size, drawn, entries[key]))
    extra = {key: content[key] for key in content if key not in annotations.LISTS}
    return Split(content["categories"], pictures, found.findings, extra)


def _is_object(entry: Any) -> bool:
    return isinstance(entry, dict)
