"""Supervisely: folders of ``img`` and ``ann``, a JSON for each image."""

import functools
import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.annotations.segmentations import to_rle
from solojax.data.findings import Findings
from solojax.data.foreign.contents import STRICT, Import, OtherFormError, Size, check_numbers, skip
from solojax.data.foreign.files import (
    SPELLINGS,
    decode,
    file_called,
    files_in,
    folder_of,
    from_base64,
    is_left_over,
)
from solojax.data.foreign.regions import Drawing, Region, assemble, fixed, paste, rectangle
from solojax.data.foreign.texts import load
from solojax.types import InputError

MOST_BYTES = 2**26  # of the PNG of one mask


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the data sets of a Supervisely project: polygons, rectangles and bitmaps.

    Data sets called ``train`` and ``val`` (in any usual spelling) make the splits; all others are
    train. Classes are those of ``meta.json`` that have a mask, in its order, numbered from 1.

    Raises:
      InputError: a JSON is not Supervisely's, a number is none, an image is missing.
    """
    source = folder_of(source)
    folders = sorted(
        path
        for path in source.rglob("ann")
        if (path.parent / "img").is_dir() and not is_left_over(path, source)
    )
    if not folders:
        raise OtherFormError(
            f"{source} has no folders 'ann' and 'img'; give the folder of a project"
        )
    meta = source / "meta.json"
    classes = load(meta, json.loads).get("classes") if meta.is_file() else []
    if not isinstance(classes, list | None):
        raise InputError(f"{meta} is not Supervisely's: 'classes' is no list; export it again")
    classes = [one.get("title") for one in classes or () if isinstance(one, dict)]
    drawings: dict[str, list[Drawing]] = {"train": [], "val": []}
    findings = {split: Findings() for split in drawings}
    for folder in folders:
        split = "val" if folder.parent.name.lower() in SPELLINGS["val"] else "train"
        for path in tqdm(files_in(folder, (".json",)), f"reading {split}", unit="file"):
            with faults.one_image(path.relative_to(source).as_posix()):
                drawings[split].append(_read_drawing(path, folder, source, findings[split]))
    if not drawings["train"] or not drawings["val"]:
        kept = "train" if drawings["train"] else "val"
        drawings, findings = {kept: drawings[kept]}, {kept: findings[kept]}
    known = [title for title in classes if isinstance(title, str)]
    return assemble("supervisely", source, drawings, findings, faults, known)


def _read_drawing(path: Path, folder: Path, source: Path, findings: Findings) -> Drawing:
    content = load(path, json.loads)
    objects, size = content.get("objects"), content.get("size")
    size = size if isinstance(size, dict) else {}
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
        raise OtherFormError(f"{path} is not Supervisely's: it has no list 'objects'; move it away")
    image = file_called(folder.parent / "img" / path.relative_to(folder).with_suffix(""))
    if image is None:
        raise InputError(f"{path}: img has no {path.stem!r}; put the image there")
    place = path.relative_to(source).as_posix()
    regions = [
        _read_object(one, f"{path}: objects[{n}]", f"{place}: objects[{n}]", findings)
        for n, one in enumerate(objects)
    ]
    stated = size.get("height"), size.get("width")
    return Drawing(path, image, image.read_bytes, stated, [one for one in regions if one])


def _read_object(one: dict, where: str, place: str, findings: Findings) -> Region | None:
    label, kind = one.get("classTitle"), one.get("geometryType")
    if not isinstance(label, str):
        raise InputError(f"{where} has no 'classTitle'; correct or delete it")
    if not label.strip():
        skip(findings, "object without a class", place, "give it one or delete it")
        return None
    bitmap, points = one.get("bitmap"), one.get("points")
    if kind == "bitmap" and isinstance(bitmap, dict):
        origin = check_numbers(bitmap.get("origin"), where)
        if len(origin) != 2:
            raise InputError(f"{where} has no origin of its bitmap; correct or delete it")
        mask = functools.partial(_bitmap, bitmap.get("data"), origin, where)
        return Region(label, None, place, fixed([]), mask)
    if kind in ("polygon", "rectangle") and isinstance(points, dict):
        inner = points.get("interior") or []
        if not isinstance(inner, list):
            raise InputError(f"{where}: 'interior' is no list; correct or delete it")
        outer, *holes = (_points(line, where) for line in (points.get("exterior"), *inner))
        if kind == "rectangle":
            if len(outer) != 2:
                raise InputError(f"{where} has {len(outer)} corners, not 2; correct or delete it")
            return Region(label, None, place, fixed(rectangle(outer.min(0), outer.max(0))))
        holes = [hole for hole in holes if len(hole) >= 3]
        region = Region(label, None, place, fixed(outer))
        if holes and len(outer) >= 3:
            region = region._replace(mask=functools.partial(_with_holes, outer, holes))
        return region
    cure = "draw a polygon, a rectangle or a mask in its place"
    skip(findings, f"object of type {str(kind)[:40]}", place, cure)
    return None


def _points(line: Any, where: str) -> np.ndarray:
    if not isinstance(line, list) or any(len(check_numbers(point, where)) != 2 for point in line):
        raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
    return np.array(line, float).reshape(-1, 2)


def _with_holes(outer: np.ndarray, holes: list[np.ndarray], size: Size) -> dict[str, Any]:
    polygons = [fixed(line)(size) for line in (outer, *holes)]
    drawn, *inner = (coco_mask.decode(to_rle([polygon], *size)) for polygon in polygons)
    for hole in inner:
        drawn &= 1 - hole
    return paste(drawn, (0, 0), size)


def _bitmap(data: Any, origin: list[float], where: str, size: Size) -> dict[str, Any]:
    """A mask as the bytes of a PNG, deflated and in base64, whose upper left is at ``origin``."""
    unpack = zlib.decompressobj()
    try:
        encoded = unpack.decompress(from_base64(data, f"{where}: its bitmap"), MOST_BYTES)
    except zlib.error:
        encoded = b""
    pixels = decode(encoded, cv2.IMREAD_UNCHANGED) if not unpack.unconsumed_tail else None
    if pixels is None:
        raise InputError(f"{where}: its bitmap is no deflated PNG; export it again or delete it")
    if pixels.ndim == 3:  # of four channels the last, alpha, is the mask
        pixels = np.asarray(pixels[..., -1] if pixels.shape[2] == 4 else pixels.any(-1))
    return paste(pixels > 0, (round(origin[1]), round(origin[0])), size)
