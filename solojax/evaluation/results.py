"""Reads results that any program wrote in COCO's form, and checks them before they are scored.

Nothing unchecked reaches pycocotools, whose C code hangs on run lengths that do not add up, and
which scores NaN and masks of another size as if they were plain wrong.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from tqdm import tqdm

from solojax.data import annotations, json_lists, rle, segmentations
from solojax.data.findings import Findings, shorten
from solojax.evaluation import coco
from solojax.types import InputError

CHUNK = 4096  # masks that are checked at once


def read_truth(path: Path) -> tuple[dict[str, Any], Findings]:
    """Reads a COCO instances file; its images need not be there.

    Returns:
      What ``coco.mask_ap`` takes, and what people should hear of the file.

    Raises:
      InputError: the file is missing or not COCO, as ``annotations.read`` says.
    """
    _check_file(path)
    found = annotations.read(epath.Path(path), None)
    truth = coco.truth_of(
        [image.id for image in found.images],
        [(image.height, image.width) for image in found.images],
        [image.instances for image in found.images],
        found.categories,
    )
    return truth, found.findings


def read(path: Path, truth: dict[str, Any]) -> tuple[list[dict[str, Any]], coco.Kind]:
    """Reads a COCO results file.

    Masks may be run lengths, compressed or not, or polygons, as COCO has them. Where no entry has a
    segmentation they are boxes; where all have, a ``bbox`` beside it is left out.

    Args:
      path: of the JSON.
      truth: of the images that were looked at, from ``read_truth``.

    Returns:
      What ``scores.score`` takes, masks as compressed run lengths; and which of the two they are.

    Raises:
      InputError: the file is missing or no list of results, or entries are faulty; they are named
        by their place in the list, counted from 0.
    """
    _check_file(path)
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise InputError(f"{path} is not a COCO results file: it holds no list")
    # An empty list is legal: nothing was found.
    # Writers of boxes may leave the place of the mask empty.
    masks = not entries or any(isinstance(one, dict) and one.get("segmentation") for one in entries)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    category_ids = {category["id"] for category in truth["categories"]}
    results, problems = [], {}
    for number, entry in enumerate(
        tqdm(entries, "checking results", unit="", delay=json_lists.BAR_DELAY)
    ):
        try:
            results.append(_read_one(entry, sizes, category_ids, masks))
        except ValueError as error:
            problems[number] = str(error)
            results.append({})
    if masks:
        problems |= _faulty_runs(results)
    if problems:
        told = [f"results[{number}] {problems[number]}" for number in sorted(problems)]
        raise InputError(f"{path}: {shorten(told, len(told))}")
    return results, "segm" if masks else "bbox"


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a JSON file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")


def _read_one(
    entry: Any, sizes: dict[int, tuple[int, int]], category_ids: set[int], masks: bool
) -> dict[str, Any]:
    """One result, its compressed run lengths as yet unchecked.

    Raises:
      ValueError: what is wrong with it.
    """
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
    image_id, category_id = entry.get("image_id"), entry.get("category_id")
    if not segmentations.is_numbers([image_id]) or image_id not in sizes:
        raise ValueError(f"names the unknown image {image_id!r}")
    if not segmentations.is_numbers([category_id]) or category_id not in category_ids:
        raise ValueError(f"of image {image_id} names the unknown category {category_id!r}")
    name = _name(image_id, category_id)
    if "score" not in entry:
        raise ValueError(f"{name} has no score")
    if not segmentations.is_numbers([entry["score"]]):
        raise ValueError(f"{name} has the score {entry['score']!r}, which is no finite number")
    one = {"image_id": image_id, "category_id": category_id, "score": float(entry["score"])}
    if not masks:
        box: Any = entry.get("bbox")
        if not segmentations.is_numbers(box) or len(box) != 4 or min(box[2:]) < 0:
            raise ValueError(
                f"{name} has no bbox of four finite numbers (x y width height) and no segmentation"
            )
        return {**one, "bbox": [float(side) for side in box]}
    segmentation, size = entry.get("segmentation"), sizes[image_id]
    try:
        encoded = segmentations.unchecked_rle(segmentation, *size)
        return {**one, "segmentation": encoded or segmentations.to_rle(segmentation, *size)}
    except ValueError as error:
        raise ValueError(f"{name} has {error}") from None


def _faulty_runs(results: list[dict[str, Any]]) -> dict[int, str]:
    """The results whose run lengths are corrupt or do not add up to the image, by place."""
    faulty = {}
    places = [number for number, one in enumerate(results) if one]
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        if all(_add_up([results[number] for number in chunk])):
            continue
        for number in chunk:
            if not _add_up([results[number]])[0]:
                one = results[number]
                name = _name(one["image_id"], one["category_id"])
                faulty[number] = f"{name} has run lengths that do not add up to the image"
    return faulty


def _add_up(results: list[dict[str, Any]]) -> np.ndarray:
    """Which masks' run lengths do; none of them where one of them is corrupt."""
    masks = [one["segmentation"] for one in results]
    return rle.add_up([one["counts"] for one in masks], [math.prod(one["size"]) for one in masks])


def _name(image_id: int, category_id: int) -> str:
    return f"(image {image_id}, category {category_id})"
