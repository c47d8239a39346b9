"""Reads a COCO JSON and checks it before anything else trusts it.

What makes the whole file doubtful is an error; single instances without a usable mask are skipped
and counted. Nothing unchecked reaches pycocotools, whose C code crashes on NaN coordinates and
hangs on run lengths that do not add up.
"""

import collections
import itertools
import json
import math
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from etils.epath import Path
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.config import Category
from solojax.data import rle
from solojax.data.segmentations import NoMaskError, is_numbers, to_rle, unchecked_rle
from solojax.types import InputError

MOST_PIXELS = 2**31  # run lengths are counted in 32 bits
LISTED = 20  # of many bad things, the first so many are named
CHUNK = 256  # instances whose run lengths are read at once
BAR_DELAY = 2  # seconds; what takes less needs no bar


class Instance(NamedTuple):
    """One annotation, in original pixels."""

    id: int
    label: int  # place of its category among those sorted by id
    rle: bytes  # compressed COCO run lengths
    box: tuple[float, float, float, float]  # x0 y0 x1 y1
    area: float  # as the JSON says: COCO's small/medium/large are judged by it
    center: tuple[float, float]  # (x, y) of mass, pixel indices
    is_crowd: bool


class Image(NamedTuple):
    """One image and what is in it."""

    id: int
    path: Path
    height: int
    width: int
    instances: list[Instance]


class Annotations(NamedTuple):
    """A checked COCO file."""

    categories: tuple[Category, ...]
    images: list[Image]
    skipped: dict[str, int]  # reason -> instances without a usable mask


def read(json_path: Path, image_root: Path | None) -> Annotations:
    """Reads and checks the annotations at ``json_path`` for the images under ``image_root``.

    Without a root no image has to be there, or to have a name.

    Raises:
      InputError: the file is missing or not COCO, an image file is missing, an annotation names an
        unknown image or category, ids repeat, or there is no annotation at all.
    """
    content = _parse(json_path)
    categories = _read_categories(content["categories"], json_path)
    images = _read_images(content["images"], json_path, image_root)
    labels = {category.id: label for label, category in enumerate(categories)}

    problems, skipped = [], collections.Counter[str]()
    seen, found = set[int](), list[_Found]()
    entries = tqdm(content["annotations"], "checking annotations", unit="", delay=BAR_DELAY)
    for number, annotation in enumerate(entries):
        if not isinstance(annotation, dict) or not _is_id(annotation.get("id")):
            problems.append(f"annotations[{number}] has no integer id")
            continue
        name = f"annotation {annotation['id']}"
        if annotation["id"] in seen:
            problems.append(f"{name} occurs twice")
        seen.add(annotation["id"])
        image = _find(images, annotation.get("image_id"))
        label = _find(labels, annotation.get("category_id"))
        if image is None:
            problems.append(f"{name} names the unknown image {annotation.get('image_id')!r}")
        elif label is None:
            problems.append(f"{name} names the unknown category {annotation.get('category_id')!r}")
        else:
            found.append(_Found(annotation, label, image))
            if len(found) == CHUNK:
                skipped.update(_add_instances(found))
                found.clear()
    skipped.update(_add_instances(found))
    if problems:
        raise InputError(f"{json_path}: {shorten(problems)}")
    if not any(image.instances for image in images.values()):
        why = f" with a usable mask ({_describe(skipped)})" if skipped else ""
        cure = "there is nothing to learn from it" if image_root else "results are scored by masks"
        raise InputError(f"{json_path}: no annotation{why}; {cure}")
    missing = _missing([image.path for image in images.values()]) if image_root else []
    if missing:
        raise InputError(
            f"{json_path}: {len(missing)} of {len(images)} image files are missing: "
            f"{shorten(missing, ', ')}; set data.train_images or data.val_images"
        )
    return Annotations(categories, list(images.values()), dict(skipped))


