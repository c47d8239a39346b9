"""Pyramid levels laid out as grids of S x S cells: what all heads of the SOLO family stand on.

The ``T`` cells of all levels are numbered through: finest level first, rows before columns.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp

from solojax.fields import check_count, check_fields
from solojax.heads import protocol
from solojax.heads.levels import check_levels
from solojax.ops import resize
from solojax.types import InputError

LEVELS = ("p2", "p3", "p4", "p5", "p6")  # of the pyramid
MOST_CELLS = 1000  # per side; networks have tens
STRIDES = (4, 8, 16, 32)  # to which a level can be resized: all divide a canvas


@dataclasses.dataclass(frozen=True)
class Grid:
    """The levels a head sees, and which instances each of them is for; all entries go together."""

    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5", "p6")  # finest first
    strides: tuple[int, ...] = (8, 8, 16, 32, 32)  # each level is resized to this stride
    sizes: tuple[int, ...] = (40, 36, 24, 16, 12)  # S: cells per side, over the whole canvas
    scale_ranges: tuple[tuple[float, float], ...] = (
        (1, 96),
        (48, 192),
        (96, 384),
        (192, 768),
        (384, 2048),
    )  # sqrt(box area), network pixels, both ends inclusive
    sigma: float = 0.2  # share of the box, each way, whose cells are positive
    alignment: resize.Alignment = "bilinear"  # how a level's map becomes S x S

    def __post_init__(self) -> None:
        check_fields(self, "head.grid")
        if not self.levels:
            raise InputError("head.grid.levels is empty; give at least one level")
        for name in ("strides", "sizes", "scale_ranges"):
            if len(getattr(self, name)) != len(self.levels):
                raise InputError(
                    f"head.grid.{name} has {len(getattr(self, name))} entries for the "
                    f"{len(self.levels)} levels {', '.join(self.levels)}; give one for each"
                )
        if len(set(self.levels)) < len(self.levels):
            raise InputError(f"head.grid.levels={self.levels} names a level twice")
        for level, stride in zip(self.levels, self.strides, strict=True):
            if stride not in STRIDES or level not in LEVELS:
                raise InputError(
                    f"head.grid: level {level!r} at stride {stride}; levels are "
                    f"{', '.join(LEVELS)}, strides {', '.join(map(str, STRIDES))}"
                )
        check_count(self, "head.grid", "sizes", most=MOST_CELLS)
        if not all(0 <= least < greatest for least, greatest in self.scale_ranges):
            raise InputError(
                f"head.grid.scale_ranges={self.scale_ranges} must be (least, greatest) each"
            )
        if self.sigma <= 0:
            raise InputError(f"head.grid.sigma={self.sigma} must be above 0")

    @property
    def starts(self) -> tuple[int, ...]:
        """The number of each level's first cell, and ``T``."""
        return tuple(itertools.accumulate((side * side for side in self.sizes), initial=0))

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Network pixels per pixel of a mask that each level makes at half its stride."""
        return tuple(stride // 2 for stride in self.strides)

    def resized(self, pyramid: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Each level of ``{"p2": B H/4 W/4 C, ...}`` at the stride the head sees it at."""
        check_levels("grid.levels", self.levels, pyramid)
        height, width = _canvas(pyramid)
        return {
            level: resize.bilinear(pyramid[level], (height // stride, width // stride))
            for level, stride in zip(self.levels, self.strides, strict=True)
        }


def grid_of(head: Any) -> Grid | None:
    """The grid of what finds the instances; None of a head that assigns no cells."""
    grid = getattr(protocol.finder(head)[1], "grid", None)
    return grid if isinstance(grid, Grid) else None


def flatten(levels: dict[str, jax.Array]) -> jax.Array:
    """``{level: B S S C}`` -> ``B T C``."""
    return jnp.concatenate(
        [x.reshape(x.shape[0], -1, x.shape[-1]) for x in levels.values()], axis=1
    )


def _canvas(pyramid: dict[str, jax.Array]) -> tuple[int, int]:
    """(height, width) of the padded images, from the finest level there is."""
    finest = min(pyramid)
    height, width = pyramid[finest].shape[1:3]
    return height * 2 ** int(finest[1:]), width * 2 ** int(finest[1:])
