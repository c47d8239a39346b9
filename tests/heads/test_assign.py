import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads import assign
from solojax.heads.grid import Grid
from solojax.heads.solov2 import SOLOv2
from solojax.types import Instances
from tests.conftest import FIXTURES

GRID = Grid()  # the published one
cell = jax.jit(assign._cell, static_argnums=(1, 2))


def instances(boxes: list, centers: list, labels: list | None = None) -> Instances:
    """One image with a 800 x 1344 canvas."""
    count = len(boxes)
    return Instances(
        masks={4: jnp.zeros((1, count, 200, 336), jnp.uint8)},
        boxes=jnp.array([boxes], jnp.float32).reshape(1, count, 4),
        centers=jnp.array([centers], jnp.float32).reshape(1, count, 2),
        labels=jnp.array([labels or [0] * count], jnp.int32).reshape(1, count),
        valid=jnp.ones((1, count), bool),
    )


def assign_cells(
    given: Instances,
    *,
    max_positives: int = 512,
    seed: int = 0,
    per_level: bool = False,
    collisions: assign.Collisions = "both",
) -> assign.Cells:
    return _assign(given, jax.random.key(seed), max_positives, per_level, collisions)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _assign(given, key, max_positives, per_level, collisions):
    return assign.assign_cells(
        given,
        (800, 1344),
        key,
        GRID,
        num_classes=80,
        max_positives=max_positives,
        per_level=per_level,
        collisions=collisions,
    )


def windows(cells: assign.Cells) -> dict[int, tuple[int, int, int, int]]:
    """Level -> (top, bottom, left, right) of the owned cells, inclusive."""
    labels, first, found = np.asarray(cells.labels[0]), 0, {}
    for level, side in enumerate(GRID.sizes):
        rows, columns = np.nonzero(labels[first : first + side**2].reshape(side, side) < 80)
        if len(rows):
            found[level] = (rows.min(), rows.max(), columns.min(), columns.max())
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        first += side**2
    return found


@pytest.mark.parametrize(
    ("box", "center", "expected"),
    [
        ((100, 200, 160, 290), (129.5, 244.5), {0: (11, 12, 3, 4), 1: (10, 11, 3, 3)}),
        ((10, 10, 710, 610), (380, 300), {3: (5, 7, 3, 5), 4: (3, 5, 2, 4)}),
        ((600, 100, 1300, 780), (930.25, 441.75), {3: (7, 9, 10, 11), 4: (5, 7, 7, 8)}),
        ((0, 0, 1333, 800), (666, 399.5), {4: (4, 6, 4, 6)}),
        ((1300, 760, 1333, 800), (1316, 779.5), {0: (38, 39, 39, 39)}),
        ((300, 300, 300.5, 301), (300, 300), {}),
        ((10, 10, 710, 610), (359.5, 309.5), {3: (5, 7, 3, 5), 4: (3, 5, 2, 3)}),
        ((600, 100, 1300, 780), (949.5, 439.5), {3: (7, 9, 10, 12), 4: (5, 7, 7, 9)}),
    ],
)
def test_golden_vectors(box, center, expected):
    assert windows(assign_cells(instances([box], [center]))) == expected


def test_cells_equal_the_recorded_table_borders_included():
    table = np.load(FIXTURES / "op_misc.npz")["grid_cell/table"]
    for length, side in {(int(row[1]), int(row[2])) for row in table}:
        rows = table[(table[:, 1] == length) & (table[:, 2] == side)]
        position = jnp.asarray(rows[:, 0], jnp.float32)
        found = cell(position, length, side)
        np.testing.assert_array_equal(found, rows[:, 3])


def test_cells_equal_float32_arithmetic_on_every_half_pixel():
    for length in (448, 800, 1088, 1216, 1344):
        position = np.arange(0, 2 * length, dtype=np.float32) / 2
        for side in GRID.sizes:
            quotient = (position / np.float32(length)) / np.float32(1 / side)
            found = cell(position, length, side)
            np.testing.assert_array_equal(found, np.trunc(quotient))


def test_region_edges_round_like_float32():
    # A fused multiply-add would round once where the rule rounds twice.
    rng = np.random.default_rng(0)
    width = rng.integers(1, 1344, 20000).astype(np.float32)
    center = (rng.integers(0, 2 * 1344, 20000) / 2).astype(np.float32)
    half = np.float32(0.5) * width * np.float32(0.2)
    side, length = 40, 1344

    def rule(position: np.ndarray) -> np.ndarray:
        quotient = (position / np.float32(length)) / np.float32(1 / side)
        return np.trunc(quotient).astype(int)

    @jax.jit
    def owned(center, width):
        half = jnp.maximum(0.5 * width * 0.2, 0)
        return assign._owned(center, half, length, side, jnp.arange(-1, 2))

    cells, found = (np.asarray(x) for x in owned(jnp.asarray(center), jnp.asarray(width)))
    low, high = np.maximum(rule(center - half), 0), np.minimum(rule(center + half), side - 1)
    np.testing.assert_array_equal(found, (cells >= low[:, None]) & (cells <= high[:, None]))


