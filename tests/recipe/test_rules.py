"""Claims about the arithmetic of a recipe: what follows from the sizes and counts of a data set."""

import numpy as np
import pytest

from solojax.config import Category, Data
from solojax.evaluation.dataset import collisions
from solojax.recipe import augmentation, canvas, grid, schedule
from solojax.recipe.facts import Facts
from solojax.types import InputError


def facts(sizes=((480, 640),), sides=(100.0,), names=("thing",), per_class=100, width=None):
    """A set whose images are all alike: of each size as many, with instances of each side.

    They are squares, or bars of a ``width``.
    """
    sizes, sides = np.array(sizes), np.array(sides)
    boxes = np.stack([sides, sides if width is None else np.full(len(sides), width)], 1)
    images = np.repeat(np.arange(len(sizes)), len(sides))
    return Facts(
        sizes=sizes,
        val_images=1,
        categories=tuple(Category(number, name) for number, name in enumerate(names)),
        class_instances=np.full(len(names), per_class),
        class_images=np.full(len(names), per_class),
        per_image=np.full(len(sizes), len(sides)),
        images=images,
        boxes=np.tile(boxes, (len(sizes), 1)),
        areas=np.tile(boxes.prod(1), len(sizes)),
    )


@pytest.mark.parametrize(
    ("size", "side", "wanted"),
    [
        ((480, 640), 200.0, 256),  # large objects need no more than classes do
        ((480, 640), 20.0, 384),  # 16 of 384 pixels are 20 of 480
        ((2000, 3000), 20.0, 800),  # no published detector sees more
        ((256, 256), 8.0, 384),  # half as large again, and no more
        ((128, 128), 60.0, 128),  # enlarged, it tells no more of its classes
        ((28, 28), 18.0, 32),
    ],
)
def test_an_image_is_as_large_as_its_small_objects_ask_for(size, side, wanted):
    chosen, why = canvas.wanted_side(facts([size], [side]))
    assert chosen == wanted
    assert f"{side / min(size):.1%}" in why  # the number behind it


@pytest.mark.parametrize(
    ("size", "sides", "least"),
    [
        ((480, 640), (20.0, 60.0, 80.0), 128),  # 16 of 128 pixels are 60 of 480
        ((480, 640), (200.0, 240.0, 300.0), 128),  # for what is large, four cells of the coarsest
        ((256, 256), (8.0, 15.0, 22.0), 288),  # small objects leave no room
        ((28, 28), (18.0,), 32),  # no more than is wanted
    ],
)
def test_where_views_are_few_half_of_the_objects_keep_a_shape(size, sides, least):
    assert canvas.least_side(facts([size], sides)) == least


def test_a_side_follows_sizes_without_a_jump():
    sides = [canvas.wanted_side(facts(sides=[side]))[0] for side in np.arange(5.0, 200.0)]
    steps = -np.diff(sides)
    assert (steps >= 0).all() and steps[sides[:-1] < np.array(400)].max() == canvas.STEP


def test_what_is_much_longer_than_high_is_measured_as_the_canvas_shows_it():
    strip = facts([(500, 4000)], [40.0])
    side, why = canvas.wanted_side(strip)
    chosen, decisions = canvas.fields(strip, side)
    (scale,) = canvas.scales(strip, Data(**chosen))
    assert side == 800 and chosen["canvases"] == ((800, 1600),)
    assert f"{40 * scale:.0f} pixels at 800" in why
    assert not any(one.doubtful for one in decisions)
    _, decisions = canvas.fields(strip, 320)
    assert any("100% below 8 pixels" in one.value for one in decisions)


def test_thin_objects_are_told_by_their_width():
    bars = facts([(480, 640)], [300.0], width=5)
    assert canvas.wanted_side(bars)[0] == 384  # 4 of 384 pixels are 5 of 480
    assert "times the width of thin ones" in canvas.wanted_side(bars)[1]
    assert canvas.wanted_side(facts([(480, 640)], [80.0], width=30))[0] == 256  # pedestrians
    _, decisions = canvas.fields(facts([(480, 640)], [300.0], width=1), 800)
    assert any(one.doubtful and "thinner than 2" in one.why for one in decisions)


