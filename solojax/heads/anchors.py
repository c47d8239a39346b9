"""The anchors of a head, as fields: which levels bear them, how large they are, of what shapes."""

import dataclasses
import functools

import numpy as np

from solojax.fields import check_fields
from solojax.ops.anchors import make_anchors
from solojax.types import InputError


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Boxes around every cell of some levels of a pyramid; ``levels`` and ``scales`` go together.

    Defaults are YOLACT's for canvases of 550 x 550.
    """

    levels: tuple[str, ...] = ("p3", "p4", "p5", "p6", "p7")  # finest first
    # Square roots of areas, network pixels; a level may have several.
    scales: tuple[tuple[float, ...], ...] = ((24,), (48,), (96,), (192,), (384,))
    ratios: tuple[float, ...] = (1, 0.5, 2)  # width to height
    # Whether all are as high as they are wide, so that ratios are three sizes. So are the published
    # models trained, all but YOLACT++, by an error that their weights now contain.
    square: bool = True
    # (height, width), network pixels; None: that follows from the size of the finest level, and
    # canvases are multiples of its stride. What only predicts cannot tell another one.
    canvas: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "head.anchors")
        known = tuple(f"p{level}" for level in range(2, 8))
        if not self.levels or self.levels != tuple(one for one in known if one in self.levels):
            raise InputError(
                f"head.anchors.levels={self.levels} must be some of {', '.join(known)}, in this "
                "order"
            )
        if len(self.scales) != len(self.levels):
            raise InputError(
                f"head.anchors.scales has {len(self.scales)} entries for the {len(self.levels)} "
                f"levels {', '.join(self.levels)}; give one for each"
            )
        counts = {len(scales) for scales in self.scales}
        if len(counts) != 1 or 0 in counts or not self.ratios:
            raise InputError(
                f"head.anchors: every level needs as many scales as every other, and some ratio; "
                f"scales={self.scales}, ratios={self.ratios}"
            )
        for numbers in (*self.scales, self.ratios, self.canvas or (1,)):
            if min(numbers) <= 0:
                raise InputError(f"head.anchors: {min(numbers)} must be above 0")

    @property
    def per_cell(self) -> int:
        """Anchors around each cell."""
        return len(self.scales[0]) * len(self.ratios)

    def size_at(self, canvas: tuple[int, int], level: str) -> tuple[int, int]:
        """(rows, columns) of a level: each stride of 2 on the way to it rounds up."""
        stride = 2 ** int(level[1:])
        return -(-canvas[0] // stride), -(-canvas[1] // stride)

    def canvas_of(self, level: str, size: tuple[int, int]) -> tuple[int, int]:
        """The canvas on which a level has this (rows, columns).

        Raises:
          InputError: ``canvas`` is given, and the level has another size on it.
        """
        stride = 2 ** int(level[1:])
        if self.canvas is None:
            return size[0] * stride, size[1] * stride
        wanted = self.size_at(self.canvas, level)
        if wanted != size:
            raise InputError(
                f"head.anchors.canvas={self.canvas} gives {level} a size of {wanted}, the images "
                f"one of {size}; set it to their canvas"
            )
        return self.canvas

    def check_canvas(self, canvas: tuple[int, int]) -> None:
        """Refuses a canvas that ``canvas_of`` would mistake."""
        if canvas != self.canvas_of(self.levels[0], self.size_at(canvas, self.levels[0])):
            raise InputError(
                f"head.anchors.canvas={self.canvas}: the images' is {canvas}; set it to that"
            )

    def boxes(self, canvas: tuple[int, int]) -> np.ndarray:
        """``A 4`` float32 centre x, centre y, width, height as shares of the canvas."""
        return _boxes(self, canvas)


@functools.cache
def _boxes(anchors: Anchors, canvas: tuple[int, int]) -> np.ndarray:
    sizes = [anchors.size_at(canvas, level) for level in anchors.levels]
    found = make_anchors(sizes, anchors.scales, anchors.ratios, canvas, square=anchors.square)
    found.setflags(write=False)
    return found
