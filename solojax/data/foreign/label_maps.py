"""Label maps of sets in other forms -> COCO's panoptic annotations and their PNGs."""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import panoptic_ids, rle
from solojax.data.annotations import label_pngs
from solojax.data.annotations.instances import is_crowd
from solojax.data.annotations.mask_forms import NoMaskError
from solojax.data.annotations.segmentations import to_rle
from solojax.data.findings import Findings
from solojax.data.foreign.contents import Import, LabelMap, Picture, Size, Split
from solojax.data.foreign.mask_files import read_ids
from solojax.types import InputError


def give(
    pictures: list[Picture], paths: dict[Path, Path], categories: dict[int, tuple[int, int]]
) -> list[Picture]:
    """The pictures, each with the label map that a file of values is.

    Args:
      pictures: without label maps.
      paths: the file of each image.
      categories: category and crowd of the values; others are void.
    """
    return [
        one._replace(
            label_map=functools.partial(_of_values, paths[one.source], categories, one.size)
        )
        for one in pictures
    ]


def _of_values(path: Path, categories: dict[int, tuple[int, int]], size: Size) -> LabelMap:
    values = read_ids(path, path.name, Findings(), are_labels=True)
    label_pngs.check_size(path, values.shape, size)
    return LabelMap(values.astype(np.int64) + 1, {v + 1: one for v, one in categories.items()})


def take(found: Import, names: Collection[str]) -> Import:
    """Makes some classes stuff: label maps have them, and nobody tells their instances apart.

    Raises:
      InputError: a name is none of the classes.
    """
    known = {one["name"] for content in found.splits.values() for one in content.categories}
    if unknown := [one for one in names if one not in known]:
        if not known:
            raise InputError(f"--stuff {unknown[0]}: all classes are stuff here; leave it out")
        raise InputError(
            f"--stuff {unknown[0]} is none of the classes {', '.join(sorted(known))}; correct it"
        )
    return found._replace(splits={k: _take(one, names) for k, one in found.splits.items()})


def _take(content: Split, names: Collection[str]) -> Split:
    stuff = [one for one in content.categories if one["name"] in names]
    taken = {one["id"] for one in stuff}
    pictures = []
    for picture in content.pictures:
        rest = [one for one in picture.instances if one["category_id"] not in taken]
        label_map = picture.label_map or functools.partial(_compose, picture, taken)
        pictures.append(picture._replace(instances=rest, label_map=label_map))
    things = [one for one in content.categories if one not in stuff]
    every = [*(content.stuff or ()), *stuff]
    return content._replace(categories=things, stuff=every, pictures=pictures)


def _compose(picture: Picture, stuff: Collection[Any]) -> LabelMap:
    """Instances over crowds over what is stuff, in their order; stuff is one segment a class."""
    layers: list[tuple[int, Any, dict[str, Any]]] = []
    for one in picture.instances:
        try:
            crowd = is_crowd(one.get("iscrowd"))
            mask = to_rle(one["segmentation"], *picture.size)
        except NoMaskError:  # told of when it was read
            continue
        layer = 0 if one["category_id"] in stuff else 1 if crowd else 2
        layers.append((layer, one["category_id"], mask))
    ids = np.zeros(picture.size, np.int64)
    segments: dict[int, tuple[int, int]] = {}
    known: dict[Any, int] = {}
    for layer, category, mask in sorted(layers, key=lambda one: one[0]):
        number = known.get(category) if not layer else None
        if number is None:
            number = len(segments) + 1
            segments[number] = category, int(layer == 1)
            if not layer:
                known[category] = number
        (patch,), ((top, left),) = rle.decode_patches([mask["counts"]], picture.size[0])
        view = ids[top : top + patch.shape[0], left : left + patch.shape[1]]
        view[patch > 0] = number
    return LabelMap(ids, segments)


def encode(label_map: LabelMap, file_name: str) -> tuple[bytes, dict[str, Any]]:
    """The PNG of a label map, and its annotation but for the image's id."""
    ids = np.zeros(label_map.ids.shape, np.int32)
    segments: list[dict[str, Any]] = []
    numbers = np.where(np.isin(label_map.ids, [*label_map.segments]), label_map.ids, 0)
    for value, mask in rle.rles_of(numbers):
        category, crowd = label_map.segments[value]
        number = len(segments) + 1
        ids[numbers == value] = number
        about = {"id": number, "category_id": category, "iscrowd": crowd}
        box, area = coco_mask.toBbox(mask).tolist(), int(coco_mask.area(mask))
        segments.append({**about, "bbox": box, "area": area})
    return panoptic_ids.to_png(ids), {"file_name": file_name, "segments_info": segments}


def cut(picture: Picture, window: tuple[int, int, int, int]) -> LabelMap:
    """What a window (top, left, bottom, right) shows of the label map of a picture."""
    assert picture.label_map is not None
    top, left, bottom, right = window
    whole = picture.label_map()
    return whole._replace(ids=whole.ids[top:bottom, left:right])
