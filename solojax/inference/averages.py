"""Probabilities of labels over a whole image, the mean of all looks that show a pixel."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from solojax.data.windows import Window

Probabilities = Callable[[tuple[int, int], tuple[np.ndarray, ...]], np.ndarray]
"""(corner, (logits, sizes, original sizes), each of one image) -> ``1 side side L``."""


def blocks(
    logits: Sequence[np.ndarray],
    windows: Sequence[Window],
    seen: tuple[int, int],
    size: tuple[int, int],
    side: int,
    probabilities: Probabilities,
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """The mean probabilities of a block of the image at a time: so many labels fill a machine.

    Args:
      logits: of each look, ``h w L`` float32, which span the canvas.
      windows: that each look shows, original pixels; all of one size, together the image.
      seen: (height, width) of a window on the canvas, network pixels.
      size: (height, width) of the image.
      side: of a block, original pixels.
      probabilities: those of one look, from a corner of it on.

    Yields:
      Where the block is, and ``h w L`` float32.
    """
    for top, left in itertools.product(range(0, size[0], side), range(0, size[1], side)):
        bottom, right = min(top + side, size[0]), min(left + side, size[1])
        count = np.zeros((bottom - top, right - left, 1), np.float32)
        sums = None
        for (y0, x0, y1, x1), look in zip(windows, logits, strict=True):
            here = (
                slice(max(y0, top) - top, min(y1, bottom) - top),
                slice(max(x0, left) - left, min(x1, right) - left),
            )
            if here[0].start >= here[0].stop or here[1].start >= here[1].stop:
                continue
            given = look, np.array(seen), np.array((y1 - y0, x1 - x0))
            corner = here[0].start + top - y0, here[1].start + left - x0
            part = probabilities(corner, tuple(one[None] for one in given))[0]
            if sums is None:
                sums = np.zeros((*count.shape[:2], part.shape[2]), np.float32)
            rows, columns = (one.stop - one.start for one in here)
            sums[here] += part[:rows, :columns]
            count[here] += 1
        assert sums is not None
        yield (slice(top, bottom), slice(left, right)), sums / count
