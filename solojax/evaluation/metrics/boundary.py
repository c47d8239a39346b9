"""Boundary IoU (Cheng et al., 2021): how well outlines agree, for large masks as for small ones.

The IoU of the bands along the inside of two outlines. Boundary AP is AP by the lesser of it and the
mask IoU, all else as COCO has it.
"""

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.evaluation.metrics.coco import Scene

WIDTH = 0.02  # of a band, share of the image's diagonal (the paper, section 4)
MOST_PIXELS = 2**26  # of a mask's rectangle; a larger one takes minutes, and gigabytes
LEAST_IOU = 0.5  # below COCO's first threshold nothing can match, whatever the outline


def overlap(truth: dict[str, Any], scenes: dict[int, Scene]) -> dict[int, Scene]:
    """Lowers mask IoUs of LEAST_IOU and more to the boundary IoU where that is less.

    Args:
      truth: a COCO dictionary as for ``coco.mask_ap``.
      scenes: by image id, overlapped by masks.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    return {
        image_id: scene._replace(ious=_lesser(scene, sizes[image_id]))
        for image_id, scene in scenes.items()
    }


def is_too_large(truth: dict[str, Any], scenes: dict[int, Scene]) -> bool:
    """Whether a mask that can match is; arguments as of ``overlap``."""
    large = [i["id"] for i in truth["images"] if i["height"] * i["width"] > MOST_PIXELS]
    for scene in (scenes[image_id] for image_id in large if image_id in scenes):
        rows, columns = np.nonzero(scene.ious >= LEAST_IOU)
        pairs = ((scene.found, rows), (scene.truths, columns))
        masks = [every[i]["segmentation"] for every, met in pairs for i in np.unique(met)]
        if masks and np.prod(coco_mask.toBbox(masks)[:, 2:], axis=1).max() > MOST_PIXELS:
            return True
    return False


def width_in(size: tuple[int, int]) -> int:
    """How wide a band is, in pixels of an image of that (height, width)."""
    return max(round(WIDTH * float(np.hypot(*size))), 1)


def band(mask: np.ndarray, width: int) -> np.ndarray:
    """Those pixels of a mask that are less than ``width`` steps, also diagonal ones, inside of it.

    Beyond the edges of the array there is nothing, so that they are outlines too.

    Args:
      mask: ``H W`` uint8, 0 or 1.
      width: pixels.
    """
    side = 2 * width + 1
    if min(mask.shape) < side:  # no pixel is so far inside
        return mask
    core = cv2.erode(
        mask, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return mask - core


def bands(labels: np.ndarray, width: int) -> np.ndarray:
    """Which pixels of a label map ``H W`` uint8 are in the ``band`` of their label: ``H W`` bool.

    Those in whose window of ``width`` steps each way, inside of the map, there is more than one.
    """
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    about: dict[str, Any] = {"borderType": cv2.BORDER_CONSTANT}
    least = cv2.erode(labels, window, borderValue=0, **about)
    return least != cv2.dilate(labels, window, borderValue=255, **about)


def _lesser(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    pairs = np.argwhere(scene.ious >= LEAST_IOU)
    if not len(pairs):
        return scene.ious
    rows, row_of = np.unique(pairs[:, 0], return_inverse=True)
    columns, column_of = np.unique(pairs[:, 1], return_inverse=True)
    found = _bands([scene.found[row] for row in rows], size)
    truths = _bands([scene.truths[column] for column in columns], size)
    ious = scene.ious.copy()
    for row, column, i, j in zip(*pairs.T, row_of, column_of, strict=True):
        one, other = found.patches[i], truths.patches[j]
        top, left = np.maximum(found.corners[i], truths.corners[j])
        bottom, right = np.minimum(found.corners[i] + one.shape, truths.corners[j] + other.shape)
        (y, x), (v, u) = found.corners[i], truths.corners[j]
        common = np.count_nonzero(
            one[top - y : bottom - y, left - x : right - x]
            & other[top - v : bottom - v, left - u : right - u]
        )
        whole = np.count_nonzero(one)
        if not scene.truths[column]["iscrowd"]:
            whole += np.count_nonzero(other) - common
        ious[row, column] = min(ious[row, column], common / whole)
    return ious


def _bands(annotations: list[dict[str, Any]], size: tuple[int, int]) -> rle.Masks:
    """The bands of masks, each in the rectangle around it."""
    counts = [annotation["segmentation"]["counts"] for annotation in annotations]
    cut = rle.decode_patches(counts, size[0])
    width = width_in(size)
    return cut._replace(patches=[band(np.ascontiguousarray(patch), width) for patch in cut.patches])
