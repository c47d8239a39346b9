"""Anchors: boxes of some sizes and shapes around every cell of some maps. Static, in NumPy."""

from collections.abc import Sequence

import numpy as np


def make_anchors(
    sizes: Sequence[tuple[int, int]],
    scales: Sequence[Sequence[float]],
    ratios: Sequence[float],
    canvas: tuple[int, int],
    *,
    square: bool = False,
) -> np.ndarray:
    """Lays anchors over the cells of all levels, each level spanning the whole canvas.

    An anchor of scale s and ratio r is s sqrt(r) pixels wide and s / sqrt(r) high.

    Args:
      sizes: (rows, columns) of each level.
      scales: of each level, network pixels; each level may have several.
      ratios: width to height.
      canvas: (height, width), network pixels.
      square: whether an anchor is as high as it is wide, s sqrt(r): ratios are then sizes.

    Returns:
      ``A 4`` float32 centre x, centre y, width, height as shares of the canvas; finest level
      first, rows before columns, in a cell scale before ratio.

    >>> make_anchors([(1, 2)], [(8,)], (1, 4), (16, 32)).tolist()[0]
    [0.25, 0.5, 0.25, 0.5]
    """
    height, width = canvas
    levels = []
    for (rows, columns), level_scales in zip(sizes, scales, strict=True):
        wide = np.array([s * r**0.5 for s in level_scales for r in ratios])
        high = wide if square else np.array([s / r**0.5 for s in level_scales for r in ratios])
        cells = np.empty((rows, columns, len(wide), 4))
        cells[..., 0] = ((np.arange(columns) + 0.5) / columns)[None, :, None]
        cells[..., 1] = ((np.arange(rows) + 0.5) / rows)[:, None, None]
        cells[..., 2] = wide / width
        cells[..., 3] = high / height
        levels.append(cells.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)