@pytest.mark.parametrize(
    ("sizes", "canvases"),
    [
        ([(300, 300)] * 9 + [(300, 320)], ((256, 256),)),
        ([(300, 400)] * 10, ((256, 352),)),
        ([(300, 400)] * 19 + [(400, 300)], ((256, 352),)),
        ([(300, 400)] * 5 + [(400, 300)] * 5, ((256, 352), (352, 256))),
        ([(300, 300)] * 2 + [(300, 400)] * 8, ((256, 352),)),
        ([(300, 300)] * 6 + [(300, 400)] * 4, ((256, 352), (256, 256))),
        ([(300, 3000)] * 10, ((256, 512),)),
    ],
)
def test_canvases_have_the_shapes_of_the_images(sizes, canvases):
    chosen, decisions = canvas.fields(facts(sizes), 256)
    assert chosen["canvases"] == canvases
    assert Data(**chosen).test_short_side == 256
    assert not any(one.doubtful for one in decisions)


@pytest.mark.parametrize(
    ("size", "side", "tiles"),
    [
        ((3000, 4000), 20.0, 640),
        ((3000, 4000), 400.0, None),  # a look at all of it shows them
        ((500, 800), 6.0, None),  # a tile would be half the image
        ((500, 4000), 20.0, 640),  # along the strip
        ((3000, 4000), [20.0, 500.0], None),  # the large ones would come in pieces
    ],
)
def test_large_images_of_small_objects_are_cut_into_tiles(size, side, tiles):
    chosen = canvas.tile_side(facts([size], np.atleast_1d(side)))
    assert (chosen and chosen[0]) == tiles


def test_objects_without_a_shape_are_a_warning_that_names_tiles():
    _, decisions = canvas.fields(facts([(3000, 4000)], [20.0, 400.0]), 800)
    (warned,) = [one for one in decisions if one.doubtful]
    assert "50% below 8 pixels" in warned.value and "--tiles" in warned.why


def surveyed(sides, side=256, apart=None):
    """Square instances in a row of one image, ``apart`` pixels from centre to centre."""
    sides = np.array(sides, np.float32)
    count = len(sides)
    x = np.linspace(20, side - 20, count) if apart is None else 20 + apart * np.arange(count)
    centers = np.stack([x, np.full(count, side / 2)], 1).astype(np.float32)
    boxes = np.concatenate([centers - sides[:, None] / 2, centers + sides[:, None] / 2], 1)
    return collisions.Survey(
        images=np.zeros(count, np.int64),
        labels=np.zeros(count, np.int64),
        areas=sides**2,
        boxes=boxes.astype(np.float32),
        centers=centers,
        canvases=np.full((count, 2), side),
        crowds=np.zeros(count, bool),
        dropped=np.zeros(count, bool),
        valid=np.ones(count, bool),
    )


DATA = Data(canvases=((256, 256),), test_short_side=256, long_side=256)


def test_levels_are_as_many_as_the_octaves_of_sizes():
    few, _ = grid.fit(surveyed(np.geomspace(20, 60, 8)), DATA)
    many, _ = grid.fit(surveyed(np.geomspace(6, 250, 8)), DATA)
    assert len(few.levels) == 2 and len(many.levels) == 5
    for cells in (few, many):
        assert list(cells.sizes) == sorted(cells.sizes, reverse=True)
        assert cells.scale_ranges[0][0] == 1 and cells.scale_ranges[-1][1] >= 256
        for (_, above), (below, _) in zip(cells.scale_ranges, cells.scale_ranges[1:], strict=False):
            assert below < above  # sizes between two levels are on both


def test_neighbours_get_finer_cells_than_objects_that_lie_apart():
    apart, _ = grid.fit(surveyed([60] * 4), DATA)
    near, decisions = grid.fit(surveyed([60] * 20, apart=9), DATA)
    assert max(near.sizes) > max(apart.sizes)
    assert "have no cell of their own" in decisions[0].why


def test_objects_that_no_grid_parts_are_a_warning():
    _, decisions = grid.fit(surveyed([60] * 20, apart=1), DATA)
    assert any(one.doubtful and "share a cell" in one.value for one in decisions)


