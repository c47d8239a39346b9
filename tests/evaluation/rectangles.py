"""Rectangles on images of 100 x 100, as truth and as results."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data.annotations import Instance
from solojax.evaluation.metrics import coco

SIZE = (100, 100)
CATEGORIES = (Category(3, "cell"), Category(70, "dust"))

Rectangle = tuple[int, int, int, int]  # top, left, height, width


def mask_of(rectangle: Rectangle) -> np.ndarray:
    top, left, height, width = rectangle
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    return mask


def rle(rectangle: Rectangle) -> dict[str, Any]:
    return coco_mask.encode(mask_of(rectangle))


def truth_of(
    *images: list[tuple[int, Rectangle]], crowds: list[tuple[int, Rectangle]] = ()
) -> dict:
    """The images 1, 2 and so on, (category id, rectangle) of each; crowds lie on the first."""
    labels = {category.id: label for label, category in enumerate(CATEGORIES)}
    instances, number = [], 0
    for image, here in enumerate(images):
        regular = [(*one, False) for one in here]
        instances.append([])
        for category_id, place, is_crowd in regular + [(*c, True) for c in crowds if not image]:
            top, left, height, width = place
            number += 1
            instances[-1].append(
                Instance(
                    number,
                    labels[category_id],
                    rle(place)["counts"],
                    (left, top, left + width, top + height),
                    float(height * width),
                    (0.0, 0.0),
                    is_crowd,
                )
            )
    ids = list(range(1, len(images) + 1))
    return coco.truth_of(ids, [SIZE] * len(images), instances, CATEGORIES)


def result(category_id: int, place: Rectangle, score: float, image: int = 1) -> dict[str, Any]:
    return dict(image_id=image, category_id=category_id, score=score, segmentation=rle(place))


def scenes_of(truth: dict, results: list[dict]) -> dict[int, coco.Scene]:
    return coco.overlap(truth, coco.masks_found(results), "segm")
