"""Masks whose run lengths, which COCO counts column by column, seem to be counted row by row.

Read so, an object becomes stripes; read anew by rows, it is whole, and fits its box.
"""

from collections.abc import Sequence

import numpy as np

from solojax.data import rle

MOST_MASKS = 100  # of a set that are read anew; an exporter writes all in the same way
MOST_PIXELS = 2**26  # of their images
STRIPED = 2.0  # times the border that a mask has which is read by rows: no sound mask is so ragged


class Sample:
    """Reads the first run lengths of a set by rows."""

    def __init__(self) -> None:
        self._masks, self._pixels = MOST_MASKS, MOST_PIXELS

    def see(
        self, annotations: Sequence[dict], images: Sequence, read: Sequence
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes some annotations, as they are written and as ``annotations.Instance``.

        Returns:
          ``n 4`` the boxes x0 y0 x1 y1 of their masks by rows, NaN where that was not looked at,
          and ``n`` bool, whether a mask is whole by rows and in stripes by columns.
        """
        boxes, striped = np.full((len(read), 4), np.nan), np.zeros(len(read), bool)
        for number, (annotation, image, one) in enumerate(
            zip(annotations, images, read, strict=True)
        ):
            if self._masks <= 0 or self._pixels <= 0:
                break
            runs = annotation.get("segmentation")
            if isinstance(one, str) or not isinstance(runs, dict) or "counts" not in runs:
                continue
            self._masks -= 1
            self._pixels -= image.height * image.width
            boxes[number], striped[number] = _look(one.rle, image.height, image.width)
        return boxes, striped


def _look(counts: bytes, height: int, width: int) -> tuple[np.ndarray, bool]:
    by_columns = rle.decode_patches([counts], height).patches[0]
    (turned,), ((left, top),) = rle.decode_patches([counts], width)
    box = np.array([left, top, left + turned.shape[0], top + turned.shape[1]], np.float64)
    # What goes from side to side by rows may go from top to bottom by columns.
    spans = turned.shape[0] == width
    return box, not spans and _border(by_columns) > STRIPED * _border(turned)


def _border(mask: np.ndarray) -> int:
    """The sides of pixels between a mask and what is around it."""
    within = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return int(within) + sum(
        int(np.count_nonzero(side)) for side in (mask[0], mask[-1], *mask.T[[0, -1]])
    )