def test_objects_that_teach_nothing_are_a_warning():
    some = surveyed([8] * 20)
    first = np.arange(20) < 5
    _, below = grid.fit(some._replace(valid=~first), DATA)
    _, beyond = grid.fit(some._replace(valid=~first, dropped=first), DATA)
    for decisions, what in ((below, "unseen"), (beyond, "too many")):
        (warned,) = [one for one in decisions if one.doubtful]
        assert warned.what == what and "25%" in warned.value
    none, warned = grid.fit(some._replace(valid=np.zeros(20, bool)), DATA)
    assert none.scale_ranges[-1][1] == 256 and any("100%" in one.value for one in warned)


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (("cat", "dog"), True),
        (("left hand", "right hand"), False),
        (("LeftArm", "body", "head"), False),
        (("licence_plate",), False),
        (("text_line", "figure"), False),
        (("person", "car", "stop sign"), True),  # is one in a mirror, too
        (("0", "1", "7", "A"), False),
        (("copyright", "leftover", "texture"), True),  # the words inside of others
        (("a",), False),
        (("L_lung", "heart", "R_lung"), False),
        (("ArrowL", "ArrowR"), False),
        (("size_L", "size_M"), True),  # of no other side
    ],
)
def test_what_a_mirror_makes_another_class_is_not_mirrored(names, mirrored):
    drawn, decisions = augmentation.choose(facts(names=names))
    assert (drawn.flip_probability > 0) == mirrored
    assert any(one.what == "mirror" for one in decisions)


def test_rare_classes_are_pasted_and_told_of():
    rare = facts(names=("cat", "dog"), per_class=3)
    drawn, decisions = augmentation.choose(rare)
    assert drawn.copy_paste_probability > 0
    assert any(one.doubtful and "cat 3" in one.why for one in decisions)
    drawn, decisions = augmentation.vary(drawn, rare, 36)
    assert drawn.copy_paste_probability > 0 and "'cat' in 3" in decisions[1].why
    assert not augmentation.choose(facts(names=("cat", "dog")))[0].copy_paste_probability


@pytest.mark.parametrize(("views", "sizes"), [(6, None), (36, (0.8, 1.25)), (640, (0.6, 1.5))])
def test_images_vary_where_they_are_seen_often(views, sizes):
    rare = facts(names=("cat", "dog"), per_class=3)
    drawn, told = augmentation.vary(augmentation.choose(rare)[0], rare, views)
    assert drawn.scale_range == sizes and f"{views} views" in told[0].why
    assert (drawn.copy_paste_probability > 0) == (views >= 36) == (len(told) == 2)


def test_images_of_scarce_classes_come_more_often():
    some = facts([(480, 640)] * 500, names=("cat", "dog", "newt"), per_class=0)
    some = some._replace(class_images=np.array([400, 5, 0]))  # a class without examples is none
    threshold, (told,) = augmentation.balance(some)
    assert threshold == 0.02 and "'dog' in 5" in told.why and "1.4 times" in told.why
    some = some._replace(class_images=np.array([400, 10, 0]))
    assert augmentation.balance(some) == (0, [])


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("30m", (1800, 0)),
        ("1.5h", (5400, 0)),
        ("90s", (90, 0)),
        ("1D", (86400, 0)),
        ("steps=20", (0, 20)),
    ],
)
def test_a_budget_is_a_time_or_steps(text, budget):
    assert tuple(schedule.read_budget(text)) == budget


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0h", "steps=0", "steps=x", "١m"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(InputError, match="--budget"):
        schedule.read_budget(text)


def test_a_schedule_is_in_shares_of_its_steps():
    short, _ = schedule.optimizer_of(100, 8)
    long, _ = schedule.optimizer_of(10_000, 8)
    assert (short.warmup_steps, long.warmup_steps) == (4, 400)
    assert short.ema_decay < long.ema_decay < 1
    assert schedule.round_steps(1987.6) == 1900 and schedule.round_steps(57) == 57


def test_pretrained_weights_are_moved_slowly_and_by_adam():
    fresh, _ = schedule.optimizer_of(100, 8)
    tuned, told = schedule.optimizer_of(100, 8, pretrained=True)
    assert not fresh.by_adam and tuned.by_adam == ("backbone/*",)
    assert any(one.value == "AdamW, 0.0008" for one in told)
