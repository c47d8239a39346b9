"""Small pictures of places in an image: true outlines in green, what was found in orange."""

from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle, windows

SIDE = 220  # pixels of a picture
AROUND = 1.8  # times the longer side of what is shown
LEAST = 40  # original pixels of a side: one sees where it is
TRUE, FOUND, OTHER = (40, 200, 90), (245, 130, 30), (150, 235, 180)  # RGB


def crop(
    image: np.ndarray,
    box: Sequence[float],
    true: Sequence[bytes],
    found: Sequence[bytes],
    others: Sequence[bytes] = (),
) -> np.ndarray:
    """Cuts a square around a box and outlines masks in it.

    Args:
      image: ``H W 3`` uint8 RGB.
      box: x y width height, pixels of the image.
      true: masks of what is there, compressed run lengths.
      found: of what was found, drawn over them.
      others: of what is there beside, drawn thin.

    Returns:
      ``h w 3`` uint8 RGB, the longer side SIDE pixels.
    """
    height, width = image.shape[:2]
    x, y, across, down = box
    side = int(np.ceil(max(AROUND * max(across, down), LEAST)))
    top = int(np.clip(round(y + down / 2 - side / 2), 0, max(height - side, 0)))
    left = int(np.clip(round(x + across / 2 - side / 2), 0, max(width - side, 0)))
    window = image[top : top + side, left : left + side]
    inside = top, left, top + window.shape[0], left + window.shape[1]
    scale = SIDE / max(window.shape[:2])
    size = max(round(window.shape[1] * scale), 1), max(round(window.shape[0] * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = np.ascontiguousarray(cv2.resize(window, size, interpolation=method))
    for masks, color, thickness in ((others, OTHER, 1), (true, TRUE, 2), (found, FOUND, 2)):
        drawable = [
            one for one in masks if coco_mask.area({"size": image.shape[:2], "counts": one})
        ]
        cut = rle.decode_patches(drawable, height)
        for patch, corner in zip(cut.patches, cut.corners.tolist(), strict=True):
            seen, (y, x) = windows.clip(patch, corner, inside)
            if seen.any():
                part = np.zeros(window.shape[:2], np.uint8)
                part[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
                large = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST)
                lines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(drawn, lines, -1, color, thickness, cv2.LINE_AA)
    return drawn
