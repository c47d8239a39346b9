"""Who is taken for whom, and how well single images went, of what scores enough to be drawn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from solojax.evaluation.metrics.coco import Scene

IOU = 0.5


class Matches(NamedTuple):
    """What became of the detections above a score, and of the instances, of one image."""

    pairs: list[tuple[int, int]]  # places of a truth and of what was found there
    missed: list[int]  # truths that nothing was found of
    invented: list[int]  # detections of nothing


def match(scene: Scene, floor: float) -> Matches:
    """Gives each detection, best first, the free truth it overlaps most, whatever the class.

    From an IoU of IOU on; of equal ones that of its own class. Crowds are no candidates: what lies
    on one of its own class and is given nothing else is left out.

    Args:
      scene: of one image.
      floor: least score that counts.
    """
    crowds = np.array([bool(one["iscrowd"]) for one in scene.truths], bool)
    classes = np.array([one["category_id"] for one in scene.truths], int)
    free = ~crowds
    matches = Matches([], [], [])
    for row, one in enumerate(scene.found):
        if one["score"] < floor:
            break  # they are sorted
        same = classes == one["category_id"]
        near = scene.ious[row] >= IOU
        candidates = np.flatnonzero(near & free)
        if len(candidates):
            ranked = np.lexsort((same[candidates], scene.ious[row, candidates]))
            place = int(candidates[ranked[-1]])
            free[place] = False
            matches.pairs.append((place, row))
        elif not (near & crowds & same).any():
            matches.invented.append(row)
    matches.missed.extend(np.flatnonzero(free).tolist())
    return matches


def count(
    scenes: dict[int, Scene], category_ids: Sequence[int], floor: float
) -> tuple[np.ndarray, dict[int, dict[str, Any]]]:
    """The confusion matrix of all images, and how well each went.

    Args:
      scenes: by image id.
      category_ids: of the classes, in the order of the matrix.
      floor: least score that counts.

    Returns:
      ``C+1 C+1`` int64, row the truth and column the prediction, last the background; and by image
      id ``F1`` = 2 right / (2 right + wrong + missed), counting detections that are ``right``, in
      class as well, that are not, ``wrong``, and instances without a right one, ``missed``. Images
      without any of these are left out.
    """
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    nothing = len(category_ids)
    matrix = np.zeros((nothing + 1, nothing + 1), np.int64)
    images = {}
    for image_id, scene in scenes.items():
        truths = [label_of[one["category_id"]] for one in scene.truths]
        found = [label_of[one["category_id"]] for one in scene.found]
        matches = match(scene, floor)
        for truth, row in matches.pairs:
            matrix[truths[truth], found[row]] += 1
        for truth in matches.missed:
            matrix[truths[truth], nothing] += 1
        for row in matches.invented:
            matrix[nothing, found[row]] += 1
        right = sum(truths[truth] == found[row] for truth, row in matches.pairs)
        mistaken = len(matches.pairs) - right
        wrong, missed = mistaken + len(matches.invented), mistaken + len(matches.missed)
        if right + wrong + missed:
            f1 = 2 * right / (2 * right + wrong + missed)
            images[image_id] = {"F1": f1, "right": right, "wrong": wrong, "missed": missed}
    return matrix, images


def extremes(images: dict[int, dict[str, Any]], most: int) -> tuple[list[int], list[int]]:
    """The ids of the worst and of the best images by F1, at most so many of each, none in both.

    F1 punishes what is missed and what is invented alike, and is sound for a single instance, which
    AP is not. Of equal ones those with more errors are worse and those with more to find better.
    """

    def merit(image_id: int) -> tuple[float, int]:
        one = images[image_id]
        return one["F1"], one["right"] - one["wrong"] - one["missed"]

    ranked = sorted(images, key=merit)
    half = -(-len(ranked) // 2)
    return ranked[: min(most, half)], ranked[::-1][: min(most, len(ranked) - half)]
