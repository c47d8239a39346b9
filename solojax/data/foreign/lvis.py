"""LVIS: JSONs much like COCO's, with the classes that were looked for in each image."""

import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import (
    SPLITS,
    STRICT,
    Import,
    OtherFormError,
    Picture,
    Split,
    check_numbers,
    from_polygons,
    skip,
)
from solojax.data.foreign.files import check_name, folder_of, size_of
from solojax.data.foreign.texts import load
from solojax.types import InputError


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads ``lvis*_train.json`` and ``lvis*_val.json``, in ``source`` or in its ``annotations``.

    An image is ``file_name`` below ``source``, or the last two parts of ``coco_url``, such as
    ``val2017/000000397133.jpg``. Ids, names and all keys of images, annotations and categories are
    kept; boxes, areas and crowd flags are added where absent.

    Raises:
      InputError: a JSON is not LVIS's, a coordinate is no number, an image is missing or of another
        size than stated.
    """
    source, splits = folder_of(source), {}
    for split in SPLITS:
        folders = (source, source / "annotations")
        paths = sorted(path for folder in folders for path in folder.glob(f"lvis*_{split}.json"))
        if len(paths) > 1:
            raise InputError(f"{paths[0]} and {paths[1]} are both of {split}; move one elsewhere")
        if paths:
            splits[split] = _read_json(paths[0], source, split, faults)
    if not splits:
        raise OtherFormError(
            f"{source} has no lvis*_train.json or lvis*_val.json; give their folder"
        )
    return Import("lvis", source, splits)


def _read_json(path: Path, source: Path, split: str, faults: Faults) -> Split:
    content = load(path, json.loads)
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} is not an LVIS file: it has no list {key!r} of objects")
    known = {_id(entry, "id", path) for entry in content["categories"]}
    by_image: dict[int, list[dict]] = {_id(entry, "id", path): [] for entry in content["images"]}
    seen: set[int] = set()
    for entry in content["annotations"]:
        number, image, category = (_id(entry, k, path) for k in ("id", "image_id", "category_id"))
        if number in seen:
            raise InputError(f"{path}: annotation {number} occurs twice; number them anew")
        seen.add(number)
        if image not in by_image or category not in known:
            raise InputError(f"{path}: annotation {number} has no image or category; delete it")
        by_image[image].append(entry)
    pictures, findings = [], Findings()
    for entry in tqdm(content["images"], f"reading {split}", unit="image"):
        with faults.one_image(str(entry.get("file_name") or entry["id"])):
            names = [check_name(name, path) for name in _names(entry)]
            found_at = [
                name for name in names if os.path.isfile(source / name)
            ]  # unlike Path's, false
            if not found_at:  # of names that no file can have
                raise InputError(
                    f"{path}: the image {source / names[0]} is missing; put COCO's images there"
                )
            name, file = found_at[0], source / found_at[0]
            size, stated = (
                size_of(file.read_bytes(), file),
                (entry.get("height"), entry.get("width")),
            )
            if stated not in (size, (None, None)):
                raise InputError(f"{file}: height, width are {size}, not {stated} as in {path}")
            instances = []
            for annotation in by_image[entry["id"]]:
                place, polygons = f"annotation {annotation['id']}", annotation.get("segmentation")
                if not isinstance(polygons, list):
                    cure = "LVIS has polygons alone: export them again"
                    skip(findings, "a segmentation that is no list of polygons", place, cure)
                    continue
                polygons = [check_numbers(polygon, f"{path}: {place}") for polygon in polygons]
                found = from_polygons(polygons, annotation["category_id"], size, findings, place)
                instances += [{**instance, **annotation} for instance in found]
            pictures.append(Picture(name, file, file.read_bytes, size, instances, entry))
    extra = {key: content[key] for key in content if key not in ("images", "annotations")}
    return Split(extra.pop("categories"), pictures, findings, extra)


def _names(entry: dict[str, Any]) -> list[str]:
    """Where the image of an entry may lie; LVIS v0.5 has the names that COCO's had in 2014."""
    given, number = str(entry.get("file_name") or ""), f"{entry['id']:012}.jpg"
    names = [given, "/".join(str(entry.get("coco_url")).split("/")[-2:])]
    if given.startswith("COCO_") and given.endswith(number):
        names += [f"{folder}/{number}" for folder in ("train2017", "val2017")]
    return list(filter(None, names))


def _id(entry: dict[str, Any], key: str, path: Path) -> int:
    if type(entry.get(key)) is not int:
        raise InputError(f"{path}: an entry has no integer {key!r}: {str(entry)[:60]}; correct it")
    return entry[key]
