"""Ids of segments as COCO's panoptic PNGs have them: red + 256 green + 65536 blue; 0 is void."""

from typing import NamedTuple

import cv2
import numpy as np

VOID = 0
MOST = 2**24 - 1  # the greatest id that three bytes hold


class Segment(NamedTuple):
    """What an id of a map stands for."""

    id: int
    label: int  # place among things and then stuff
    is_crowd: bool = False


def of_rgb(picture: np.ndarray) -> np.ndarray:
    """``H W 3`` uint8 RGB -> ``H W`` int32."""
    red, green, blue = np.moveaxis(picture.astype(np.int32), -1, 0)
    return red | green << 8 | blue << 16


def to_rgb(ids: np.ndarray) -> np.ndarray:
    """``H W`` of 0 to MOST -> ``H W 3`` uint8 RGB."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)


def to_png(ids: np.ndarray) -> bytes:
    """``H W`` of 0 to MOST -> a PNG of their ``to_rgb``."""
    return cv2.imencode(".png", to_rgb(ids)[..., ::-1])[1].tobytes()
