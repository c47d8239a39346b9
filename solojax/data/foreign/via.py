"""VGG Image Annotator, version 1 and 2: one JSON of all images and their regions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import STRICT, Import, OtherFormError, check_numbers, skip
from solojax.data.foreign.files import Finder, described_by, split_folders
from solojax.data.foreign.regions import (
    Drawing,
    Region,
    assemble,
    ellipse,
    fixed,
    rectangle,
    turned,
)
from solojax.data.foreign.texts import load
from solojax.types import InputError

CLASS_NAMES = ("class", "label", "category", "name", "type", "object")  # of the attribute it is in
OBJECT = "object"  # the class of regions without attributes
NUMBERS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
}


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the projects and annotations of VIA below ``source``, and the images beside them.

    The class of a region is the one attribute that regions have, or of several the one that is
    called ``class``, ``label``, ``category``, ``name``, ``type`` or ``object``. All is train,
    unless ``source`` has both folders ``train`` and ``val``.

    Raises:
      InputError: a JSON is not VIA's, a number is none, an image is missing, or several attributes
        may be the class.
    """
    source, given = described_by(source, ".json")
    folders = split_folders(source) or {"train": source}
    if len(given) == 1:  # of all images, whatever their folders are called
        folders = {"train": source}
    findings = {split: Findings() for split in folders}
    entries = {
        split: [
            (path, entry)
            for path in tqdm(given, f"reading {split}", unit="file")
            if path.is_relative_to(folder)
            for entry in _entries(path)
        ]
        for split, folder in folders.items()
    }
    if not any(entries.values()):
        raise OtherFormError(f"{source} has no JSON of VIA; export the annotations as JSON")
    key = _class_key([region for es in entries.values() for _, e in es for region in e[1]], source)
    drawings: dict[str, list[Drawing]] = {}
    for split, found in entries.items():
        finder, drawings[split] = Finder(folders[split]), []
        for path, (name, regions) in found:
            where = f"{path}: {name}"
            with faults.one_image(name):
                file = finder.find(name, where, path.parent)
                if file is None:
                    raise InputError(f"{where} is not below {folders[split]}; put the image there")
                told = findings[split]
                read = [
                    _read_region(region, key, f"{where}: region {n}", f"{name}: {n}", told)
                    for n, region in enumerate(regions)
                ]
                kept = [region for region in read if region]
                drawings[split].append(Drawing(path, file, file.read_bytes, (None, None), kept))
    return assemble("via", source, drawings, findings, faults)


def _entries(path: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """The file name of each image in a JSON, and its regions."""
    content = load(path, json.loads)
    if "_via_img_metadata" in content:
        content = content["_via_img_metadata"]
    images = list(content.values()) if isinstance(content, dict) else []
    found = []
    for image in images:
        name = image.get("filename") if isinstance(image, dict) else None
        regions = image.get("regions", []) if isinstance(image, dict) else None
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(name, str) or not isinstance(regions, list) or not name:
            raise OtherFormError(
                f"{path} is not VIA's, of version 1 or 2: an image has no 'filename' or 'regions'; "
                "export the annotations as JSON, or move it away"
            )
        if not all(isinstance(region, dict) for region in regions):
            raise InputError(f"{path}: {name}: a region is no object; correct or delete it")
        found.append((name, regions))
    return found


def _class_key(regions: list[dict[str, Any]], source: Path) -> str | None:
    """The attribute that tells the class, None where there are no attributes."""
    keys = {key: None for region in regions for key in _attributes(region)}
    if len(keys) < 2:
        return next(iter(keys), None)
    named = [key for name in CLASS_NAMES for key in keys if key.lower() == name]
    if not named:
        raise InputError(
            f"{source}: regions have the attributes {', '.join(map(repr, list(keys)[:5]))}; call "
            "the one of the class 'class'"
        )
    return named[0]


def _attributes(region: dict[str, Any]) -> dict[str, Any]:
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _read_region(
    region: dict[str, Any], key: str | None, where: str, place: str, findings: Findings
) -> Region | None:
    label = OBJECT if key is None else _attributes(region).get(key)
    if isinstance(label, dict):  # the boxes that are ticked
        ticked = [name for name, value in label.items() if value is True]
        label = ticked[0] if len(ticked) == 1 else None
    label = str(label) if isinstance(label, str | int | float) and str(label).strip() else None
    if label is None:
        skip(findings, "region without one class", place, "give it one or delete it")
        return None
    shape = region.get("shape_attributes")
    shape = shape if isinstance(shape, dict) else {}
    kind = shape.get("name")
    if kind == "polygon":
        columns = [shape.get(f"all_points_{axis}") for axis in "xy"]
        x, y = (check_numbers(column, where) for column in columns)
        if len(x) != len(y):
            raise InputError(f"{where} has {len(x)} x and {len(y)} y; correct or delete it")
        return Region(label, None, place, fixed(np.stack([x, y], 1)))
    if not isinstance(kind, str) or kind not in NUMBERS:
        cure = "draw a polygon, a rectangle, a circle or an ellipse in its place"
        skip(findings, f"region of shape {str(kind)[:40]}", place, cure)
        return None
    a, b, c, *rest = check_numbers([shape.get(name) for name in NUMBERS[kind]], where)
    if kind == "rect":
        return Region(label, None, place, fixed(rectangle((a, b), (a + c, b + rest[0]))))
    (theta,) = check_numbers([shape.get("theta") or 0], where)
    outline = ellipse((a, b), (abs(c), abs(rest[0] if rest else c)))
    return Region(
        label, None, place, fixed(turned(outline, (a, b), math.remainder(theta, math.tau)))
    )
