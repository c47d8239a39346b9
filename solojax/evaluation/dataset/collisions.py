"""How a data set falls onto a grid: who is on which level, and who loses its cell to another.

All of it is arithmetic on the boxes and centres of mass that the records hold; no mask is decoded.
The training measures the masks as resized to nearest neighbours, which moves most centres by up to
half a pixel and those of thin shapes by more: what becomes of single instances whose centre is that
close to the border of a cell, or whose area is about one pixel, may differ.
"""

import itertools
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import fit
from solojax.data.records import coco
from solojax.heads import assign
from solojax.heads.grid import Grid

CHUNK = 2**20  # cells that are looked at together, of as many images as that makes


class Survey(NamedTuple):
    """All ``n`` annotations of a split at the size of testing, in the order of its records."""

    images: np.ndarray  # n int64, record number
    labels: np.ndarray  # n int64
    areas: np.ndarray  # n float64, original pixels, as the JSON says
    boxes: np.ndarray  # n 4 float32 x0 y0 x1 y1, network pixels
    centers: np.ndarray  # n 2 float32, (x, y) centre of mass, network pixel indices
    canvases: np.ndarray  # n 2 int64, (height, width) of the image's, network pixels
    crowds: np.ndarray  # n bool
    dropped: np.ndarray  # n bool, beyond data.max_instances
    valid: np.ndarray  # n bool, who takes part: no crowds, none below a pixel, none dropped

    @property
    def sizes(self) -> np.ndarray:
        """What scale ranges are about: ``n`` float32, sqrt(box area), network pixels."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return np.sqrt(sides[:, 0] * sides[:, 1])


class Counts(NamedTuple):
    """Instances of a data set that take part."""

    instances: int
    unassigned: int  # whose size is in no level's range
    lost: int  # that own their centre's cell on none of their levels: nothing teaches their class
    level_instances: tuple[int, ...]  # of each level; most instances are on two
    level_lost: tuple[int, ...]  # those of them whose centre lies in another one's cell
    dropped: int  # beyond data.max_instances

    @property
    def without_cell(self) -> int:
        """Instances that own their centre's cell on no level, for either reason."""
        return self.unassigned + self.lost


def survey(records: coco.Records, data: config_lib.Data) -> Survey:
    """Reads all records, once, with a progress bar, and places what is in them."""
    canvas_of = fit.eval_canvases_of(records.sizes, data)
    parts = [np.zeros((0, 16))]
    for index in tqdm(range(len(records.image_ids)), "reading", unit="image"):
        height, width = map(int, records.sizes[index])
        canvas = data.canvases[canvas_of[index]]
        size = fit.size_on_canvas((height, width), data, int(canvas_of[index]))
        place = (size[1] / width, size[0] / height, size[1], size[0], *canvas)
        here = [
            (index, one.label, one.is_crowd, one.area, *one.box, *one.center, *place)
            for one in coco.read(records, index).instances
        ]
        if here:
            parts.append(np.array(here, np.float64))
    rows = np.concatenate(parts)
    images, labels, crowds, areas = rows[:, :4].T
    boxes, centers, scales, sizes, canvases = np.split(rows[:, 4:], (4, 6, 8, 10), axis=1)
    images, crowds = images.astype(np.int64), crowds.astype(bool)
    # In float32, as the training does it.
    placed = boxes.astype(np.float32) * np.tile(scales.astype(np.float32), 2)
    placed = np.clip(placed, 0, np.tile(sizes.astype(np.float32), 2))
    sides = placed[:, 2:] - placed[:, :2]
    # Some exporters write 0 for the area of everything.
    placed_areas = np.where(areas > 0, areas * scales.prod(1), sides.prod(1))
    large = ~crowds & (sides >= 1).all(1) & (placed_areas >= 1)
    dropped = _beyond(images, placed_areas, large, data.max_instances)
    return Survey(
        images=images,
        labels=labels.astype(np.int64),
        areas=areas,
        boxes=placed,
        centers=((centers + 0.5) * scales - 0.5).astype(np.float32),
        canvases=canvases.astype(np.int64),
        crowds=crowds,
        dropped=dropped,
        valid=large & ~dropped,
    )


