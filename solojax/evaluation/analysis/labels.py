"""Which labels to look at first: where what was found and what is labelled contradict each other.

What a network is sure of and nobody labelled, what is labelled and no detection of any score comes
near, and what fits an instance of another class: each is more often than not a fault of the labels,
the largest share of it in sets that were labelled once.
"""

from typing import Any

import numpy as np

from solojax.evaluation.analysis import causes
from solojax.evaluation.analysis.errors import BACKGROUND, FOREGROUND
from solojax.evaluation.metrics.coco import Scene

FITS = 0.75  # IoU from which on a detection is surely of that instance
MOST = 50  # of each kind that are listed

KINDS = {
    "unlabelled": "found with a high score where nothing is labelled: labels that may be missing",
    "unfound": "labelled, and no detection of any score lies there: labels that may be wrong",
    "class": "found as another class, with a mask that fits: classes that may be exchanged",
}


def doubtful(
    scenes: dict[int, Scene], floor: float, most: int, traits: causes.Traits
) -> dict[str, dict[str, Any]]:
    """Lists them by KINDS.

    What was not found says nothing where an image has no more detections to give.

    Args:
      scenes: from ``coco.overlap``, by image id, with detections of any score.
      floor: least score of what is sure.
      most: detections of a class in an image that count.
      traits: as of ``causes.split``.

    Returns:
      ``count`` and ``first``, the MOST that are doubted most: by score, and what was not found by
      area. Of each ``image_id``, ``category_id`` (of the label where there is one), ``score`` and
      ``found_as`` (of the detection), ``box`` (x y width height), ``truths`` (annotation ids) and
      ``results`` (places in the list of results).
    """
    listed: dict[str, list[tuple[float, dict[str, Any]]]] = {kind: [] for kind in KINDS}
    for image_id, scene in scenes.items():
        nearest = scene.ious.max(1, initial=0)
        classes = np.array([one["category_id"] for one in scene.truths], int)
        regular = np.array([not one["iscrowd"] for one in scene.truths], bool)
        for row, one in enumerate(scene.found):
            if one["score"] < floor:
                break  # they are sorted
            told = {"score": one["score"], "found_as": one["category_id"]}
            same = classes == one["category_id"]
            others = np.flatnonzero((scene.ious[row] >= FITS) & ~same & regular)
            if nearest[row] < BACKGROUND:
                entry = _entry(image_id, [], [one], told)
                listed["unlabelled"].append((one["score"], entry))
            elif len(others) and scene.ious[row][same].max(initial=0) < FOREGROUND:
                best = others[scene.ious[row, others].argmax()]
                entry = _entry(image_id, [scene.truths[best]], [one], told)
                listed["class"].append((one["score"], entry))
        reached = scene.ious.max(0, initial=0) >= BACKGROUND
        for column in np.flatnonzero(regular & ~reached).tolist():
            one = scene.truths[column]
            if causes.is_full(scene, one["category_id"], most, traits):
                continue
            listed["unfound"].append((one["area"], _entry(image_id, [one], [], {})))
    return {
        kind: {
            "count": len(ones),
            "first": [entry for _, entry in sorted(ones, key=lambda one: -one[0])[:MOST]],
        }
        for kind, ones in listed.items()
    }


def _entry(
    image_id: int,
    true: list[dict[str, Any]],
    found: list[dict[str, Any]],
    told: dict[str, Any],
) -> dict[str, Any]:
    (first, *_) = [*true, *found]
    return {
        "image_id": image_id,
        "category_id": first["category_id"],
        **told,
        "box": causes.around([first]),
        "truths": [one["id"] for one in true],
        "results": [one["id"] - 1 for one in found],
    }
