import functools
import json
import math
import shlex

import cv2
import jax
import numpy as np
import pytest

from solojax import config as config_lib
from solojax.config import Config, Data
from solojax.data import rle, transforms
from solojax.data.records import coco
from solojax.evaluation.dataset import collisions, grid_search
from solojax.heads import assign
from solojax.heads.grid import Grid
from solojax.types import Instances
from tests.examples import MODEL

GRID = Grid(levels=("p2", "p3"), strides=(8, 8), sizes=(8, 4), scale_ranges=((1, 24), (16, 48)))
# x, y, width, height; the image is 64 x 64 and stays so.
PAIR = [(8, 8, 12, 12), (9, 9, 12, 12)]  # one centre cell, on p2 alone
BOTH_LEVELS = [(8, 8, 20, 20), (40, 40, 20, 20)]  # apart on both
HALF = [(8, 8, 20, 20), (17, 8, 20, 20)]  # one column of p3, two of p2
GIANT = [(2, 2, 60, 60)]  # on no level
SWARM = [(x, y, 4, 4) for x in range(1, 58, 7) for y in range(1, 58, 7)]  # 81 on 64 cells of p2


def write(root, images: list, *, size: tuple[int, int] = (64, 64), crowds: int = 0, **changes):
    """A COCO folder; of each image's boxes or polygons the last ``crowds`` are said to be one."""
    (root / "images").mkdir(parents=True)
    for i in range(len(images)):
        cv2.imwrite(str(root / f"images/{i}.png"), np.full((*size, 3), 9, np.uint8))
    found = []
    for image, here in enumerate(images):
        for place, shape in enumerate(here):
            polygon = shape if len(shape) > 4 else corners(*shape)
            entry = {
                "id": len(found) + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": int(place >= len(here) - crowds),
                "segmentation": [polygon],
            }
            if shape is not polygon:
                entry |= {"bbox": list(shape), "area": shape[2] * shape[3]}
            found.append(entry | changes)
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": size[0], "width": size[1]}
            for i in range(len(images))
        ],
        "categories": [{"id": 1, "name": "box"}, {"id": 7, "name": "ghost"}],
        "annotations": found,
    }
    (root / "train.json").write_text(json.dumps(content))
    return root