BOX, CENTER = (100, 100, 180, 180), (140, 140)  # on levels 0 and 1
TWINS = instances([BOX, BOX], [CENTER, CENTER], [7, 9])


def pairs(cells: assign.Cells) -> list[tuple[int, int, int]]:
    """(list, cell, instance) of all positives, sorted."""
    found = []
    for number, positives in enumerate(cells.positives):
        for cell, instance, valid in zip(*(x[0].tolist() for x in positives), strict=True):
            if valid:
                found.append((number, cell, instance))
    return sorted(found)


def test_the_later_instance_wins_the_category_and_both_stay_positives():
    found = assign_cells(TWINS)
    owned = np.flatnonzero(np.asarray(found.owners[0]) >= 0).tolist()
    assert set(np.asarray(found.labels[0])[owned]) == {9}
    assert pairs(found) == sorted((0, cell, n) for cell in owned for n in (0, 1))


def test_where_the_last_instance_wins_all_it_alone_is_positive():
    found = assign_cells(TWINS, collisions="last")
    owned = np.flatnonzero(np.asarray(found.owners[0]) == 1).tolist()
    assert pairs(found) == [(0, cell, 1) for cell in owned] != []


def test_positives_per_level_are_those_of_all_levels():
    together, apart = assign_cells(TWINS), assign_cells(TWINS, per_level=True)
    assert len(together.positives) == 1 and len(apart.positives) == 5
    assert sorted(pair[1:] for pair in pairs(apart)) == [pair[1:] for pair in pairs(together)]
    for level, cell, _ in pairs(apart):
        assert GRID.starts[level] <= cell < GRID.starts[level + 1]
    assert {level for level, _, _ in pairs(apart)} == {0, 1}


def test_an_instance_whose_centre_another_one_owns_is_counted_as_lost():
    far = instances([BOX, (700, 100, 780, 180), BOX], [CENTER, (740, 140), CENTER])
    found = assign_cells(far)
    assert found.assigned[0].tolist() == [[True] * 3] * 2 + [[False] * 3] * 3
    assert found.lost[0].tolist() == [[True, False, False]] * 2 + [[False] * 3] * 3
    for settings in ({"collisions": "last"}, {"per_level": True}):
        again = assign_cells(far, **settings)
        np.testing.assert_array_equal(again.lost, found.lost)


def test_neighbours_that_share_a_cell_but_not_a_centre_lose_nothing():
    # Level 0 has columns of 33.6 pixels: the first owns columns 3 and 4, the second 4 and 5.
    pair = instances([(90, 100, 180, 180), (120, 100, 215, 180)], [(133, 140), (169, 140)])
    found = assign_cells(pair)
    assert found.assigned[0, 0].all() and not found.lost[0, 0].any()


def test_targets_bear_the_masks_of_their_instances_and_numbers_for_the_log():
    masks = np.zeros((1, 2, 200, 336), np.uint8)
    masks[0, 0, 25:45, 25:45], masks[0, 1, 25:45, 30:40] = 1, 1
    given = TWINS._replace(masks={4: jnp.asarray(masks)})
    make_targets = jax.jit(assign.make_targets, static_argnums=0)
    found = make_targets(SOLOv2(max_positives=64), given, jax.random.key(0))
    ((positives,), (gathered,)) = found.cells.positives, found.masks
    for place in np.flatnonzero(positives.valid[0]):
        expected = masks[0, int(positives.instances[0, place])]
        np.testing.assert_array_equal(gathered[0, place], expected)
    logged = {name: (float(mean.total), float(mean.count)) for name, mean in found.metrics.items()}
    assert logged["positives"] == (len(pairs(found.cells)), 1)
    assert logged["dropped_positives"] == (0, 0)
    assert logged["collisions_p2"] == (1, 2) and logged["collisions_p6"] == (0, 0)


def test_both_ends_of_a_scale_range_are_inclusive():
    found = windows(assign_cells(instances([(0, 0, 96, 96)], [(48, 48)])))
    assert set(found) == {0, 1, 2}


def test_padding_owns_nothing():
    given = instances([(100, 100, 180, 180)], [(140, 140)])
    found = assign_cells(given._replace(valid=jnp.zeros((1, 1), bool)))
    assert (found.labels == 80).all() and pairs(found) == [] and found.dropped[0] == 0
    assert not found.assigned.any() and not found.lost.any()


def test_an_overflow_is_counted_and_drawn_from_all_levels():
    rng = np.random.default_rng(0)
    centers = rng.uniform(200, 700, (40, 2))
    boxes = np.concatenate([centers - 100, centers + 100], 1)  # levels 2 and 3
    given = instances(boxes.tolist(), centers.tolist())
    total = len(pairs(assign_cells(given)))
    found = assign_cells(given, max_positives=60)
    assert len(pairs(found)) == 60 and int(found.dropped[0]) == total - 60
    level_of = np.repeat(np.arange(5), np.square(GRID.sizes))
    assert set(level_of[[cell for _, cell, _ in pairs(found)]]) == {2, 3}
    assert pairs(found) != pairs(assign_cells(given, max_positives=60, seed=1))
    apart = assign_cells(given, max_positives=60, per_level=True)
    assert len(pairs(apart)) == 120 and int(apart.dropped[0]) == total - 120
