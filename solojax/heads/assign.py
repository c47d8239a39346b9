"""Which grid cells own which instance: what the heads of the SOLO family are trained towards.

An instance trains the pyramid levels whose scale range holds its size, and on each of them the
cells that a shrunken box around its centre of mass touches, 3 x 3 at the most (SOLO, section 3.3).
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solojax.heads.grid import Grid
from solojax.ops import pick
from solojax.types import Instances, Mean

REACH = 1  # cells an instance may own on each side of its centre cell
WINDOW = 2 * REACH + 1

Collisions = Literal["both", "last"]
"""Whose masks a cell is trained on where instances meet in it: all of theirs, or the last one's."""


class Positives(NamedTuple):
    """(cell, instance) pairs that train a mask, padded to ``P`` an image."""

    cells: jax.Array  # B P int32, number of the cell in 0..T
    instances: jax.Array  # B P int32, index into N
    valid: jax.Array  # B P bool


class Cells(NamedTuple):
    """Ownership of the ``T`` cells of all ``L`` levels.

    Where instances meet in a cell, its category is that of the last one; ``owners`` says which it
    is.
    """

    labels: jax.Array  # B T int32, class of the cell, num_classes where it owns nothing
    owners: jax.Array  # B T int32, instance whose class the cell bears, -1 for none
    positives: tuple[Positives, ...]  # one list for all levels together, or one for each
    dropped: jax.Array  # B int32, positives beyond the caps, left out at random
    assigned: jax.Array  # B L N bool, whose size is in the level's range
    lost: jax.Array  # B L N bool, of those, whose centre lies in a cell that another one owns


class Targets(NamedTuple):
    """What a head should predict, and numbers about it for the log."""

    cells: Cells
    masks: tuple[jax.Array, ...]  # of each list of positives: B P H/stride W/stride uint8
    metrics: dict[str, Mean]


def make_targets(head: Any, instances: Instances, key: jax.Array) -> Targets:
    """Assigns the instances of a batch to the cells of a head and gathers their masks.

    Args:
      head: has ``grid``, ``num_classes``, ``max_positives``, ``collisions`` as in ``assign_cells``,
        and ``mask_strides``: one for a single list of all levels' positives; one for each level,
        for a list for each.
      instances: ``B N`` ground truth, network pixels, with masks at all of ``mask_strides``.
      key: draws which positives stay where there are more than ``max_positives``.
    """
    stride, masks = next(iter(instances.masks.items()))
    canvas = (stride * masks.shape[2], stride * masks.shape[3])
    cells = assign_cells(
        instances,
        canvas,
        key,
        head.grid,
        num_classes=head.num_classes,
        max_positives=head.max_positives,
        per_level=len(head.mask_strides) > 1,
        collisions=head.collisions,
    )
    metrics = {
        "positives": Mean(
            sum(jnp.sum(positives.valid, dtype=jnp.float32) for positives in cells.positives),
            jnp.float32(len(cells.labels)),
        ),
        "dropped_positives": Mean(jnp.sum(cells.dropped, dtype=jnp.float32), jnp.float32(0)),
    }
    for i, level in enumerate(head.grid.levels):
        # The share of the level's instances that lose their cell.
        metrics[f"collisions_{level}"] = Mean(
            jnp.sum(cells.lost[:, i], dtype=jnp.float32),
            jnp.sum(cells.assigned[:, i], dtype=jnp.float32),
        )
    return Targets(
        cells,
        tuple(
            pick.take(instances.masks[stride], positives.instances)
            for stride, positives in zip(head.mask_strides, cells.positives, strict=True)
        ),
        metrics,
    )


def assign_cells(
    instances: Instances,
    canvas: tuple[int, int],
    key: jax.Array,
    grid: Grid,
    *,
    num_classes: int,
    max_positives: int,
    per_level: bool,
    collisions: Collisions,
) -> Cells:
    """Assigns the instances of a batch to grid cells; fixed shapes, for use inside ``jit``.

    The grid always spans the whole padded canvas. The arithmetic equals the published models' bit
    for bit, centres on cell borders included. The masks are not looked at.

    Args:
      instances: ``B N`` ground truth, network pixels.
      canvas: (height, width) of the padded batch, network pixels.
      key: draws which positives stay where there are more than ``max_positives``.
      grid: the cells.
      num_classes: also the label of cells without an instance.
      max_positives: ``P``, per image and list.
      per_level: whether each level has a list of positives of its own.
      collisions: what instances that lost a cell train there.
    """
    keys = jax.random.split(key, len(instances.labels))
    single = functools.partial(
        _assign_one,
        canvas=canvas,
        grid=grid,
        num_classes=num_classes,
        max_positives=max_positives,
        per_level=per_level,
        collisions=collisions,
    )
    return jax.vmap(single)(instances._replace(masks={}), keys)


