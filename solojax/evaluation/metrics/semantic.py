"""How well label maps agree, label by label: IoU, accuracy, boundary IoU, over all pixels of a set.

What is ignored in the truth counts nowhere. A pixel that a prediction ignores is wrong.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from solojax.config import Category
from solojax.evaluation.metrics import boundary
from solojax.types import IGNORED

NAMES = {
    "mIoU": "intersection over union, mean of the labels",
    "accuracy": "share of the pixels that are right",
    "mAcc": "share of a label's pixels that are right, mean of the labels",
    "boundary": "IoU of the bands along the outlines, mean of the labels",
}


class Counts:
    """What scores are made of, added up over images; those of processes are merged.

    Attributes:
      pixels: ``L L+1`` int64, how many of each true label were given each label, in the last
        column none.
      bands: ``3 L`` int64, pixels of the bands along outlines: of both maps at once, of the truth,
        of the prediction.
      images: ``mIoU`` and ``accuracy`` of each by its id, of labels that are there; -1 where all is
        ignored.
    """

    def __init__(self, labels: int):
        self.pixels = np.zeros((labels, labels + 1), np.int64)
        self.bands = np.zeros((3, labels), np.int64)
        self.images: dict[int, dict[str, float]] = {}

    def add(self, image_id: int, truth: np.ndarray, found: np.ndarray) -> None:
        """Counts an image: two maps of labels, ``H W`` uint8."""
        labels = len(self.pixels)
        found = np.where(truth == IGNORED, np.uint8(IGNORED), found)
        pairs = truth.astype(np.int64) * (IGNORED + 1) + found
        counts = np.bincount(pairs.ravel(), minlength=(IGNORED + 1) ** 2)
        square = counts.reshape(IGNORED + 1, IGNORED + 1)
        here = np.column_stack([square[:labels, :labels], square[:labels, labels:].sum(1)])
        self.pixels += here
        width = boundary.width_in(truth.shape)
        true, given = boundary.bands(truth, width), boundary.bands(found, width)
        common = truth[true & given & (truth == found)]
        for row, some in zip(self.bands, (common, truth[true], found[given]), strict=True):
            row += np.bincount(some, minlength=IGNORED + 1)[:labels]
        ious, _ = _shares(here)
        right, seen = np.trace(here), here.sum()
        accuracy = float(right / seen) if seen else -1.0
        self.images[image_id] = {"mIoU": mean(ious), "accuracy": accuracy}

    def merge(self, other: "Counts") -> None:
        """Adds those of other images."""
        self.pixels += other.pixels
        self.bands += other.bands
        self.images |= other.images


def score(counts: Counts, labels: Sequence[Category]) -> dict[str, Any]:
    """The scores of all images.

    Args:
      counts: of them.
      labels: things, and then stuff.

    Returns:
      What JSON can hold: the numbers of ``NAMES``; ``classes``, ``IoU``, ``accuracy``, ``boundary``
      and ``pixels`` of the truth for each label; ``confusion``, the pairs of category ids, true and
      predicted, that occur, None where nothing was predicted; ``images``, as of ``Counts``. A label
      that is in no truth and in no prediction has -1 and takes no part in a mean; in that of
      ``mAcc`` one that is in no truth takes none.
    """
    ious, accuracies = _shares(counts.pixels)
    common, true, given = counts.bands
    outlines = _divide(common, true + given - common)
    seen = counts.pixels.sum()
    ids = [one.id for one in labels]
    return {
        "mIoU": mean(ious),
        "accuracy": float(np.trace(counts.pixels) / seen) if seen else -1.0,
        "mAcc": mean(accuracies),
        "boundary": mean(outlines),
        "classes": [
            {
                "id": one.id,
                "name": one.name,
                "IoU": float(ious[label]),
                "accuracy": float(accuracies[label]),
                "boundary": float(outlines[label]),
                "pixels": int(counts.pixels[label].sum()),
            }
            for label, one in enumerate(labels)
        ],
        "confusion": {
            "counts": [
                {
                    "truth": ids[row],
                    "prediction": [*ids, None][column],
                    "count": int(counts.pixels[row, column]),
                }
                for row, column in np.argwhere(counts.pixels).tolist()
            ]
        },
        "images": dict(counts.images),
    }


def table(scores: dict[str, Any]) -> str:
    """The numbers as lines for people, named."""
    return "\n".join(f"  {name:8} {scores[name]:8.3f}  {what}" for name, what in NAMES.items())


def mean_iou(pixels: np.ndarray) -> float:
    """Of counts as in ``Counts``."""
    return mean(_shares(pixels)[0])


def _shares(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and accuracy of each label."""
    right, true, given = np.diagonal(pixels), pixels.sum(1), pixels[:, :-1].sum(0)
    return _divide(right, true + given - right), _divide(right, true)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float64, -1 where there is nothing to divide by."""
    return np.where(whole > 0, part / np.maximum(whole, 1), -1.0)


def mean(shares: np.ndarray) -> float:
    """Of those that are there; -1 where none is."""
    return float(shares[shares >= 0].mean()) if (shares >= 0).any() else -1.0
