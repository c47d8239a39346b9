"""How a data set falls onto a grid: who is on which level, and who loses its cell to another."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import annotations, coco, pipeline, plan, transforms
from solojax.heads import assign
from solojax.heads.grid import Grid
from solojax.types import Instances

BATCH = 64  # images, for the device not to be asked one by one


class Counts(NamedTuple):
    """Instances of a data set, crowds and those too small for a network pixel aside."""

    instances: int
    unassigned: int  # whose size is in no level's range
    lost: int  # that own their centre's cell on none of their levels: nothing teaches their class
    level_instances: tuple[int, ...]  # of each level; most instances are on two
    level_lost: tuple[int, ...]  # those of them whose centre lies in another one's cell
    dropped: int  # beyond data.max_instances


def count(records: coco.Records, data: config_lib.Data, grid: Grid) -> Counts:
    """Assigns all instances of ``records`` at the size of testing, with a progress bar."""
    planned = plan.sequence(pipeline.canvases_of(records, data, data.test_short_side), BATCH)
    levels = len(grid.levels)
    instances = unassigned = lost = dropped = 0
    level_instances, level_lost = np.zeros(levels, int), np.zeros(levels, int)
    with tqdm(total=len(records.image_ids), desc="counting", unit="image") as bar:
        for indices, place in zip(planned.indices, planned.canvases, strict=True):
            canvas = data.canvases[place]
            placed = [_place(records, data, canvas, int(index)) for index in indices if index >= 0]
            dropped += sum(beyond for _, beyond in placed)
            filled = [one for one, _ in placed] + [_nothing(data)] * (BATCH - len(placed))
            batch = jax.tree.map(lambda *leaves: np.stack(leaves), *filled)
            assigned, loses = jax.device_get(_assign(batch, canvas, grid))
            instances += int(batch.valid.sum())
            unassigned += int((batch.valid & ~assigned.any(1)).sum())
            lost += int((assigned.any(1) & ~(assigned & ~loses).any(1)).sum())
            level_instances += assigned.sum((0, 2))
            level_lost += loses.sum((0, 2))
            bar.update(len(placed))
    by_level = tuple(level_instances.tolist()), tuple(level_lost.tolist())
    return Counts(instances, unassigned, lost, *by_level, dropped)


def table(grid: Grid, counts: Counts) -> str:
    """The counts as lines for people."""

    def share(part: int, whole: int) -> str:
        return f"{part:8} {100 * part / max(whole, 1):6.2f} %"

    lines = ["  level  grid   sizes in pixels  instances    of which lose their cell"]
    for level, side, scales, on_level, lost in zip(
        grid.levels,
        grid.sizes,
        grid.scale_ranges,
        counts.level_instances,
        counts.level_lost,
        strict=True,
    ):
        scale = f"{scales[0]:g}..{scales[1]:g}"
        lines.append(
            f"  {level:6} {side:3}x{side:<3} {scale:>14} {on_level:10}    {share(lost, on_level)}"
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


def _place(
    records: coco.Records, data: config_lib.Data, canvas: tuple[int, int], index: int
) -> tuple[Instances, int]:
    """The instances of a record on their canvas, without masks; the image is not decoded."""
    height, width = map(int, records.sizes[index])
    size = transforms.fit_size((height, width), canvas, data.test_short_side, data.long_side)
    here = [one for one in coco.read(records, index).instances if not one.is_crowd]
    return transforms.place_instances(
        annotations.decode([one.rle for one in here], height, width),
        np.array([one.box for one in here]),
        np.array([one.label for one in here]),
        transforms.Placement((height, width), size),
        canvas,
        data.max_instances,
        mask_strides=(),
    )


def _nothing(data: config_lib.Data) -> Instances:
    """An image without instances, to fill up a batch."""
    most = data.max_instances
    return Instances(
        masks={},
        boxes=np.zeros((most, 4), np.float32),
        centers=np.zeros((most, 2), np.float32),
        labels=np.zeros(most, np.int32),
        valid=np.zeros(most, bool),
    )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _assign(
    instances: Instances, canvas: tuple[int, int], grid: Grid
) -> tuple[jax.Array, jax.Array]:
    """``B L N``: who is on which level, and who of them loses its cell there."""
    # Neither classes nor the drawing of positives matter to who owns what.
    cells = assign.assign_cells(
        instances,
        canvas,
        jax.random.key(0),
        grid,
        num_classes=0,
        max_positives=1,
        per_level=False,
        collisions="both",
    )
    return cells.assigned, cells.lost