def count(surveyed: Survey, grid: Grid) -> Counts:
    """Assigns all instances to the levels and cells of a grid."""
    levels = [
        on_level(surveyed, side, scales, grid.sigma)
        for side, scales in zip(grid.sizes, grid.scale_ranges, strict=True)
    ]
    anywhere = np.any([assigned for assigned, _ in levels], axis=0)
    taught = np.any([owning for _, owning in levels], axis=0)
    instances = int(surveyed.valid.sum())
    return Counts(
        instances=instances,
        unassigned=instances - int(anywhere.sum()),
        lost=int((anywhere & ~taught).sum()),
        level_instances=tuple(int(assigned.sum()) for assigned, _ in levels),
        level_lost=tuple(int((assigned & ~owning).sum()) for assigned, owning in levels),
        dropped=int(surveyed.dropped.sum()),
    )


def on_level(
    surveyed: Survey, side: int, scales: tuple[float, float], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Who is on a level of ``side x side`` cells, and who of them owns its centre's cell.

    The same as ``assign.assign_cells`` finds, without a device, a batch or a compilation.

    Returns:
      Two arrays of ``n`` bool.
    """
    sizes = surveyed.sizes
    assigned = surveyed.valid & (sizes >= scales[0]) & (sizes <= scales[1])
    owning = np.zeros(len(assigned), bool)
    numbers = np.flatnonzero(assigned)
    images = surveyed.images[numbers]
    half = np.float32(0.5) * (surveyed.boxes[:, 2:] - surveyed.boxes[:, :2]) * np.float32(sigma)
    step = max(CHUNK // side**2, 1)  # images
    for start in range(0, int(images.max(initial=-1)) + 1, step):
        here = numbers[slice(*np.searchsorted(images, (start, start + step)))]
        (row, top, bottom), (column, left, right) = (
            _window(
                surveyed.centers[here, axis],
                half[here, axis],
                surveyed.canvases[here, 1 - axis].astype(np.float32),
                side,
            )
            for axis in (1, 0)
        )
        first = (surveyed.images[here] - start) * side**2
        owners = np.full(step * side**2, -1)  # the last instance of each cell
        around = range(-assign.REACH, assign.REACH + 1)
        for down, across in itertools.product(around, around):
            y, x = row + down, column + across
            owned = (y >= top) & (y <= bottom) & (x >= left) & (x <= right)
            np.maximum.at(owners, (first + y * side + x)[owned], here[owned])
        owning[here] = owners[first + row * side + column] == here
    return assigned, owning


def table(grid: Grid, counts: Counts) -> str:
    """The counts as lines for people."""

    def share(part: int, whole: int) -> str:
        return f"{part:8} {100 * part / max(whole, 1):6.2f} %"

    lines = ["  level  grid   sizes in pixels  instances    of which lose their cell"]
    for level, side, scales, on_it, lost in zip(
        grid.levels,
        grid.sizes,
        grid.scale_ranges,
        counts.level_instances,
        counts.level_lost,
        strict=True,
    ):
        scale = f"{scales[0]:g}..{scales[1]:g}"
        lines.append(
            f"  {level:6} {side:3}x{side:<3} {scale:>14} {on_it:10}    {share(lost, on_it)}"
        )
    everywhere = share(counts.lost, counts.instances)
    nowhere = share(counts.unassigned, counts.instances)
    return "\n".join(
        [
            *lines,
            f"  instances                     {counts.instances:11}",
            f"  lose their cell on all of their levels        {everywhere}",
            f"  of a size that is on no level                 {nowhere}",
            f"  beyond data.max_instances of an image         {counts.dropped:8}",
        ]
    )


def _beyond(
    images: np.ndarray, areas: np.ndarray, large: np.ndarray, max_instances: int
) -> np.ndarray:
    """``n`` bool: those of ``large`` that are not among the largest ``max_instances`` of theirs."""
    order = np.flatnonzero(large)
    order = order[np.lexsort((-areas[order], images[order]))]  # stable, as the training's
    sorted_images = images[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_images, sorted_images)
    beyond = np.zeros(len(images), bool)
    beyond[order[rank >= max_instances]] = True
    return beyond


def _window(
    center: np.ndarray, half: np.ndarray, length: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the cell of each centre, the first and the last that its instance owns."""
    middle = np.maximum(assign.cell_of(center, length, side), 0)
    first = np.maximum(assign.cell_of(center - half, length, side), middle - assign.REACH)
    last = np.minimum(assign.cell_of(center + half, length, side), middle + assign.REACH)
    return middle, np.maximum(first, 0), np.minimum(last, side - 1)
