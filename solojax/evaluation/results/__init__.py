"""Reads results that any program wrote in COCO's form, and checks them before they are scored.

Nothing unchecked reaches pycocotools, whose C code hangs on run lengths that do not add up, and
which scores NaN and masks of another size as if they were plain wrong. What has one meaning is
read in it, such as a score that is a text, and told.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax import progress
from solojax.data import rle
from solojax.data.annotations import segmentations
from solojax.data.findings import Findings, shorten
from solojax.evaluation.metrics import coco
from solojax.evaluation.results import files, image_ids, truths
from solojax.types import InputError

SCORES = ("confidence", "conf", "probability", "prob", "scores")  # what others call it
CLASS_NAME = "category_name"  # which some write in place of the id
CHUNK = 4096  # masks that are checked at once


def read(
    path: Path,
    truth: dict[str, Any],
    findings: Findings,
    *,
    truth_path: Path,
    kind: coco.Kind | None = None,
) -> tuple[list[dict[str, Any]], coco.Kind]:
    """Reads a COCO results file.

    Masks may be run lengths, compressed or not, or polygons, as COCO has them. What is scored where
    no ``kind`` is asked for: masks where results and truth have any, else boxes. Masks' boxes stand
    in for those that are not there; a ``bbox`` beside a mask that is scored is left out.

    Args:
      path: of the JSON.
      truth: of the images that were looked at, from ``truths.read``.
      findings: what is told of it.
      truth_path: of the truth, for people.
      kind: what to score.

    Returns:
      What ``scores.score`` takes, masks as compressed run lengths; and what of them to score.

    Raises:
      InputError: the file is missing or no list of results, or entries are faulty; they are named
        by their place in the list, counted from 0.
    """
    entries = files.read(path, findings)
    image_ids.match(entries, truth, path, truth_path, findings)
    # An empty list is legal: nothing was found.
    # Writers of boxes may leave the place of the mask empty.
    masks = not entries or any(isinstance(one, dict) and one.get("segmentation") for one in entries)
    if kind is None:
        kind = "segm" if masks and truths.has_masks(truth) else "bbox"
        if entries and masks and kind == "bbox":
            what = f"results are scored by their boxes: {truth_path} has no masks"
            findings.add("told", what, count=len(entries))
    if kind == "segm":  # before results, which may be of the right size
        truths.check_sides(truth, truth_path)
    checked = _Checked(truth, findings, kind)
    problems = {}
    results: list[dict[str, Any]] = []
    for number, entry in enumerate(progress.bar(entries, "checking results", unit="")):
        try:
            results.append(checked.read(entry, number))
        except ValueError as error:
            problems[number] = str(error)
            results.append({})
    for number in _faulty_runs(results):
        try:
            results[number] |= checked.mask_of(entries[number], results[number]["image_id"], number)
        except ValueError as error:
            one = results[number]
            problems[number] = f"{_name(one['image_id'], one['category_id'])} has {error}"
    if problems:
        told = [f"results[{number}] {problems[number]}" for number in sorted(problems)]
        hint = checked.hint(entries)
        raise InputError(f"{path}: {shorten(told, len(told))}{hint and '; ' + hint}")
    if kind == "bbox":
        results = [_by_box(one) for one in results]
    return results, kind


class _Checked:
    """Checks results against the images and categories of a truth."""

    def __init__(self, truth: dict[str, Any], findings: Findings, kind: coco.Kind):
        self._sizes = truths.sizes(truth)
        self._categories = {category["id"] for category in truth["categories"]}
        self._named: dict[Any, list[int]] = {}
        for category in truth["categories"]:
            self._named.setdefault(category["name"], []).append(category["id"])
        self._findings, self._kind = findings, kind

    def read(self, entry: Any, number: int) -> dict[str, Any]:
        """One result, its compressed run lengths as yet unchecked.

        Raises:
          ValueError: what is wrong with it.
        """
        if not isinstance(entry, dict):
            raise ValueError("is not an object")
        for key in ("image_id", "category_id"):
            if key not in entry and (key == "image_id" or CLASS_NAME not in entry):
                raise ValueError(f"has no {key}; it has {', '.join(map(repr, entry)):.100}")
        image_id = self._number(entry, "image_id", number)
        if image_id not in self._sizes:
            raise ValueError(f"names the unknown image {entry.get('image_id')!r}")
        category_id = self._category(entry, number)
        if category_id not in self._categories:
            unknown = entry.get("category_id")
            raise ValueError(f"of image {image_id} names the unknown category {unknown!r}")
        name = _name(image_id, category_id)
        if "score" not in entry:
            other = next((f"; call its {key!r} so" for key in SCORES if key in entry), "")
            raise ValueError(f"{name} has no score{other}")
        score = self._number(entry, "score", number)
        if score is None:
            raise ValueError(f"{name} has the score {entry['score']!r}, which is no finite number")
        one = {"image_id": image_id, "category_id": category_id, "score": float(score)}
        box = self._box(entry, number)
        if self._kind == "bbox" and (box or not entry.get("segmentation")):
            if not truths.is_box(box):
                raise ValueError(
                    f"{name} has no bbox of four finite numbers (x y width height) and no "
                    "segmentation"
                )
            return {**one, "bbox": [float(side) for side in box]}
        segmentation, size = entry.get("segmentation"), self._sizes[image_id]
        if not segmentation and box:
            raise ValueError(f"{name} has no segmentation; --iou-type bbox scores boxes")
        try:
            encoded = segmentations.unchecked_rle(segmentation, *size)
            if encoded:
                return {**one, "segmentation": encoded}
            return one | self.mask_of(entry, image_id, number)
        except ValueError as error:
            raise ValueError(f"{name} has {error}") from None

    def _category(self, entry: dict[str, Any], number: int) -> Any:
        """The id, also by the name of a class that the truth has once."""
        named = entry.get(CLASS_NAME)
        ids = self._named.get(named, []) if isinstance(named, str) else []
        if named is not None and entry.get("category_id") is None:
            if len(ids) != 1:
                of = f"{len(ids)} classes of the truth have" if ids else "no class of the truth has"
                raise ValueError(f"has no category_id, and {of} its {CLASS_NAME} {named!r:.40}")
            what = f"results have a {CLASS_NAME} and no category_id: the class of that name"
            self._findings.add("repaired", what, f"results[{number}]: {named!r:.40}")
            return ids[0]
        given = entry["category_id"]
        if isinstance(given, str) and len(self._named.get(given, ())) == 1:
            what = "results have the name of a class as category_id"
            self._findings.add("repaired", what, f"results[{number}]: {given!r:.40}")
            return self._named[given][0]
        read = self._number(entry, "category_id", number)
        if ids and read not in ids:
            what = (
                f"results have the {CLASS_NAME} of another class than their category_id, by which "
            )
            what += "they are scored"
            cure = "leave out category_id where the names are right"
            shown = f"results[{number}]: {read} and {named!r:.40}"
            self._findings.add("doubtful", what, shown, cure=cure)
        return read

    def _box(self, entry: dict[str, Any], number: int) -> Any:
        """As it is, but for numbers that are texts."""
        box = entry.get("bbox")
        if not (isinstance(box, list) and any(isinstance(side, str) for side in box)):
            return box
        what = "results have texts in their bbox, read as numbers"
        self._findings.add("repaired", what, f"results[{number}]")
        return [_as_number(side) for side in box]

    def mask_of(self, entry: dict[str, Any], image_id: int, number: int) -> dict[str, Any]:
        """The ``segmentation`` of a result, checked.

        Raises:
          ValueError: what is wrong with it.
        """

        def tell(what: str) -> None:
            self._findings.add("repaired", f"results are read: {what}", f"results[{number}]")

        size = self._sizes[image_id]
        segmentation = entry.get("segmentation")
        try:
            return {"segmentation": segmentations.to_rle(segmentation, *size, tell)}
        except ValueError as error:
            shown = segmentations.show(segmentation, str(error), *size)
            raise ValueError(f"{error}{shown and ': '}{shown}") from None

    def hint(self, entries: list[Any]) -> str:
        """What the ids tell where they are not the truth's; empty where they tell nothing."""
        for key, known in (("image_id", set(self._sizes)), ("category_id", self._categories)):
            objects = [entry for entry in entries if isinstance(entry, dict)]
            numbers = (_as_number(entry.get(key)) for entry in objects)
            given = {number for number in numbers if number is not None}
            if not given or not known or given <= known:
                continue
            span = f"{key} is {min(given)} to {max(given)} here, {min(known)} to {max(known)}"
            if key == "category_id" and {one + 1 for one in given} <= known:
                return f"{span} in the truth; it seems to be counted from 0: add 1"
            if not given & known:
                cure = "; predict with --gt gives those of the truth" if key == "image_id" else ""
                return f"{span} in the truth, with none in common{cure}"
        return ""

    def _number(self, entry: dict[str, Any], key: str, place: int) -> Any:
        """A value as a number, None where it is none; told where it was a text."""
        value = entry.get(key)
        number = _as_number(value)
        if isinstance(value, str) and number is not None:
            what = f"results have a text as {key}, read as a number"
            self._findings.add("repaired", what, f"results[{place}]")
        return number


