"""What was found in one image before its masks are cut: for those who move thresholds."""

from typing import NamedTuple

import numpy as np


class Look(NamedTuple):
    """``K`` detections, best first; ``K`` may be 0."""

    image: np.ndarray  # H W 3 uint8 RGB
    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32, place in categories
    masks: np.ndarray  # K h w float32 in 0..1, from the top left corner of the image on
    frame: tuple[float, float]  # (height, width) of the image, pixels of ``masks``
    canvas: tuple[float, float]  # (height, width) of the canvas, where the image's are 1
    cells: np.ndarray | None  # K int32, the cell that each was found by, of a head with a grid
