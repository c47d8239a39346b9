"""Which grid cells own which instance: what the heads of the SOLO family share in training.

An instance trains the pyramid levels whose scale range holds its size, and on each of them the
cells that a shrunken box around its centre of mass touches, 3 x 3 at the most (SOLO, section 3.3).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solojax.types import Instances

REACH = 1  # cells an instance may own on each side of its centre cell
WINDOW = 2 * REACH + 1


class Cells(NamedTuple):
    """Ownership of the ``T`` cells of all levels, finest level first, rows before columns.

    The ``P`` positives are (cell, instance) pairs. Two instances that meet in a cell give two
    pairs; the category of the cell is that of the later instance, ``owners`` says which it is.
    """

    labels: jax.Array  # B T int32, class of the cell, num_classes where it owns nothing
    owners: jax.Array  # B T int32, instance whose class the cell bears, -1 for none
    cells: jax.Array  # B P int32, index into T
    instances: jax.Array  # B P int32, index into N
    valid: jax.Array  # B P bool
    dropped: jax.Array  # B int32, positives beyond P, left out at random


def assign_cells(
    instances: Instances,
    canvas: tuple[int, int],
    key: jax.Array,
    *,
    num_classes: int,
    grid_sizes: tuple[int, ...],
    scale_ranges: tuple[tuple[float, float], ...],
    sigma: float,
    max_positives: int,
) -> Cells:
    """Assigns the instances of a batch to grid cells; fixed shapes, for use inside ``jit``.

    The grid always spans the whole padded canvas. The arithmetic equals the published models' bit
    for bit, centres on cell borders included.

    Args:
      instances: ``B N`` ground truth, network pixels.
      canvas: (height, width) of the padded batch, network pixels.
      key: draws which positives stay where there are more than ``max_positives``.
      num_classes: also the label of cells without an instance.
      grid_sizes: cells per side of each level.
      scale_ranges: (least, greatest) sqrt(box area) of each level, network pixels, inclusive.
      sigma: share of the box, each way, whose cells are positive.
      max_positives: ``P``, per image.
    """
    keys = jax.random.split(key, len(instances.labels))
    single = functools.partial(
        _assign_one,
        canvas=canvas,
        num_classes=num_classes,
        grid_sizes=grid_sizes,
        scale_ranges=scale_ranges,
        sigma=sigma,
        max_positives=max_positives,
    )
    return jax.vmap(single)(instances, keys)


def _assign_one(
    instances: Instances,
    key: jax.Array,
    *,
    canvas: tuple[int, int],
    num_classes: int,
    grid_sizes: tuple[int, ...],
    scale_ranges: tuple[tuple[float, float], ...],
    sigma: float,
    max_positives: int,
) -> Cells:
    x0, y0, x1, y1 = instances.boxes.T
    size = jnp.sqrt((x1 - x0) * (y1 - y0))
    # The maximum keeps XLA from fusing this product with the sums below into one rounding, which
    # would move edges that fall on a cell border; a box has no negative side anyway.
    half_width = jnp.maximum(0.5 * (x1 - x0) * sigma, 0)
    half_height = jnp.maximum(0.5 * (y1 - y0) * sigma, 0)
    x, y = instances.centers.T
    offsets = jnp.arange(-REACH, REACH + 1)
    total = sum(side * side for side in grid_sizes)

    cells, first = [], 0
    for side, (least, greatest) in zip(grid_sizes, scale_ranges, strict=True):
        rows, owned_rows = _owned(y, half_height, canvas[0], side, offsets)
        columns, owned_columns = _owned(x, half_width, canvas[1], side, offsets)
        here = instances.valid & (size >= least) & (size <= greatest)
        owned = here[:, None, None] & owned_rows[:, :, None] & owned_columns[:, None, :]
        index = first + rows[:, :, None] * side + columns[:, None, :]
        cells.append(jnp.where(owned, index, total))  # total: nowhere
        first += side * side
    pair_cells = jnp.stack(cells).reshape(-1)  # level, instance, row, column
    pair_instances = jnp.broadcast_to(
        jnp.arange(len(size))[None, :, None], (len(grid_sizes), len(size), WINDOW * WINDOW)
    ).reshape(-1)
    valid = pair_cells < total

    owners = jnp.full(total, -1).at[pair_cells].max(pair_instances, mode="drop")
    labels = jnp.where(owners >= 0, instances.labels[owners], num_classes)

    # Random ranks, since top_k breaks ties by index and would starve the coarse levels, which
    # come last, whenever there are too many positives.
    rank = jnp.where(valid, jax.random.uniform(key, valid.shape, minval=1, maxval=2), 0)
    kept = min(max_positives, len(rank))
    _, order = jax.lax.top_k(rank, kept)
    kept_valid = valid[order]
    return Cells(
        labels=labels.astype(jnp.int32),
        owners=owners.astype(jnp.int32),
        cells=jnp.where(kept_valid, pair_cells[order], 0).astype(jnp.int32),
        instances=jnp.where(kept_valid, pair_instances[order], 0).astype(jnp.int32),
        valid=kept_valid,
        dropped=jnp.sum(valid) - jnp.sum(kept_valid),
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


@functools.cache
def _borders(length: int, side: int) -> np.ndarray:
    """The least float32 position of each cell but the first, ``side`` of them.

    The published rule is trunc(float32(v / length) / float32(1 / side)), which XLA does not
    reproduce: it turns the divisions into multiplications. The rule is monotonic, so comparing
    with these borders, found here by NumPy's exact float32, is the same function.
    """

    def rule(position: np.ndarray) -> np.ndarray:
        quotient = (position / np.float32(length)) / np.float32(1 / side)
        return np.trunc(quotient).astype(np.int64)

    index = np.arange(1, side + 1)
    border = (index * (length / side)).astype(np.float32)
    while (late := rule(border) < index).any():
        border = np.where(late, np.nextafter(border, np.float32(np.inf)), border)
    while (early := rule(below := np.nextafter(border, np.float32(0))) >= index).any():
        border = np.where(early, below, border)
    return border