def corners(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def data_of(root, side: int = 64, **changes) -> Data:
    fixed = dict(train_json="train.json", train_images="images", records=str(root / "records"))
    sizes = dict(canvases=((side, side),), test_short_side=side, long_side=side)
    return Data(**{**fixed, **sizes, "root": str(root), **changes})


def survey_of(root, data: Data | None = None) -> collisions.Survey:
    data = data or data_of(root)
    return collisions.survey(coco.prepare(data, "train"), data)


def test_instances_are_counted_by_level_and_by_what_they_lose(tmp_path):
    root = write(tmp_path, [PAIR, BOTH_LEVELS, HALF, GIANT, []])
    counts = collisions.count(survey_of(root), GRID)
    assert counts == collisions.Counts(
        instances=7,
        unassigned=1,  # the giant
        lost=1,  # the first of the pair
        level_instances=(6, 4),
        level_lost=(1, 1),  # the first of the pair; the first of the half, whose p2 cell is its own
        dropped=0,
    )
    assert counts.without_cell == 2
    table = collisions.table(GRID, counts)
    assert "p3       4x4" in table and "1  25.00 %" in table and "1..24" in table


def test_the_smallest_beyond_the_limit_are_left_out_and_counted(tmp_path):
    root = write(tmp_path, [[(2, 2, 4, 4), (30, 30, 9, 9), (8, 8, 9, 9)], PAIR])
    surveyed = survey_of(root, data_of(root, max_instances=1))
    # Of equals the first stays.
    np.testing.assert_array_equal(surveyed.dropped, [True, False, True, False, True])
    np.testing.assert_array_equal(surveyed.valid, ~surveyed.dropped)
    counts = collisions.count(surveyed, GRID)
    assert (counts.instances, counts.dropped, counts.lost) == (2, 3, 0)


def test_boxes_and_centres_are_placed_at_the_size_of_testing(tmp_path):
    root = write(tmp_path, [[(60, 10, 8, 6), (10, 20, 1, 6)]], size=(64, 80))
    data = data_of(root, canvases=((64, 64), (64, 128)), test_short_side=32, long_side=999)
    surveyed = survey_of(root, data)
    np.testing.assert_array_equal(surveyed.boxes, [[30, 5, 34, 8], [5, 10, 5.5, 13]])
    np.testing.assert_array_equal(surveyed.centers[0], [31.5, 6])  # of pixels 60..67 and 10..15
    np.testing.assert_array_equal(surveyed.canvases, [[64, 64]] * 2)
    assert surveyed.valid.tolist() == [True, False]  # the strip is half a pixel wide


def test_boxes_end_with_the_image_and_no_area_is_none(tmp_path):
    root = write(tmp_path, [[(50, 50, 30, 30)]], area=0)  # as some exporters write
    surveyed = survey_of(root)
    np.testing.assert_array_equal(surveyed.boxes, [[50, 50, 64, 64]])
    assert surveyed.valid.all()


def test_who_has_less_than_a_network_pixel_takes_no_part(tmp_path):
    surveyed = survey_of(write(tmp_path, [[(9, 9, 4, 4)]], area=0.5))
    assert not surveyed.valid.any() and not surveyed.dropped.any()


def test_crowds_take_no_part(tmp_path):
    surveyed = survey_of(write(tmp_path, [PAIR, GIANT, BOTH_LEVELS], crowds=1))
    assert surveyed.crowds.tolist() == [False, True, True, False, True]
    counts = collisions.count(surveyed, GRID)
    assert (counts.instances, counts.lost, counts.unassigned) == (2, 0, 0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def assign_cells(instances: Instances, canvas: tuple[int, int], grid: Grid):
    cells = assign.assign_cells(
        instances,
        canvas,
        jax.random.key(0),
        grid,
        num_classes=1,
        max_positives=1,
        per_level=False,
        collisions="both",
    )
    return cells.assigned, cells.assigned & ~cells.lost


@pytest.mark.parametrize("canvas", [(800, 1344), (1088, 800)])
def test_levels_and_cells_are_those_of_the_training_borders_included(canvas):
    rng = np.random.default_rng(canvas[0])
    grid, images, most = Grid(), 24, 200
    middles = rng.uniform(0, 1, (images, most, 2)) * (canvas[1], canvas[0])
    halves = np.exp(rng.uniform(0, np.log(600), (images, most, 1))) * rng.uniform(0.5, 1, (most, 2))
    limits = np.array([canvas[1], canvas[0]] * 2)
    boxes = np.clip(np.concatenate([middles - halves, middles + halves], -1), 0, limits)
    boxes = np.round(boxes * 2) / 2  # half pixels fall onto the borders of cells
    # Anywhere in the box: what is owned around the centre may end beyond the canvas.
    centers = boxes[..., :2] + rng.random((images, most, 2)) * (boxes[..., 2:] - boxes[..., :2])
    centers = np.minimum(np.round(centers * 2) / 2, limits[:2] - 1)
    valid = rng.random((images, most)) < 0.9
    boxes, centers = boxes.astype(np.float32), centers.astype(np.float32)
    labels = np.zeros((images, most), np.int32)
    expected = jax.device_get(
        assign_cells(Instances({}, boxes, centers, labels, valid), canvas, grid)
    )

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(images * most, *values.shape[2:])

    nobody = np.zeros(images * most, bool)
    surveyed = collisions.Survey(
        images=np.repeat(3 * np.arange(images), most),  # with images without instances between
        labels=flat(labels),
        areas=np.ones(images * most),
        boxes=flat(boxes),
        centers=flat(centers),
        canvases=np.tile(canvas, (images * most, 1)),
        crowds=nobody,
        dropped=nobody,
        valid=flat(valid),
    )
    for level, (side, scales) in enumerate(zip(grid.sizes, grid.scale_ranges, strict=True)):
        found = collisions.on_level(surveyed, side, scales, grid.sigma)
        for here, there in zip(found, expected, strict=True):
            np.testing.assert_array_equal(here, there[:, level].reshape(-1))
        assert found[1].any() and (found[0] & ~found[1]).any()


def ellipse(rng: np.random.Generator) -> list[float]:
    x, y = rng.uniform(4, 60, 2)
    a, b = rng.uniform(1.5, 20, 2)
    turns = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    return np.stack([x + a * np.cos(turns), y + b * np.sin(turns)], 1).reshape(-1).tolist()


@pytest.mark.parametrize(("side", "apart"), [(64, 0), (128, 0), (96, 0.04)])
def test_what_the_training_loses_is_what_is_counted(tmp_path, side, apart):
    # Enlarged by a whole number the resized masks have the centres that arithmetic gives them.
    rng = np.random.default_rng(side)
    root = write(tmp_path, [[ellipse(rng) for _ in range(12)] for _ in range(40)])
    data = data_of(root, side=side, max_instances=10)
    grid = Grid(("p2", "p3"), (8, 8), (8, 4), ((1, 0.4 * side), (0.25 * side, 0.7 * side)))
    records = coco.prepare(data, "train")
    surveyed = collisions.survey(records, data)
    levels = zip(grid.sizes, grid.scale_ranges, strict=True)
    own = np.stack([collisions.on_level(surveyed, *level, grid.sigma)[1] for level in levels])
    differing = 0
    for index in range(len(records.image_ids)):
        here = coco.read(records, index).instances
        shapes = transforms.place_shapes(
            rle.decode_patches([one.rle for one in here], 64),
            np.array([one.box for one in here]),
            np.array([one.label for one in here]),
            transforms.Placement((64, 64), (side, side)),
        )
        placed, dropped = transforms.make_instances(shapes, (side, side), 10, ())
        batch = jax.tree.map(lambda leaf: leaf[None], placed)
        _, expected = jax.device_get(assign_cells(batch, (side, side), grid))
        mine = np.flatnonzero(surveyed.images == index)
        taking_part = mine[surveyed.valid[mine]]
        assert len(taking_part) == placed.valid.sum()
        assert surveyed.dropped[mine].sum() == dropped
        differing += (own[:, taking_part] != expected[0][:, placed.valid]).any(0).sum()
    assert differing <= apart * surveyed.valid.sum()


def test_a_suggestion_leaves_fewer_without_a_cell_and_can_be_pasted(tmp_path):
    root = write(tmp_path, [SWARM, PAIR, BOTH_LEVELS])
    # Twice as large, or the maps would be no finer than the grid.
    data, model = data_of(root, side=128), MODEL.clone(head=MODEL.head.clone(grid=GRID))
    surveyed = survey_of(root, data)
    before = collisions.count(surveyed, GRID).without_cell
    suggested = grid_search.suggest(surveyed, data, GRID)
    after = [collisions.count(surveyed, one).without_cell for one in suggested]
    assert before > 16 and after and after[-1] < before / 2, (before, after)
    cells = [sum(side * side for side in one.sizes) for one in [GRID, *suggested]]
    assert cells[-1] <= grid_search.MOST_CELLS * cells[0]

    lines = grid_search.suggestion(surveyed, data, GRID).splitlines()
    pasted = [shlex.split(line)[1:] for line in lines if line.strip().startswith("--set")]
    config = Config(model=model, data=data)
    found = [config_lib.override(config, *texts).model.head.grid for texts in pasted]
    assert found == suggested
    figures = [line.split()[4:] for line in lines if " x " in line]
    assert [int(count) for count, *_ in figures] == [before, *after]


def test_scale_ranges_are_fitted_at_the_same_cells(tmp_path):
    root = write(tmp_path, [GIANT, BOTH_LEVELS])
    surveyed = survey_of(root)
    (suggested,) = grid_search.suggest(surveyed, data_of(root), GRID)
    assert suggested.sizes == GRID.sizes and suggested.scale_ranges[0][0] == 1
    assert suggested.scale_ranges[-1][1] >= 64  # whatever fits the canvas
    assert collisions.count(surveyed, suggested).without_cell == 0


def test_nothing_is_suggested_where_nothing_is_lost(tmp_path):
    root = write(tmp_path, [BOTH_LEVELS, []])
    assert grid_search.suggest(survey_of(root), data_of(root), GRID) == []
    text = grid_search.suggestion(survey_of(root), data_of(root), GRID)
    assert "--set" not in text and "none leaves fewer" in text


def test_nothing_is_suggested_where_nothing_helps(tmp_path):
    twins = [(8, 8, 12, 12), (8, 8, 12, 12)]  # one place: no grid tells them apart
    root = write(tmp_path, [twins])
    surveyed = survey_of(root)
    assert collisions.count(surveyed, GRID).lost == 1
    assert grid_search.suggest(surveyed, data_of(root), GRID) == []


@pytest.mark.parametrize(
    "grid",
    [
        Grid(("p3",), (8,), (4,), ((2, 30),)),
        Grid(("p2", "p3", "p4"), (8, 8, 16), (4, 6, 2), ((1, 8), (4, 16), (9, 40))),
        Grid(),  # already finer than the maps of this canvas
    ],
    ids=["one level", "three levels, coarser first", "the published one"],
)
def test_any_grid_is_searched(tmp_path, grid):
    root = write(tmp_path, [SWARM, GIANT, [(30, 30, 9, 9)]])
    surveyed = survey_of(root)
    least = collisions.count(surveyed, grid).without_cell
    for one in grid_search.suggest(surveyed, data_of(root), grid):
        assert collisions.count(surveyed, one).without_cell < least
        least = collisions.count(surveyed, one).without_cell
        lows, highs = zip(*one.scale_ranges, strict=True)
        assert one.levels == grid.levels and list(lows) == sorted(lows)
        assert one.scale_ranges == grid.scale_ranges or highs[:-1] == tuple(
            2 * low for low in lows[1:]
        )