def _as_number(value: Any) -> int | float | None:
    """A finite number, also one that is written as a text; whole ones as int."""
    value = segmentations.number(value)
    if not segmentations.is_numbers([value]):
        return None
    return int(value) if value == int(value) else value


def _by_box(result: dict[str, Any]) -> dict[str, Any]:
    """With the box of its mask, and with its area as pycocotools has it then, where it has none."""
    if "bbox" in result:
        return result
    mask = result["segmentation"]
    return {**result, "bbox": coco_mask.toBbox(mask).tolist(), "area": float(coco_mask.area(mask))}


def _faulty_runs(results: list[dict[str, Any]]) -> list[int]:
    """The places of results whose run lengths are corrupt or do not add up to the image."""
    faulty = []
    places = [number for number, one in enumerate(results) if "segmentation" in one]
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        if all(_add_up([results[number] for number in chunk])):
            continue
        faulty += [number for number in chunk if not _add_up([results[number]])[0]]
    return faulty


def _add_up(results: list[dict[str, Any]]) -> np.ndarray:
    """Which masks' run lengths do; none of them where one of them is corrupt."""
    masks = [one["segmentation"] for one in results]
    return rle.add_up([one["counts"] for one in masks], [math.prod(one["size"]) for one in masks])


def _name(image_id: int, category_id: int) -> str:
    return f"(image {image_id}, category {category_id})"
