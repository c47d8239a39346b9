"""Claims about the order of examples."""

from collections.abc import Iterator

import numpy as np
import pytest

from solojax.data import plan

SIDES = (800, 1333)  # short, long
LANDSCAPE, PORTRAIT = (800, 1344), (1344, 800)
BATCH = 6
COUNTS = [1, BATCH - 1, BATCH, BATCH + 1, 5 * BATCH - 1, 5 * BATCH, 5 * BATCH + 1]


def mixed(counts: list[int], seed: int = 0) -> np.ndarray:
    """So many records of each canvas, shuffled."""
    canvas_of = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(canvas_of)


MIXTURES = [[count] for count in COUNTS] + [
    [5, 6, 7],
    [1, 1],
    [31, 1],
    [1, 0, 29],
    [0, 12],
    [100, 37, 3],
]


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_every_record_comes_at_least_once_an_epoch(counts: list[int]) -> None:
    canvas_of = mixed(counts)
    for epoch in range(3):
        indices = plan.plan(canvas_of, BATCH, seed=1, epoch=epoch).indices
        assert set(indices.ravel().tolist()) == set(range(len(canvas_of)))


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_every_step_has_one_canvas(counts: list[int]) -> None:
    canvas_of = mixed(counts)
    planned = plan.plan(canvas_of, BATCH, seed=1, epoch=0)
    np.testing.assert_array_equal(
        canvas_of[planned.indices], np.repeat(planned.canvases[:, None], BATCH, axis=1)
    )


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_an_epoch_has_as_many_steps_as_its_batches_need(counts: list[int]) -> None:
    canvas_of = mixed(counts)
    steps = sum(-(-count // BATCH) for count in counts)
    assert plan.steps_per_epoch(canvas_of, BATCH) == steps
    for planned in (plan.plan(canvas_of, BATCH, 0, 3), plan.sequence(canvas_of, BATCH)):
        assert planned.indices.shape == (steps, BATCH)
        assert planned.canvases.shape == (steps,)


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_only_the_last_batch_of_a_canvas_repeats_records(counts: list[int]) -> None:
    canvas_of = mixed(counts)
    indices = plan.plan(canvas_of, BATCH, seed=1, epoch=0).indices
    surplus = sum(-count % BATCH for count in counts)
    times = np.bincount(indices.ravel())
    assert times.sum() == len(canvas_of) + surplus
    assert times.max() <= 1 + -(-surplus // min(count for count in counts if count))
    batches_with_repeats = sum(len(set(batch)) < BATCH for batch in indices.tolist())
    assert batches_with_repeats <= len(counts)


def test_the_same_seed_and_epoch_give_the_same_plan() -> None:
    canvas_of = mixed([40, 30])
    first, second = (plan.plan(canvas_of, BATCH, seed=3, epoch=2) for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.canvases, second.canvases)


@pytest.mark.parametrize(("seed", "epoch"), [(3, 1), (2, 2), (2, 3)])
def test_another_seed_or_epoch_gives_another_order(seed: int, epoch: int) -> None:
    canvas_of = mixed([40, 30])
    first = plan.plan(canvas_of, BATCH, seed=3, epoch=2)
    other = plan.plan(canvas_of, BATCH, seed=seed, epoch=epoch)
    assert (first.indices != other.indices).mean() > 0.8
    assert (first.canvases != other.canvases).any()


def test_batches_of_the_canvases_are_shuffled_together() -> None:
    canvases = plan.plan(mixed([120, 120]), BATCH, seed=0, epoch=0).canvases
    assert np.count_nonzero(np.diff(canvases)) > 10


def test_records_of_a_batch_change_their_company_between_epochs() -> None:
    canvas_of = mixed([60])
    first, second = (plan.plan(canvas_of, BATCH, 0, epoch).indices for epoch in (0, 1))
    assert not {frozenset(b) for b in first.tolist()} & {frozenset(b) for b in second.tolist()}


def test_the_records_that_fill_up_differ_between_epochs() -> None:
    canvas_of = mixed([5 * BATCH + 1])
    repeated = set()
    for epoch in range(5):
        times = np.bincount(plan.plan(canvas_of, BATCH, 0, epoch).indices.ravel())
        repeated.add(tuple(np.flatnonzero(times > 1)))
    assert len(repeated) == 5


def test_records_that_repeat_come_as_often_as_they_should() -> None:
    canvas_of, repeats = mixed([49]), np.linspace(1, 3.7, 49)
    steps = plan.steps_per_epoch(canvas_of, BATCH, repeats)
    epochs = [plan.plan(canvas_of, BATCH, 1, epoch, repeats) for epoch in range(200)]
    times = np.array([np.bincount(one.indices.ravel(), minlength=49) for one in epochs])
    assert {len(one.indices) for one in epochs} == {steps}
    assert (times >= np.floor(repeats)).all()
    filled = steps * BATCH / repeats.sum()  # the last batch
    np.testing.assert_allclose(times.mean(0), repeats * filled, rtol=0.1)
    once = plan.plan(canvas_of, BATCH, 1, 0, np.ones(49))
    assert set(once.indices.ravel().tolist()) == set(range(49))


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_sequence_has_each_record_once_in_order(counts: list[int]) -> None:
    canvas_of = mixed(counts)
    planned = plan.sequence(canvas_of, BATCH)
    for canvas in range(len(counts)):
        found = planned.indices[planned.canvases == canvas].ravel()
        assert found[found >= 0].tolist() == np.flatnonzero(canvas_of == canvas).tolist()


@pytest.mark.parametrize("counts", MIXTURES, ids=str)
def test_sequence_fills_up_the_last_batch_of_a_canvas_with_minus_one(counts: list[int]) -> None:
    planned = plan.sequence(mixed(counts), BATCH)
    for canvas, count in enumerate(counts):
        found = planned.indices[planned.canvases == canvas].ravel()
        assert (found[:count] >= 0).all()
        assert found[count:].tolist() == [-1] * (-count % BATCH)


@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((480, 640), LANDSCAPE),
        ((640, 480), PORTRAIT),
        ((427, 640), LANDSCAPE),
        ((640, 427), PORTRAIT),
        ((1080, 1920), LANDSCAPE),
        ((100, 101), LANDSCAPE),
        ((101, 100), PORTRAIT),
        ((97, 641), LANDSCAPE),
        ((641, 97), PORTRAIT),
    ],
)
@pytest.mark.parametrize("canvases", [(LANDSCAPE, PORTRAIT), (PORTRAIT, LANDSCAPE)])
def test_landscape_lies_on_landscape_and_portrait_on_portrait(
    size: tuple[int, int], canvas: tuple[int, int], canvases: tuple[tuple[int, int], ...]
) -> None:
    (chosen,) = plan.choose_canvases(np.array([size]), canvases, *SIDES)
    assert canvases[chosen] == canvas


def test_images_of_all_sizes_are_chosen_for_one_by_one() -> None:
    sizes = np.array([(480, 640), (640, 480), (480, 640), (500, 500), (640, 480)])
    chosen = plan.choose_canvases(sizes, (PORTRAIT, LANDSCAPE), *SIDES)
    assert chosen.tolist() == [1, 0, 1, 0, 0]
    assert chosen.dtype == np.int64


def test_of_canvases_that_take_an_image_at_full_size_the_smallest_is_chosen() -> None:
    canvases = ((1344, 1344), (800, 1344), (800, 1088), (800, 800))
    chosen = plan.choose_canvases(np.array([(480, 640), (500, 500)]), canvases, *SIDES)
    assert chosen.tolist() == [2, 3]


def test_the_only_canvas_takes_all_images() -> None:
    sizes = np.array([(480, 640), (640, 480), (1, 5000)])
    assert plan.choose_canvases(sizes, ((64, 64),), *SIDES).tolist() == [0, 0, 0]


# Mixtures of any kind


def random_mixtures(count: int) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Canvases of the records, some of which none has; batch size, seed and epoch."""
    for case in range(count):
        rng = np.random.default_rng(case)
        counts = rng.integers(0, 40, rng.integers(1, 6)) * rng.integers(0, 2)
        counts[rng.integers(len(counts))] += rng.integers(1, 30)
        canvas_of = mixed(counts.tolist(), case)
        yield canvas_of, int(rng.integers(1, 20)), int(rng.integers(1000)), int(rng.integers(5))


def test_in_any_mixture_every_record_comes_and_only_the_last_batch_of_a_canvas_repeats() -> None:
    for canvas_of, batch_size, seed, epoch in random_mixtures(300):
        planned = plan.plan(canvas_of, batch_size, seed, epoch)
        assert len(planned.indices) == plan.steps_per_epoch(canvas_of, batch_size)
        assert set(planned.canvases.tolist()) == set(canvas_of.tolist())
        for canvas in set(canvas_of.tolist()):
            mine = np.flatnonzero(canvas_of == canvas)
            batches = planned.indices[planned.canvases == canvas]
            assert len(batches) == -(-len(mine) // batch_size)
            assert set(batches.ravel().tolist()) == set(mine.tolist())
            # As many are distinct as there can be, and all but one batch have each record once.
            full, rest = divmod(len(mine), batch_size)
            new = sorted(len(set(batch)) for batch in batches.tolist())
            assert new[len(batches) - full :] == [batch_size] * full
            times = np.bincount(batches.ravel(), minlength=len(canvas_of))[mine]
            assert (times - 1).sum() == (batch_size - rest) * (rest > 0)
            assert np.ptp(times) <= 1


def test_in_any_mixture_a_step_has_one_canvas() -> None:
    for canvas_of, batch_size, seed, epoch in random_mixtures(300):
        planned = plan.plan(canvas_of, batch_size, seed, epoch)
        assert (canvas_of[planned.indices] == planned.canvases[:, None]).all()


def test_in_any_mixture_an_evaluation_has_each_record_once_and_one_canvas_a_step() -> None:
    for canvas_of, batch_size, *_ in random_mixtures(300):
        planned = plan.sequence(canvas_of, batch_size)
        used = planned.indices >= 0
        assert sorted(planned.indices[used].tolist()) == list(range(len(canvas_of)))
        canvases = np.broadcast_to(planned.canvases[:, None], planned.indices.shape)
        assert (canvas_of[planned.indices[used]] == canvases[used]).all()
        assert used[:, 0].all()  # no step of nothing


def test_the_order_of_an_epoch_is_that_of_its_seed_in_whatever_order_it_is_asked() -> None:
    for canvas_of, batch_size, seed, _ in random_mixtures(30):
        there = [plan.plan(canvas_of, batch_size, seed, epoch) for epoch in range(4)]
        back = [plan.plan(canvas_of, batch_size, seed, epoch) for epoch in reversed(range(4))]
        for one, other in zip(there, reversed(back), strict=True):
            np.testing.assert_array_equal(one.indices, other.indices)
            np.testing.assert_array_equal(one.canvases, other.canvases)
