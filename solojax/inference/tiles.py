"""Images with more in them than one look can hold: cut into tiles, what is found put together.

Tiles overlap by a quarter. What touches a border between tiles is cut there and left out: where it
is smaller than the overlap another tile shows all of it, and where it is larger the look at the
whole image does. What is seen twice is decayed by Matrix NMS, as within an image.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.inference.predict import Found
from solojax.ops import nms
from solojax.types import InputError

LEAST_TILE = 64  # original pixels
OVERLAP = 0.25  # of a tile, with the next one
TOUCHING = 4  # original pixels: masks are made at a quarter of the network's, and may end early

Window = tuple[int, int, int, int]
"""top left bottom right, original pixels."""


def cut(size: tuple[int, int], tile: int) -> list[Window]:
    """Evenly spaced overlapping tiles that cover an image of ``size`` (height, width).

    Args:
      size: original pixels.
      tile: side of the squares; an image that is less high or wide than that is not cut there.
    """
    if tile < LEAST_TILE:
        raise InputError(f"tiles of {tile} pixels are too small; give {LEAST_TILE} or more")
    starts = []
    for length in size:
        count = (
            1
            if length <= tile
            else -(-round(length - OVERLAP * tile) // round(tile * (1 - OVERLAP)))
        )
        starts.append(np.linspace(0, max(length - tile, 0), count).round().astype(int).tolist())
    return [
        (top, left, min(top + tile, size[0]), min(left + tile, size[1]))
        for top, left in itertools.product(*starts)
    ]


def merge(
    whole: Found,
    parts: Sequence[Found],
    windows: Sequence[Window],
    size: tuple[int, int],
    *,
    kernel: nms.Kernel,
    sigma: float,
    threshold: float,
) -> Found:
    """What was found in an image and in its tiles, each thing once, best first.

    Memory grows with the square of the detections: 1 GB for ten thousand.

    Args:
      whole: of the whole image.
      parts: of its tiles.
      windows: the tiles.
      size: (height, width) of the image.
      kernel: of Matrix NMS.
      sigma: of Matrix NMS.
      threshold: of the decayed scores.
    """
    scores, labels, rles = [whole.scores], [whole.labels], list(whole.rles)
    for part, window in zip(parts, windows, strict=True):
        kept = _uncut(part.rles, window, size)
        scores.append(part.scores[kept])
        labels.append(part.labels[kept])
        extent = window[2] - window[0], window[3] - window[1]
        rles += rle.move([part.rles[i] for i in kept], extent, window[:2], size)
    all_scores, all_labels = np.concatenate(scores), np.concatenate(labels)
    encoded = [{"size": list(size), "counts": counts} for counts in rles]
    overlaps = np.asarray(coco_mask.iou(encoded, encoded, [0] * len(rles)), np.float32)
    if len(rles):
        all_scores = np.asarray(
            nms.matrix_nms_of(
                jnp.asarray(overlaps.reshape(len(rles), -1)),
                jnp.asarray(all_labels),
                jnp.asarray(all_scores),
                kernel=kernel,
                sigma=sigma,
            )
        )
    order = np.argsort(-all_scores, kind="stable")
    order = order[all_scores[order] >= threshold]
    overflow = whole.overflow + sum(part.overflow for part in parts)
    return Found(all_scores[order], all_labels[order], [rles[i] for i in order], overflow)


def _uncut(rles: Sequence[bytes], window: Window, size: tuple[int, int]) -> np.ndarray:
    """Which masks of a tile have pixels, none of them at a border to another tile."""
    top, left, bottom, right = window
    extent = [bottom - top, right - left]
    boxes = np.array([coco_mask.toBbox({"size": extent, "counts": one}) for one in rles])
    x0, y0, width, height = boxes.reshape(-1, 4).T
    x1, y1 = x0 + width, y0 + height
    touches = (
        ((top > 0) & (y0 < TOUCHING))
        | ((left > 0) & (x0 < TOUCHING))
        | ((bottom < size[0]) & (y1 > extent[0] - TOUCHING))
        | ((right < size[1]) & (x1 > extent[1] - TOUCHING))
    )
    return np.flatnonzero(~touches & (width > 0))
