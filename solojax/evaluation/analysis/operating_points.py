"""The score from which on detections are worth showing: where F1 is greatest.

AP counts detections of any score, as a person or a program that uses them cannot. A score is chosen
for all classes together, and for each class that has instances enough for it to be no accident.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from solojax.evaluation.analysis.errors import FOREGROUND, Tabulated

LEAST = 20  # instances that a class needs for a score of its own


def choose(tabulated: Tabulated, classes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Chooses them by F1 = 2 right / (detections + instances) at IoU .5.

    Args:
      tabulated: from ``errors.tabulate``.
      classes: ``id`` and ``name`` of each, in the order of the labels.

    Returns:
      What JSON can hold: ``iou``, ``score``, ``F1`` there, and ``classes``, those that have their
      own, with ``id``, ``name``, ``instances``, ``score`` and ``F1``. None where nothing is right.
    """
    table = tabulated.table
    common = _best(table.scores, table.right, len(tabulated.labels))
    if common is None:
        return None
    own = []
    for label, (one, count) in enumerate(zip(classes, tabulated.counts.tolist(), strict=True)):
        here = table.labels == label
        best = _best(table.scores[here], table.right[here], count) if count >= LEAST else None
        if best:
            own.append({"id": one["id"], "name": one["name"], "instances": count, **best})
    return {"iou": FOREGROUND, **common, "classes": own}


def _best(scores: np.ndarray, right: np.ndarray, instances: int) -> dict[str, float] | None:
    """The score of the greatest F1, the highest of several; None where none is above 0."""
    order = np.argsort(-scores, kind="mergesort")
    ranked = scores[order]
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + instances)
    f1[:-1][ranked[:-1] == ranked[1:]] = 0  # those of one score come together
    if not f1.any():
        return None
    last = int(f1.argmax())
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return {"score": _between(float(below), float(ranked[last])), "F1": float(f1[last])}


def _between(below: float, above: float) -> float:
    """The shortest number in the middle of two: above the one, at most the other."""
    middle = (below + above) / 2
    for digits in range(2, 16):
        short = round(middle, digits)
        if below < short <= above and math.isclose(short, middle, abs_tol=(above - below) / 2):
            return short
    return above
