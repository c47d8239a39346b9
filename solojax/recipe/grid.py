"""Levels, cells and sizes of a grid, from the sizes of objects and the room between them."""

import math

import numpy as np

from solojax import config as config_lib
from solojax.evaluation.dataset import collisions, grid_search
from solojax.heads.grid import Grid
from solojax.recipe.decisions import Decision

STRIDES = (8, 8, 16, 32, 32)  # the published ones; of p2 to p6
OCTAVES = 1.0  # of sizes for each level; with its neighbours' half each it sees two
CELL = 0.4  # of an object's side
FEWEST, MOST = 8, 64  # cells each way
EDGES = 0.02, 0.98  # quantiles of the sizes that levels are laid between
UNSEEN = 0.02  # share of objects that teach nothing that is worth a warning
CROWDED = 0.1  # share of objects without a cell of their own that is worth a warning


def fit(surveyed: collisions.Survey, data: config_lib.Data) -> tuple[Grid, list[Decision]]:
    """A grid for the instances of a survey, whose sizes are network pixels."""
    sizes = surveyed.sizes[surveyed.valid]
    low, high = np.maximum(np.quantile(sizes, EDGES), 1) if len(sizes) else (16, 64)
    count = int(np.clip(math.ceil(math.log2(high / low) / OCTAVES), 2, len(STRIDES)))
    edges = low * (high / low) ** (np.arange(count + 1) / count)
    shorter, longer = (pick(map(pick, data.canvases)) for pick in (min, max))
    sides = []
    for level in range(count):
        cell = CELL * math.sqrt(edges[level] * edges[level + 1])
        most = min(shorter // STRIDES[level], MOST)
        sides.append(int(np.clip(round(longer / cell), min(FEWEST, most), most)))
    top = 2.0 ** math.ceil(math.log2(longer))  # no object is longer
    grid = Grid(
        levels=tuple(f"p{2 + level}" for level in range(count)),
        strides=STRIDES[:count],
        sizes=tuple(sides),
        scale_ranges=grid_search.scale_ranges((edges[1:-1] / math.sqrt(2)).tolist(), top),
    )
    before = collisions.count(surveyed, grid)
    found = grid_search.suggest(surveyed, data, grid)
    grid = found[-1] if found else grid
    counts = collisions.count(surveyed, grid)
    lost, total = counts.without_cell, max(counts.instances, 1)
    sizes_named = ", ".join(map(str, grid.sizes)) + " cells each way"
    why = (
        f"objects of {low:.0f} to {high:.0f} pixels are {math.log2(high / low):.1f} octaves; "
        f"{lost} of {counts.instances} ({lost / total:.1%}) have no cell of their own"
    )
    if found:
        why += f", {before.without_cell} before cells were made finer or moved"
    decisions = [Decision("grid", sizes_named, why)]
    present = ~surveyed.crowds
    unseen = int((present & ~surveyed.dropped & ~surveyed.valid).sum())
    if unseen > UNSEEN * present.sum():
        decisions.append(
            Decision(
                "unseen",
                f"{unseen / present.sum():.0%} of the objects",
                "are below a pixel on this canvas and teach nothing: a larger one "
                "(data.test_short_side) or tiles show them",
                doubtful=True,
            )
        )
    if surveyed.dropped.sum() > UNSEEN * present.sum():
        decisions.append(
            Decision(
                "too many",
                f"{surveyed.dropped.sum() / present.sum():.0%} of the objects",
                f"are beyond the {data.max_instances} largest of an image, and learnt as "
                "background: solojax data import --tiles leaves fewer in one",
                doubtful=True,
            )
        )
    if lost / total > CROWDED:
        decisions.append(
            Decision(
                "crowded",
                f"{lost / total:.0%} share a cell",
                "neighbours will come out as one: a larger canvas (data.test_short_side) or tiles "
                "bring them apart",
                doubtful=True,
            )
        )
    return grid, decisions
