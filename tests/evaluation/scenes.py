"""Scenes at random: maps of segments with voids, crowds, and predictions that are nearly right.

The stream of ``RandomState`` is frozen, so that numbers recorded of them stay theirs.
"""

from typing import NamedTuple

import numpy as np

from solojax.config import Category
from solojax.data.panoptic_ids import MOST, VOID, Segment

LABELS = tuple(
    Category(id_, name) for id_, name in ((3, "cell"), (70, "dust"), (9, "sky"), (10, "road"))
)
THINGS = 2
SIZE = 40, 56


class Scene(NamedTuple):
    """What is true and what was found, as ``panoptic.Counts.add`` takes it."""

    truth: np.ndarray
    truths: list[Segment]
    found: np.ndarray
    founds: list[Segment]


def drawn(seed: int) -> Scene:
    """One image."""
    rng = np.random.RandomState(seed)
    truth = np.zeros(SIZE, np.int32)
    for _ in range(rng.randint(4, 12)):
        _paint(truth, rng, rng.choice([VOID, *rng.randint(1, MOST, 4)]))
    labels = {i: int(rng.randint(len(LABELS))) for i in np.unique(truth).tolist() if i != VOID}
    truths = [Segment(i, label, bool(rng.rand() < 0.25)) for i, label in labels.items()]
    found = np.zeros_like(truth)
    found_labels = {}
    for one in truths:
        id_ = int(rng.randint(1, MOST))
        found[np.roll(truth, rng.randint(-2, 3, 2), (0, 1)) == one.id] = id_
        found_labels[id_] = one.label if rng.rand() < 0.85 else int(rng.randint(len(LABELS)))
    for _ in range(rng.randint(3)):
        id_ = int(rng.randint(1, MOST))
        _paint(found, rng, id_)
        found_labels[id_] = int(rng.randint(len(LABELS)))
    _paint(found, rng, VOID)
    there = set(np.unique(found).tolist())
    founds = [Segment(i, label) for i, label in found_labels.items() if i in there]
    return Scene(truth, truths, found, founds)


def _paint(ids: np.ndarray, rng: np.random.RandomState, id_: int) -> None:
    height, width = ids.shape
    top, left = rng.randint(height), rng.randint(width)
    ids[top : top + rng.randint(4, height), left : left + rng.randint(4, width)] = id_
