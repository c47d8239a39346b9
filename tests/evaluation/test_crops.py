"""Claims about the small pictures of places."""

import numpy as np
import pytest

from solojax.data import rle
from solojax.evaluation.report import crops

IMAGE = np.full((60, 90, 3), 100, np.uint8)


def mask_of(top: int, left: int, height: int, width: int) -> bytes:
    mask = np.zeros((1, 60, 90), bool)
    mask[0, top : top + height, left : left + width] = True
    packed = np.packbits(mask, axis=-1)
    return rle.encode_packed(packed, (60, 90))[0]


def where(drawn: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((drawn == color).all(-1))


def test_outlines_lie_where_the_masks_are_in_the_window():
    true, found = mask_of(20, 30, 10, 10), mask_of(20, 50, 10, 10)
    drawn = crops.crop(IMAGE, (30, 20, 30, 10), [true], [found])
    assert max(drawn.shape) == crops.SIDE
    # 54 pixels around the middle of the box, (25, 45): from column 18 on.
    scale = crops.SIDE / 54
    green, orange = where(drawn, crops.TRUE), where(drawn, crops.FOUND)
    assert np.abs(green[:, 1].min() / scale - (30 - 18)) < 1
    assert np.abs(orange[:, 1].max() / scale - (60 - 18)) < 1
    assert green[:, 1].max() < orange[:, 1].min()


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (85, 55, 5, 5), (0, 0, 90, 60), (40, 30, 0, 0)])
def test_any_place_has_a_picture(box: tuple[int, int, int, int]):
    drawn = crops.crop(IMAGE, box, [mask_of(0, 0, 60, 90)], [], [mask_of(5, 5, 0, 0)])
    assert max(drawn.shape) == crops.SIDE and min(drawn.shape) > 0
