"""Windows of an image: where its tiles lie if it is too large for one look, what one shows."""

import itertools
from collections.abc import Sequence

import numpy as np

from solojax.types import InputError

LEAST_TILE = 64  # original pixels
OVERLAP = 0.25  # of a tile, with the next one

Window = tuple[int, int, int, int]
"""top left bottom right, original pixels."""


def cut(size: tuple[int, int], tile: int) -> list[Window]:
    """Evenly spaced overlapping tiles that cover an image of ``size`` (height, width).

    Args:
      size: original pixels.
      tile: side of the squares; an image that is less high or wide than that is not cut there.
    """
    if not isinstance(tile, int | np.integer) or tile < LEAST_TILE:
        raise InputError(f"tiles of {tile} pixels: give a whole number, {LEAST_TILE} or more")
    starts = []
    for length in size:
        beyond = max(length - tile, 0)
        count = 1 + -(-beyond // int(tile * (1 - OVERLAP)))
        starts.append(np.linspace(0, beyond, count).round().astype(int).tolist())
    return [
        (top, left, min(top + tile, size[0]), min(left + tile, size[1]))
        for top, left in itertools.product(*starts)
    ]


def clip(
    patch: np.ndarray, corner: Sequence[int], window: Window
) -> tuple[np.ndarray, tuple[int, int]]:
    """Clips a mask to a window; what is left has no pixels where the window shows none of it.

    Args:
      patch: ``h w``, the mask within a rectangle.
      corner: (top, left) of the patch in the image.
      window: of the image.

    Returns:
      A view of the patch, and its (top, left) in the window.
    """
    (y, x), (top, left, bottom, right) = corner, window
    seen = patch[max(top - y, 0) : max(bottom - y, 0), max(left - x, 0) : max(right - x, 0)]
    return seen, (max(y - top, 0), max(x - left, 0))
