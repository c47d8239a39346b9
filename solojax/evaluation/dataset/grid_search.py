"""Grids on which fewer instances of a data set lose their cell than on today's."""

import dataclasses
import itertools
import math

import numpy as np

from solojax import config as config_lib
from solojax import progress
from solojax.evaluation.dataset import collisions
from solojax.heads.grid import Grid

FACTORS = (1.0, 1.25, 1.5, 2.0)  # by which the side of a level is tried, each level by its own
LARGEST_SIDE = 100  # that is suggested
MOST_CELLS = 1.5  # of a suggested grid, times those of today's
SHIFTS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)  # by which today's scale ranges are tried, all together
POWERS = (0.0, 0.5, 1.0, 1.5, 2.0)  # levels that share the instances as side ** power are tried


def suggest(surveyed: collisions.Survey, data: config_lib.Data, grid: Grid) -> list[Grid]:
    """Searches for grids that leave fewer instances ``without_cell`` than ``grid``, with a bar.

    Scale ranges are moved all together or fitted to the sizes of the instances, and overlap by a
    factor of two as the published ones do. Were every level for all sizes, still fewer instances
    would lose all of their cells; but no level would be for a size any more.

    Returns:
      The best with the cells that ``grid`` has, then the best with up to ``MOST_CELLS`` times as
      many; each only where it leaves fewer than what comes before it.
    """
    least = collisions.count(surveyed, grid).without_cell
    if not least:
        return []
    present = collisions.Survey(*(column[surveyed.valid] for column in surveyed))
    sizes_tried = _sizes_tried(data, grid)
    ranges_tried = _scale_ranges_tried(present, data, grid)
    found = []
    for scale_ranges in progress.bar(ranges_tried, "searching"):
        owning = {
            (level, side): collisions.on_level(present, side, scale_ranges[level], grid.sigma)[1]
            for level, side in {pair for sizes in sizes_tried for pair in enumerate(sizes)}
        }
        for sizes in sizes_tried:
            own = np.logical_or.reduce([owning[pair] for pair in enumerate(sizes)])
            found.append((int((~own).sum()), _cells(sizes), sizes, scale_ranges))
    suggested = []
    for most_cells in (_cells(grid.sizes), MOST_CELLS * _cells(grid.sizes)):
        allowed = [one for one in found if one[1] <= most_cells]
        # Of equals the one with the fewest cells, and of those the one that was tried first.
        without_cell, _, sizes, scale_ranges = min(allowed, key=lambda one: one[:2])
        if without_cell < least:
            least = without_cell
            suggested.append(dataclasses.replace(grid, sizes=sizes, scale_ranges=scale_ranges))
    return suggested


def suggestion(
    surveyed: collisions.Survey, data: config_lib.Data, grid: Grid, place: str = "model.head"
) -> str:
    """What ``suggest`` finds, as lines for people: what to paste, and what comes of it.

    Args:
      surveyed: the instances.
      data: canvases and sizes.
      grid: today's.
      place: of its head in the config.
    """

    def line(name: str, one: Grid) -> str:
        counts = collisions.count(surveyed, one)
        share = 100 * counts.without_cell / max(counts.instances, 1)
        cells = _cells(one.sizes)
        times = f"{cells / _cells(grid.sizes):.2f} x"
        return f"  {name:10} {cells:7} {times:>9} {counts.without_cell:12} {share:6.2f} %"

    suggested = suggest(surveyed, data, grid)
    lines = ["  grid         cells             own their centre's cell on no level"]
    lines.append(line("this", grid))
    for one in suggested:
        lines += [line("suggested", one), f"    --set {_settings(one, grid, place)}"]
    if not suggested:
        lines.append("  of the grids that were tried, none leaves fewer")
    return "\n".join(lines)


def _cells(sizes: tuple[int, ...]) -> int:
    """``T``, to which what a head computes is proportional."""
    return sum(side * side for side in sizes)


def _sizes_tried(data: config_lib.Data, grid: Grid) -> list[tuple[int, ...]]:
    """Today's, and larger ones that are no finer than the maps they are sampled from."""
    shorter = min(map(min, data.canvases))
    sides = []
    for side, stride in zip(grid.sizes, grid.strides, strict=True):
        most = max(min(shorter // stride, LARGEST_SIDE), side)
        sides.append([round(side * factor) for factor in FACTORS if round(side * factor) <= most])
    most_cells = MOST_CELLS * _cells(grid.sizes)
    return [
        sizes
        for sizes in itertools.product(*sides)
        # A coarser level has no more cells than a finer one, unless it has so today.
        if sizes == grid.sizes
        or (_cells(sizes) <= most_cells and list(sizes) == sorted(sizes, reverse=True))
    ]


def _scale_ranges_tried(
    present: collisions.Survey, data: config_lib.Data, grid: Grid
) -> list[tuple[tuple[float, float], ...]]:
    """Today's first, then those moved, then those fitted, without repetitions."""
    largest = math.sqrt(max(height * width for height, width in data.canvases))
    top = max(grid.scale_ranges[-1][1], 2.0 ** math.ceil(math.log2(largest)))  # open, as it were
    lows = [[least * shift for least, _ in grid.scale_ranges[1:]] for shift in SHIFTS]
    for power in POWERS:
        shares = np.array(grid.sizes, np.float64) ** power
        middles = np.quantile(present.sizes, np.cumsum(shares)[:-1] / shares.sum())
        lows.append((middles / math.sqrt(2)).tolist())  # they overlap from there to twice of it
    return list(dict.fromkeys([grid.scale_ranges, *(scale_ranges(one, top) for one in lows)]))


def scale_ranges(lows: list[float], top: float) -> tuple[tuple[float, float], ...]:
    """From the lower ends of all levels but the first; numbers as a person would write them."""
    rounded = [1.0]
    for low in lows:
        rounded.append(max(float(round(float(f"{low:.2g}"))), rounded[-1] + 1))
    highs = [2 * low for low in rounded[1:]]
    return tuple(zip(rounded, [*highs, max(top, 2 * rounded[-1])], strict=True))


def _settings(one: Grid, today: Grid, place: str) -> str:
    """What has to be set for ``one`` in place of ``today``, for a shell."""
    ranges = [f"({least:g}, {greatest:g})" for least, greatest in one.scale_ranges]
    changes = []
    if one.sizes != today.sizes:
        changes.append(f'"{place}.grid.sizes={one.sizes}"')
    if one.scale_ranges != today.scale_ranges:
        comma = "," if len(ranges) == 1 else ""
        changes.append(f'"{place}.grid.scale_ranges=({", ".join(ranges)}{comma})"')
    return " ".join(changes)
