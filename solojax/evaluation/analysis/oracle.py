"""Error analysis by oracle: the AP of a run if its masks, or its classes, were the true ones.

What an oracle adds is what the run's own masks, or classes, cost. The SOLO paper (error analysis)
replaces the masks of SOLO with ResNet-101 and goes from a mask AP of 37.1 to 68.1.
"""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.evaluation.metrics import coco


def masks(
    truth: dict[str, Any], results: dict[int, list[dict[str, Any]]]
) -> dict[int, list[dict[str, Any]]]:
    """Gives every prediction the ground-truth mask of its image that it overlaps most.

    By mask IoU, whatever the class; crowds are no candidates, and a prediction that overlaps
    nothing keeps its mask. Several predictions may come to bear the same mask, so this is no upper
    bound: all but the best of a class are wrong then, and one on a crowd may be drawn off it.

    Args:
      truth: a COCO dictionary as for ``coco.mask_ap``.
      results: by record number, in COCO's form, original pixels.

    Returns:
      The results, with their scores and in their order.
    """
    return _replace(truth, results, "segmentation")


def classes(
    truth: dict[str, Any], results: dict[int, list[dict[str, Any]]]
) -> dict[int, list[dict[str, Any]]]:
    """Gives every prediction the class of the ground truth of its image that it overlaps most.

    Overlaps, arguments and what is returned are those of ``masks``.
    """
    return _replace(truth, results, "category_id")


ORACLES = {"masks": masks, "classes": classes}


def add(
    names: Sequence[str],
    truth: dict[str, Any],
    results: dict[int, list[dict[str, Any]]],
    scored: dict[str, Any],
) -> list[str]:
    """Scores by oracles and adds their numbers to ``scored``, as ``oracle_<name>``.

    Args:
      names: of ``ORACLES``; each counts once.
      truth: as for ``masks``.
      results: as for ``masks``.
      scored: the numbers of the results as they are.

    Returns:
      Lines for people.
    """
    told = []
    most = scored["max_detections"]
    for name in dict.fromkeys(names):
        replaced = ORACLES[name](truth, results)
        numbers = coco.mask_ap(truth, [one for here in replaced.values() for one in here], most)
        told.append(f"with the {name} of the ground truth that each prediction overlaps most")
        told.append(table(scored, numbers, most))
        scored[f"oracle_{name}"] = numbers
    return told


def table(run: dict[str, float], oracle: dict[str, float], most: int = coco.MOST) -> str:
    """The numbers of a run beside those of an oracle, as lines for people, named."""
    lines = [f"  {'':6} {'run':>7} {'oracle':>7}"]
    for name, what in coco.names(most).items():
        lines.append(f"  {name:6} {run[name]:7.3f} {oracle[name]:7.3f}  {what}")
    return "\n".join(lines)


def _replace(
    truth: dict[str, Any], results: dict[int, list[dict[str, Any]]], field: str
) -> dict[int, list[dict[str, Any]]]:
    """Copies ``field`` from the ground truth that each result overlaps most."""
    candidates = collections.defaultdict(list)
    for annotation in truth["annotations"]:
        if not annotation["iscrowd"]:
            candidates[annotation["image_id"]].append(annotation)

    def replaced(here: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not here:
            return []
        others = candidates[here[0]["image_id"]]  # a record is one image
        if not others:
            return list(here)
        overlaps = coco_mask.iou(_masks_of(here), _masks_of(others), [0] * len(others))
        return [
            {**one, field: others[best][field]} if row[best] > 0 else one
            for one, row, best in zip(here, overlaps, np.argmax(overlaps, 1), strict=True)
        ]

    return {number: replaced(here) for number, here in results.items()}


def _masks_of(annotations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [annotation["segmentation"] for annotation in annotations]
