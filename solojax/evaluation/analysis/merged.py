"""Neighbours that were found as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.evaluation.metrics.coco import Scene

COVERED = 0.5  # share of an instance from which on a detection lies over it


def find(
    scenes: dict[int, Scene], right: set[int], floor: float, masks: bool
) -> tuple[dict[int, list[int]], set[int]]:
    """The detections that lie over several instances of their class, and who is lost by that.

    Args:
      scenes: by image id.
      right: annotation ids of the instances that some detection is right of.
      floor: least score of a detection that counts.
      masks: whether masks were overlapped, or boxes.

    Returns:
      By the id of each such detection the annotation ids of what it lies over; and those of them
      that nothing is right of. A detection that costs none of these is left out.
    """
    merging: dict[int, list[int]] = {}
    lost: set[int] = set()
    for scene in scenes.values():
        sure = sum(one["score"] >= floor for one in scene.found)  # they are sorted
        if not sure or len(scene.truths) < 2:
            continue
        over = _covers(scene, sure, masks)
        for row in np.flatnonzero(over.sum(1) >= 2).tolist():
            ids = [scene.truths[column]["id"] for column in np.flatnonzero(over[row])]
            if not right.issuperset(ids):
                merging[scene.found[row]["id"]] = ids
                lost |= {one for one in ids if one not in right}
    return merging, lost


def _covers(scene: Scene, sure: int, masks: bool) -> np.ndarray:
    """``sure G`` bool: the instances, no crowds, of its class that each detection lies over."""
    found, truths = scene.found[:sure], scene.truths
    ious = scene.ious[:sure]
    sizes = _areas(truths, masks)
    common = ious * (_areas(found, masks)[:, None] + sizes) / (1 + ious)
    classes = [np.array([one["category_id"] for one in ones], int) for ones in (found, truths)]
    regular = np.array([not one["iscrowd"] for one in truths], bool)
    same = classes[0][:, None] == classes[1]
    return same & regular & (common >= COVERED * np.maximum(sizes, 1))


def _areas(ones: Sequence[dict[str, Any]], masks: bool) -> np.ndarray:
    """Of what was overlapped: an annotation may state another one."""
    if masks:
        # One by one: pycocotools counts those of a list in 8 bits.
        return np.array([coco_mask.area(one["segmentation"]) for one in ones], float)
    return np.array([one["bbox"][2] * one["bbox"][3] for one in ones], float)
