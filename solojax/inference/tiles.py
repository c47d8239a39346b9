"""Images with more in them than one look can hold: cut into tiles, what is found put together.

Tiles overlap by a quarter. What touches a border between tiles is cut there and left out: where it
is smaller than the overlap another tile shows all of it, and where it is larger the look at the
whole image does. What two looks see is decayed by Matrix NMS, as within an image.
"""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.inference.predict import Found
from solojax.ops import nms
from solojax.types import InputError

LEAST_TILE = 64  # original pixels
OVERLAP = 0.25  # of a tile, with the next one

_matrix_nms = jax.jit(nms.matrix_nms_of, static_argnames=("kernel", "sigma"))

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
    margin: float,
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
      margin: how near to a border between tiles a mask is cut by it, original pixels.
      kernel: of Matrix NMS.
      sigma: of Matrix NMS.
      threshold: of the decayed scores.
    """
    scores, labels, rles = [whole.scores], [whole.labels], list(whole.rles)
    for part, window in zip(parts, windows, strict=True):
        kept = _uncut(part.rles, window, size, margin)
        scores.append(part.scores[kept])
        labels.append(part.labels[kept])
        extent = window[2] - window[0], window[3] - window[1]
        rles += rle.move([part.rles[i] for i in kept], extent, window[:2], size)
    looks = np.repeat(np.arange(len(scores)), [len(one) for one in scores])
    decayed = _decay(
        rles, size, looks, np.concatenate(labels), np.concatenate(scores), kernel, sigma
    )
    order = np.argsort(-decayed, kind="stable")
    order = order[decayed[order] >= threshold]
    overflow = whole.overflow + sum(part.overflow for part in parts)
    found = np.concatenate(labels)[order]
    return Found(decayed[order], found, [rles[i] for i in order], overflow)


def _decay(
    rles: Sequence[bytes],
    size: tuple[int, int],
    looks: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    kernel: nms.Kernel,
    sigma: float,
) -> np.ndarray:
    """Matrix NMS between the looks: each has had its own."""
    count = len(rles)
    if not count:
        return scores
    encoded = [{"size": list(size), "counts": counts} for counts in rles]
    overlaps = np.asarray(coco_mask.iou(encoded, encoded, [0] * count), np.float32)
    overlaps[looks[:, None] == looks] = 0
    # Filled up to a power of two: a few programs serve every image.
    padding = (0, (1 << (count - 1).bit_length()) - count)
    decayed = _matrix_nms(
        np.pad(overlaps, padding),
        np.pad(labels, padding, constant_values=-1),
        np.pad(scores, padding, constant_values=-1),
        kernel=kernel,
        sigma=sigma,
    )
    return np.asarray(decayed)[:count]


def _uncut(
    rles: Sequence[bytes], window: Window, size: tuple[int, int], margin: float
) -> np.ndarray:
    """Which masks of a tile have pixels, none of them at a border to another tile."""
    top, left, bottom, right = window
    extent = [bottom - top, right - left]
    boxes = np.array([coco_mask.toBbox({"size": extent, "counts": one}) for one in rles])
    x0, y0, width, height = boxes.reshape(-1, 4).T
    x1, y1 = x0 + width, y0 + height
    touches = (
        ((top > 0) & (y0 < margin))
        | ((left > 0) & (x0 < margin))
        | ((bottom < size[0]) & (y1 > extent[0] - margin))
        | ((right < size[1]) & (x1 > extent[1] - margin))
    )
    return np.flatnonzero(~touches & (width > 0))