def read_bytes(json_path: Path) -> bytes:
    """The bytes of a JSON that a user named.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    try:
        return json_path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{json_path}: no such file; set data.root, data.train_json or data.val_json"
        ) from None
    except OSError as error:
        raise InputError(f"{json_path} cannot be read: {error.strerror}") from error


class _Found(NamedTuple):
    """An entry of the file, the label it names and the image."""

    annotation: dict
    label: int
    image: Image


def _parse(path: Path) -> dict[str, list]:
    encoded = read_bytes(path)
    try:
        content = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path} is not a COCO instances file: it has no list {key!r}")
    return content


def _read_categories(entries: list, path: Path) -> tuple[Category, ...]:
    categories = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            raise InputError(f"{path}: categories[{number}] has no integer id")
        name = entry["id"] if entry.get("name") is None else entry["name"]
        # Text that JSON can hold and no file can.
        name = str(name).encode(errors="replace").decode()
        categories.append(Category(entry["id"], name))
    if len({category.id for category in categories}) < len(categories):
        raise InputError(f"{path}: a category id occurs twice")
    if not categories:
        raise InputError(f"{path}: the list of categories is empty")
    return tuple(sorted(categories, key=lambda category: category.id))


def _read_images(entries: list, path: Path, root: Path | None) -> dict[int, Image]:
    images: dict[int, Image] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: images[{number}] is not an object")
        wanted = {"id": int, "file_name": str, "height": int, "width": int}
        if root is None:
            del wanted["file_name"]
        for key, kind in wanted.items():
            if type(entry.get(key)) is not kind or (kind is int and not _is_id(entry[key])):
                raise InputError(f"{path}: images[{number}] has no {kind.__name__} {key!r}")
        if entry["height"] < 1 or entry["width"] < 1:
            raise InputError(f"{path}: image {entry['id']} has a side below 1 pixel")
        if entry["height"] * entry["width"] >= MOST_PIXELS:
            raise InputError(f"{path}: image {entry['id']} has {MOST_PIXELS} pixels or more")
        if entry["id"] in images:
            raise InputError(f"{path}: image id {entry['id']} occurs twice")
        place = Path() if root is None else root / _name_of(entry, path)
        images[entry["id"]] = Image(entry["id"], place, entry["height"], entry["width"], [])
    return images


def _name_of(entry: dict, path: Path) -> PurePosixPath:
    """The name of an image file, which stays inside of the folder of images."""
    name = PurePosixPath(entry["file_name"].replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or "\0" in entry["file_name"]:
        raise InputError(
            f"{path}: image {entry['id']} has the file name {entry['file_name']!r}, "
            "which leads out of the folder of images"
        )
    if not name.parts:
        raise InputError(f"{path}: image {entry['id']} has no file name")
    return name


def _add_instances(found: list[_Found]) -> list[str]:
    """Gives instances to their images, in order; of those without a usable mask, the reasons."""
    instances, owners, reasons = [], [], []
    for one, sound in zip(found, _read_sound(found), strict=True):
        try:
            instances.append(_read_instance(one, sound))
            owners.append(one.image)
        except NoMaskError as error:
            reasons.append(str(error))
    centers = rle.centers_of([one.rle for one in instances], [image.height for image in owners])
    for instance, image, (x, y) in zip(instances, owners, centers.tolist(), strict=True):
        image.instances.append(instance._replace(center=(x, y)))
    return reasons


def _read_sound(found: list[_Found]) -> list[dict[str, Any] | None]:
    """The compressed run lengths among the masks, all checked at once; None for all others."""
    sound: list[dict[str, Any] | None] = [
        unchecked_rle(one.annotation.get("segmentation"), one.image.height, one.image.width)
        for one in found
    ]
    places = [number for number, one in enumerate(sound) if one]
    masks = [one for one in sound if one]
    fit = rle.add_up([one["counts"] for one in masks], [math.prod(one["size"]) for one in masks])
    for number, mask, fits in zip(places, masks, fit.tolist(), strict=True):
        # The same lengths can be written in several ways; merged, they are in pycocotools' own.
        sound[number] = coco_mask.merge([mask]) if fits else None
    return sound


def _read_instance(found: _Found, sound: dict[str, Any] | None) -> Instance:
    """An instance without its centre; ``sound`` are its run lengths if they are known already."""
    annotation, label, image = found
    encoded = sound or to_rle(annotation.get("segmentation"), image.height, image.width)
    area = float(coco_mask.area(encoded))
    if area == 0:
        raise NoMaskError("mask without a pixel")
    box: Any = annotation.get("bbox")
    if not is_numbers(box) or len(box) != 4 or min(box[2:]) <= 0:  # some exporters write zeros
        box = coco_mask.toBbox(encoded).tolist()
    x, y, width, height = map(float, box)
    stated: Any = annotation.get("area")
    return Instance(
        id=annotation["id"],
        label=label,
        rle=encoded["counts"],
        box=(x, y, x + width, y + height),
        area=float(stated) if is_numbers([stated]) else area,
        center=(math.nan, math.nan),
        is_crowd=annotation.get("iscrowd") in (1, "1"),  # some exporters write text
    )


def _missing(paths: list[Path]) -> list[str]:
    """Those that are no file; folders are listed, since a bucket answers slowly one by one."""
    names: dict[Path, set[str]] = {}
    for folder in {path.parent for path in paths}:
        there = folder.is_dir()
        names[folder] = {path.name for path in folder.iterdir()} if there else set()
    return [str(path) for path in paths if path.name not in names[path.parent]]


def _find(by_id: dict[int, Any], value: Any) -> Any:
    return by_id.get(value) if _is_id(value) else None


def _is_id(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def shorten(items: list[str], separator: str = "; ") -> str:
    """The first of many items, and how many more there are."""
    more = f"{separator}and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return separator.join(itertools.islice(items, LISTED)) + more


def _describe(skipped: dict[str, int]) -> str:
    return ", ".join(f"{count} skipped: {reason}" for reason, count in skipped.items())
