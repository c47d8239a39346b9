"""What the label maps of a data set hold: how much of its pixels each label has."""

from typing import NamedTuple

import numpy as np

from solojax.data.health.file_survey import run
from solojax.data.records import coco
from solojax.types import IGNORED, escaped


class Counts(NamedTuple):
    """Of a split; labels are things, then stuff."""

    pixels: np.ndarray  # L int64, original pixels
    images: np.ndarray  # L int64, that a label is in
    ignored: int  # pixels
    labelled: int  # images with a label map


def count(records: coco.Records) -> Counts:
    """Counts the pixels of all label maps, with a progress bar."""

    def count_one(index: int) -> np.ndarray | None:
        labels = coco.labels_of(records, coco.read(records, index))
        return None if labels is None else np.bincount(labels.ravel(), minlength=IGNORED + 1)

    numbers = range(len(records.image_ids))
    found = [
        one for one in run(count_one, numbers, "counting labels", coco.workers()) if one is not None
    ]
    every = np.array(found, np.int64).reshape(-1, IGNORED + 1)
    labels = len(records.categories) + len(records.stuff)
    pixels, images = every.sum(0)[:labels], (every > 0).sum(0)[:labels]
    return Counts(pixels, images, int(every[:, IGNORED].sum()), len(found))


def table(counts: Counts, records: coco.Records) -> str:
    """The numbers as lines for people, a label each, those of most pixels first."""
    total = max(int(counts.pixels.sum()) + counts.ignored, 1)
    things = len(records.categories)
    names = [one.name for one in (*records.categories, *records.stuff)]
    lines = [
        f"  label maps           of {counts.labelled} images; {100 * counts.ignored / total:.1f} % "
        "of their pixels are ignored",
        f"    {'% of pixels':>11} {'images':>8}  label",
    ]
    for label in np.argsort(-counts.pixels, kind="stable").tolist():
        share, images = 100 * counts.pixels[label] / total, counts.images[label]
        kind = "thing" if label < things else "stuff"
        lines.append(f"    {share:11.2f} {images:8}  {names[label]} ({kind})")
    return "\n".join(map(escaped, lines))