def _assign_one(
    instances: Instances,
    key: jax.Array,
    *,
    canvas: tuple[int, int],
    grid: Grid,
    num_classes: int,
    max_positives: int,
    per_level: bool,
    collisions: Collisions,
) -> Cells:
    x0, y0, x1, y1 = instances.boxes.T
    size = jnp.sqrt((x1 - x0) * (y1 - y0))
    # The maximum keeps XLA from fusing this product with the sums below into one rounding, which
    # would move edges that fall on a cell border; a box has no negative side anyway.
    half_width = jnp.maximum(0.5 * (x1 - x0) * grid.sigma, 0)
    half_height = jnp.maximum(0.5 * (y1 - y0) * grid.sigma, 0)
    x, y = instances.centers.T
    offsets = jnp.arange(-REACH, REACH + 1)
    total = grid.starts[-1]

    by_level = []
    for start, side, (least, greatest) in zip(
        grid.starts[:-1], grid.sizes, grid.scale_ranges, strict=True
    ):
        rows, owned_rows = _owned(y, half_height, canvas[0], side, offsets)
        columns, owned_columns = _owned(x, half_width, canvas[1], side, offsets)
        here = instances.valid & (size >= least) & (size <= greatest)
        owned = here[:, None, None] & owned_rows[:, :, None] & owned_columns[:, None, :]
        index = start + rows[:, :, None] * side + columns[:, None, :]
        by_level.append(jnp.where(owned, index, total))  # total: nowhere
    pair_cells = jnp.stack(by_level)  # L N WINDOW WINDOW
    numbers = jnp.arange(len(size))
    pair_instances = jnp.broadcast_to(numbers[None, :, None, None], pair_cells.shape)

    owners = jnp.full(total, -1).at[pair_cells].max(pair_instances, mode="drop")
    labels = jnp.where(owners >= 0, instances.labels[owners], num_classes)

    centers = pair_cells[:, :, REACH, REACH]  # an instance's own cell is always among its cells
    assigned = centers < total
    lost = assigned & (owners.at[centers].get(mode="clip") != numbers[None, :])

    trains = pair_cells < total
    if collisions == "last":
        trains &= owners.at[pair_cells].get(mode="clip") == pair_instances
    lists = list(zip(pair_cells, pair_instances, trains, strict=True))
    if not per_level:
        lists = [(pair_cells, pair_instances, trains)]
    keys = jax.random.split(key, len(lists))
    drawn = [_draw(*pairs, key, max_positives) for pairs, key in zip(lists, keys, strict=True)]
    kept = sum(jnp.sum(positives.valid) for positives in drawn)
    return Cells(
        labels=labels.astype(jnp.int32),
        owners=owners.astype(jnp.int32),
        positives=tuple(drawn),
        dropped=jnp.sum(trains) - kept,
        assigned=assigned,
        lost=lost,
    )


def _draw(
    cells: jax.Array, instances: jax.Array, valid: jax.Array, key: jax.Array, most: int
) -> Positives:
    """The valid pairs, ``most`` of them drawn at random where there are more."""
    cells, instances, valid = cells.reshape(-1), instances.reshape(-1), valid.reshape(-1)
    order, kept = pick.draw(key, valid, most)
    return Positives(
        cells=jnp.where(kept, cells[order], 0).astype(jnp.int32),
        instances=jnp.where(kept, instances[order], 0).astype(jnp.int32),
        valid=kept,
    )


def _owned(
    center: jax.Array, half: jax.Array, length: int, side: int, offsets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The ``N WINDOW`` cells around each centre along one axis, and whether they are owned."""
    middle = _cell(center, length, side)
    low = jnp.maximum(_cell(center - half, length, side), 0)
    high = jnp.minimum(_cell(center + half, length, side), side - 1)
    cells = middle[:, None] + offsets[None, :]
    return cells, (cells >= low[:, None]) & (cells <= high[:, None])


def _cell(position: jax.Array, length: int, side: int) -> jax.Array:
    """The cell that a position in 0..length falls in; positions before 0 count as cell 0."""
    borders = jnp.asarray(_borders(length, side))
    return jnp.sum(position[:, None] >= borders[None, :], axis=1)


def cell_of(position: np.ndarray, length: np.ndarray | float, side: int) -> np.ndarray:
    """The published rule, in NumPy: trunc(float32(v / length) / float32(1 / side)).

    Positions are float32 in 0..length; a little below 0 is cell 0 as well.
    """
    quotient = (position / np.float32(length)) / np.float32(1 / side)
    return np.trunc(quotient).astype(np.int64)


@functools.cache
def _borders(length: int, side: int) -> np.ndarray:
    """The least float32 position of each cell but the first, ``side`` of them.

    XLA does not reproduce the rule of ``cell_of``: it turns the divisions into multiplications. The
    rule is monotonic, so comparing with these borders, found here by NumPy's exact float32, is the
    same function.
    """

    def rule(position: np.ndarray) -> np.ndarray:
        return cell_of(position, length, side)

    index = np.arange(1, side + 1)
    border = (index * (length / side)).astype(np.float32)
    while (late := rule(border) < index).any():
        border = np.where(late, np.nextafter(border, np.float32(np.inf)), border)
    while (early := rule(below := np.nextafter(border, np.float32(0))) >= index).any():
        border = np.where(early, below, border)
    return border
