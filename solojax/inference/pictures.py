"""Predictions beside the ground truth, as pictures."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from solojax.data.records import coco
from solojax.inference import draw

DRAWN_SCORE = 0.4  # detections below are scored but would clutter a picture


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` numbers below ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def beside_truth(
    records: coco.Records, index: int, results: Iterable[dict[str, Any]]
) -> np.ndarray:
    """Draws what was found in one image beside what is there.

    Colours tell classes apart, or instances where there is one class only.

    Args:
      records: of the images.
      index: number of the record.
      results: in COCO's form, masks in original pixels.

    Returns:
      ``H W 3`` uint8 RGB.
    """
    label_of = {category.id: label for label, category in enumerate(records.categories)}
    record = coco.read(records, index)
    image = coco.image_of(record)

    def panel(rles: list[bytes], labels: list[int], notes: list[str]) -> np.ndarray:
        return draw.draw_instances(image, rles, labels, notes, records.categories)

    found = [one for one in results if one["score"] >= DRAWN_SCORE]
    predicted = panel(
        [one["segmentation"]["counts"] for one in found],
        [label_of[one["category_id"]] for one in found],
        [f"{one['score']:.2f}" for one in found],
    )
    truth = panel(
        [instance.rle for instance in record.instances],
        [instance.label for instance in record.instances],
        [""] * len(record.instances),
    )
    return draw.side_by_side([("prediction", predicted), ("ground truth", truth)])
