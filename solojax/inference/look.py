"""What was found in one image before its masks are cut: for those who move thresholds."""

from typing import NamedTuple

import numpy as np

SHOWN_SIDE = 1280  # pixels that the longer side of an image has at most where it is shown


class Look(NamedTuple):
    """``K`` detections, best first; ``K`` may be 0."""

    image: np.ndarray  # H W 3 uint8 RGB
    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32, place in categories
    masks: np.ndarray  # K h w float32 in 0..1, from the top left corner of the image on
    frame: tuple[float, float]  # (height, width) of the image, pixels of ``masks``
    canvas: tuple[float, float]  # (height, width) of the canvas, where the image's are 1
    cells: np.ndarray | None  # K int32, the cell that each was found by, of a head with a grid
    label_map: np.ndarray | None  # uint8 of shown_size, of one that labels pixels: all its labels


def shown_size(size: tuple[int, int], most_side: int = SHOWN_SIDE) -> tuple[int, int]:
    """(height, width) of an image of that size where it is shown, no longer than ``most_side``."""
    scale = min(most_side / max(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
