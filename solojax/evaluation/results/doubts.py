"""What a low score may come from other than what was found: told where arithmetic can tell it.

Where little overlaps, results are read in the other ways that programs write them: if many more
instances are found then, that is likely how they are meant.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from solojax.data.findings import Findings
from solojax.evaluation.metrics import coco
from solojax.evaluation.results import truths

LOW = 0.25  # AP50 below which other readings are tried
NOTHING = 0.01  # AP50 below which it is told that there is none
IOU = 0.5
ROUNDING = 1e-6  # of a score in 32 bits
MANY = 0.3  # of all instances have to be found by another reading,
MORE = 3  # and so many times as many as by the one that was taken
IMAGES = 500  # with instances, that are looked at


class _Boxes(NamedTuple):
    """Boxes of one image, or of all."""

    image_ids: np.ndarray  # n int
    categories: np.ndarray  # n int
    boxes: np.ndarray  # n 4 float, x y width height


# Of results, and with the width and height of their images, n 2.
Reading = Callable[[_Boxes, np.ndarray], _Boxes]
Form = Callable[[np.ndarray, np.ndarray], np.ndarray]  # likewise, of boxes


def look(
    truth: dict[str, Any],
    results: list[dict[str, Any]],
    scored: dict[str, Any],
    findings: Findings,
    *,
    truth_path: Path,
) -> None:
    """Adds why a score may be what it is.

    Args:
      truth: what was scored against.
      results: what was scored.
      scored: from ``scores.score``.
      findings: what is told.
      truth_path: for people.
    """
    true = [one for one in truth["annotations"] if not one["iscrowd"]]
    if not true:
        findings.add(
            "doubtful",
            f"instances of {truth_path}, all there are, are crowds (iscrowd 1): AP is -1",
            cure="set iscrowd to 0 where it is one object",
            count=len(truth["annotations"]),
        )
    if not results:
        findings.add("told", "results: AP is 0 where there are instances", count=0)
    _look_at_values(results, findings)
    if not (true and results) or scored["AP50"] >= LOW:
        return
    before, count, best = _try(truth, true, coco.best(results))
    found = f"instances are overlapped by a result of their class (IoU {IOU})"
    if best:
        many, how, cure = best
        what = f"of {count} {found}, and {many} {how}"
        findings.add("doubtful", what, cure=cure, count=before)
    elif scored["AP50"] < NOTHING:
        seen = {one["image_id"] for one in results} & {one["image_id"] for one in true}
        where = "" if seen else "; no image has both results and instances"
        findings.add(
            "doubtful",
            f"of {count} {found}{where}",
            cure=f"see that image ids, category ids and sizes are those of {truth_path}",
            count=before,
        )


def _look_at_values(results: list[dict[str, Any]], findings: Findings) -> None:
    empty = [
        number
        for number, one in enumerate(results)
        if "segmentation" in one and not coco_mask.area(one["segmentation"])
    ]
    places = [f"results[{number}]" for number in empty]
    findings.add_all("doubtful", "results have a mask without a pixel", places)
    beyond = [n for n, one in enumerate(results) if not 0 <= one["score"] <= 1 + ROUNDING]
    places = [f"results[{number}]: {results[number]['score']:g}" for number in beyond]
    what = (
        "results have a score outside of 0..1: AP goes by their order, the rest takes it as it is"
    )
    findings.add_all("told", what, places)


def _try(
    truth: dict[str, Any], true: list[dict[str, Any]], results: Sequence[dict[str, Any]]
) -> tuple[int, int, tuple[int, str, str] | None]:
    """Instances found as results are read, of how many, and by the best other reading.

    The reading is how many it finds, in words, and what to do.
    """
    ids = list(dict.fromkeys(one["image_id"] for one in true))[:IMAGES]
    chosen = set(ids)
    wanted = _boxes([one for one in true if one["image_id"] in chosen])
    found = _boxes(results)
    sizes = truths.sizes(truth)
    frames = np.array([sizes[one][::-1] for one in found.image_ids.tolist()], float)
    before = _found(wanted, found)
    best = None
    for how, cure, read in _readings(truth, found):
        many = _found(wanted, read(found, frames))
        least = max(MANY * len(wanted.boxes), MORE * before, best[0] + 1 if best else 1)
        if many >= least:
            best = many, how, cure
    return before, len(wanted.boxes), best


def _readings(truth: dict[str, Any], found: _Boxes) -> Iterator[tuple[str, str, Reading]]:
    """In words, what to do, and how results are read then."""
    cure = "bbox is x, y, width, height in pixels"
    for how, change in FORMS.items():
        yield (
            f"with their boxes as {how}",
            cure if "exchanged" not in how else "see that x and y are not exchanged",
            _formed(change),
        )
    for step in (1, -1):
        yield (
            f"with {step:+d} to their category_id",
            f"category_id is that of the truth: add {step}",
            _stepped(step),
        )
    given = sorted(set(found.image_ids.tolist()))
    images = truth["images"]
    orders = {
        "in the list of images": [image["id"] for image in images],
        "by file name": [i["id"] for i in sorted(images, key=lambda i: i.get("file_name", ""))],
        "by id": sorted(image["id"] for image in images),
    }
    for first in (0, 1):
        if given[0] < first or given[-1] >= len(images) + first:
            continue
        for how, order in orders.items():
            yield (
                f"with their image_id as a place {how}, counted from {first}",
                "give results the truth's ids, or a file_name; predict with --gt does",
                _placed(np.array(order), first),
            )


def _formed(change: Form) -> Reading:
    return lambda one, frames: one._replace(boxes=change(one.boxes, frames))


def _stepped(step: int) -> Reading:
    return lambda one, _: one._replace(categories=one.categories + step)


def _placed(places: np.ndarray, first: int) -> Reading:
    return lambda one, _: one._replace(image_ids=places[one.image_ids - first])


FORMS: dict[str, Form] = {
    "corners x0 y0 x1 y1": lambda b, _: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]),
    "a centre, width and height": lambda b, _: np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, 2:]]),
    "parts of the image's sides": lambda b, f: b * np.hstack([f, f]),
    "corners in parts of the image's sides": lambda b, f: (
        np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]) * np.hstack([f, f])
    ),
    "a centre, width and height in parts of the image's sides": lambda b, f: (
        np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, 2:]]) * np.hstack([f, f])
    ),
    "x and y exchanged": lambda b, _: b[:, [1, 0, 3, 2]],
}


def _boxes(annotations: Sequence[dict[str, Any]]) -> _Boxes:
    """Boxes as they are, else those of the masks."""
    boxes = [
        one["bbox"] if "bbox" in one else coco_mask.toBbox(one["segmentation"])
        for one in annotations
    ]
    return _Boxes(
        np.array([one["image_id"] for one in annotations]),
        np.array([one["category_id"] for one in annotations]),
        np.array(boxes, float).reshape(-1, 4),
    )


def _found(wanted: _Boxes, found: _Boxes) -> int:
    """How many boxes are overlapped by one of their image and class."""
    places = collections.defaultdict(list)
    for number, image_id in enumerate(found.image_ids.tolist()):
        places[image_id].append(number)
    # Sorted by image, its boxes are a slice.
    order = np.argsort(wanted.image_ids, kind="stable")
    image_ids, begins = np.unique(wanted.image_ids[order], return_index=True)
    count = 0
    for image_id, here in zip(image_ids.tolist(), np.split(order, begins[1:]), strict=True):
        there = np.array(places[image_id], int)
        boxes = found.boxes[there]
        sound = (boxes[:, 2:] > 0).all(1)
        there, boxes = there[sound], boxes[sound]
        if len(there):
            ious = coco_mask.iou(boxes, wanted.boxes[here], [0] * len(here))
            same = found.categories[there][:, None] == wanted.categories[here]
            count += int((same & (ious >= IOU)).any(0).sum())
    return count
