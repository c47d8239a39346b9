"""The segments of a whole image, of the instances and the label map that were found in it."""

import dataclasses

import jax
import numpy as np

from solojax.data import rle
from solojax.data.panoptic_ids import Segment
from solojax.heads.merging import Merging
from solojax.inference.programs import Found
from solojax.ops import panoptic
from solojax.types import IGNORED

SIDE = 320  # sides are filled up to multiples of it, so that few programs serve all images


_merge = jax.jit(panoptic.merge)


def segments_of(
    found: Found, things: int, merging: Merging
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Merges what was found in one image.

    Args:
      found: it, with a label map.
      things: labels below are of instances.
      merging: how.

    Returns:
      ``H W`` int32 of ids, 0 where there is no segment, and the segments.
    """
    label_map = found.label_map
    assert label_map is not None
    scores = found.scores
    size = label_map.shape
    sure = int(np.sum(scores >= merging.least_score))
    filled = 1 << max(sure - 1, 0).bit_length()
    height, width = (-(-side // SIDE) * SIDE for side in size)
    masks = np.zeros((filled, height, width // 8), np.uint8)
    bits = np.packbits(rle.decode(found.rles[:sure], *size), -1)
    masks[:sure, : size[0], : bits.shape[2]] = bits
    given = np.zeros(filled, np.float32)
    given[:sure] = scores[:sure]
    whole = np.full((height, width), IGNORED, np.uint8)
    whole[: size[0], : size[1]] = label_map
    merged = jax.device_get(_merge(masks, given, whole, things, **dataclasses.asdict(merging)))
    stuff = np.flatnonzero(merged.stuff).tolist()
    segments = [
        *(Segment(k + 1, int(found.labels[k])) for k in np.flatnonzero(merged.instances).tolist()),
        *(Segment(filled + 1 + label, label) for label in stuff),
    ]
    return merged.ids[: size[0], : size[1]], tuple(segments)
