import tracemalloc

import numpy as np
import pytest

from solojax.data import rle
from solojax.data.windows import cut as windows_of
from solojax.inference import tiles
from solojax.inference.programs import Found
from solojax.types import InputError
from tests.inference.test_predictor import make, noise

SIZE = (100, 160)
TWO = [(0, 0, 100, 100), (0, 60, 100, 160)]  # left and right, 40 columns in common


def found(size: tuple[int, int], *squares: tuple[int, int, int, int, float]) -> Found:
    """Rectangles (top, left, bottom, right, score) of one class."""
    masks = np.zeros((len(squares), *size), np.uint8)
    for mask, (top, left, bottom, right, _) in zip(masks, squares, strict=True):
        mask[top:bottom, left:right] = 1
    scores = np.array([one[4] for one in squares], np.float32)
    encoded = rle.encode_packed(np.packbits(masks, axis=-1), size)
    return Found(scores, np.zeros(len(squares), np.int32), encoded, overflow=1)


def merge(whole: Found, *parts: Found, threshold: float = 0.05) -> Found:
    options = {"margin": 4, "kernel": "gaussian", "sigma": 2.0, "threshold": threshold}
    return tiles.merge(whole, parts, TWO, SIZE, **options)


def boxes(result: Found) -> list[tuple[int, ...]]:
    masks = rle.decode(result.rles, *SIZE)
    ends = [np.nonzero(mask) for mask in masks]
    return [(y.min(), x.min(), y.max() + 1, x.max() + 1) for y, x in ends]


@pytest.mark.parametrize(
    ("size", "tile", "count"),
    [((100, 160), 100, 2), ((64, 64), 64, 1), ((1000, 64), 100, 13), ((267, 66), 66, 6)],
)
def test_tiles_cover_the_image_and_overlap(size, tile, count):
    windows = windows_of(size, tile)
    assert len(windows) == count
    covered = np.zeros(size, int)
    for top, left, bottom, right in windows:
        assert bottom - top == min(tile, size[0]) and right - left == min(tile, size[1])
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    starts = [sorted({window[axis] for window in windows}) for axis in (0, 1)]
    for here in starts:
        assert all(
            after - before <= 0.75 * tile for before, after in zip(here, here[1:], strict=False)
        )


def test_what_two_tiles_show_is_found_once():
    left = found((100, 100), (20, 70, 40, 90, 0.9))
    right = found((100, 100), (20, 10, 40, 30, 0.8))  # the same pixels
    result = merge(found(SIZE), left, right)
    assert boxes(result)[0] == (20, 70, 40, 90)
    np.testing.assert_allclose(result.scores, [0.9, 0.8 * np.exp(-2)], rtol=1e-6)
    assert result.overflow == 3


def test_what_one_look_sees_twice_has_been_decayed_there():
    whole = found(SIZE, (20, 20, 40, 60, 0.9), (20, 25, 40, 65, 0.5))
    result = merge(whole, found((100, 100)), found((100, 100)))
    np.testing.assert_array_equal(result.scores, np.float32([0.9, 0.5]))


def test_a_mask_that_ends_just_before_a_border_is_cut_by_it():
    near, far = found((100, 100), (20, 50, 40, 97, 0.9)), found((100, 100), (20, 50, 40, 96, 0.9))
    assert merge(found(SIZE), near, found((100, 100))).rles == []
    assert len(merge(found(SIZE), far, found((100, 100))).rles) == 1


def test_what_a_border_cuts_is_left_to_the_look_at_the_whole():
    left = found((100, 100), (20, 50, 40, 100, 0.9))  # goes on beyond the tile
    right = found((100, 100), (20, 0, 40, 50, 0.8))
    result = merge(found(SIZE, (20, 50, 40, 110, 0.7)), left, right)
    assert boxes(result) == [(20, 50, 40, 110)]
    np.testing.assert_allclose(result.scores, [0.7])


def test_what_touches_the_border_of_the_image_stays():
    result = merge(found(SIZE), found((100, 100), (0, 0, 30, 30, 0.9)), found((100, 100)))
    assert boxes(result) == [(0, 0, 30, 30)]


def test_nothing_in_any_tile_is_nothing():
    result = merge(found(SIZE), found((100, 100)), found((100, 100)))
    assert result.rles == [] and len(result.scores) == 0


@pytest.mark.parametrize("tile", [10, 100.0, None])
def test_a_tile_that_is_no_size_is_refused(tile):
    with pytest.raises(InputError, match=f"tiles of {tile} pixels: give a whole number, 64 or"):
        windows_of((500, 500), tile)


def test_a_tiled_result_has_the_size_of_the_image():
    result = make(batch_size=2).tiled(noise(150, 230), 100)
    assert len(result) and result.masks.shape[1:] == (150, 230)
    assert (np.diff(result.scores) <= 0).all()


def test_an_image_of_one_tile_is_looked_at_once():
    predictor, image = make(), noise(60, 90)
    plain, tiled = predictor(image), predictor.tiled(image, 100)
    assert len(plain) and tiled.rles == plain.rles
    np.testing.assert_array_equal(tiled.scores, plain.scores)


LONG = (20, 30, 40, 130)  # in none of the two tiles whole


def halves(left: float, right: float) -> tuple[Found, Found]:
    """What two tiles show of LONG, with these scores."""
    return found((100, 100), (20, 30, 40, 100, left)), found((100, 100), (20, 0, 40, 70, right))


def test_what_neighbouring_tiles_show_in_parts_is_joined():
    result = merge(found(SIZE), *halves(0.9, 0.5))
    assert boxes(result) == [LONG]
    np.testing.assert_allclose(result.scores, [0.7], rtol=1e-6)  # 70 columns of each


def test_parts_that_do_not_agree_are_of_two_things():
    left, _ = halves(0.9, 0.5)
    lower = found((100, 100), (31, 0, 51, 70, 0.5))  # nine of thirty-one rows in common
    assert merge(found(SIZE), left, lower).rles == []


def test_parts_of_two_classes_are_not_joined():
    left, right = halves(0.9, 0.5)
    assert merge(found(SIZE), left, right._replace(labels=right.labels + 1)).rles == []


def test_of_what_one_tile_shows_twice_the_best_is_joined():
    left, _ = halves(0.9, 0.5)
    right = found((100, 100), (20, 0, 40, 70, 0.5), (18, 0, 40, 90, 0.4))
    assert boxes(merge(found(SIZE), left, right)) == [LONG]


@pytest.mark.parametrize(("score", "stands"), [(0.5, False), (0.3, True)])
def test_a_mask_that_is_not_cut_replaces_a_joined_one_unless_it_is_far_less_sure(score, stands):
    whole = found(SIZE, (20, 35, 40, 125, score))
    result = merge(whole, *halves(0.9, 0.5), threshold=0)
    assert len(result.scores) == 1 + stands
    assert boxes(result)[0] == (LONG if stands else (20, 35, 40, 125))
    decay = np.exp(-2 * 0.9**2) if stands else 1  # by the joined one, of an IoU of .9
    np.testing.assert_allclose(result.scores[-1], score * decay, rtol=1e-6)


def test_a_thing_may_go_through_many_tiles():
    size, tile = (100, 400), 100
    windows = windows_of(size, tile)
    assert len(windows) == 5
    parts = [
        found((tile, tile), (20, max(30 - left, 0), 40, min(370 - left, tile), 0.8))
        for _, left, *_ in windows
    ]
    options = {"margin": 4, "kernel": "gaussian", "sigma": 2.0, "threshold": 0.05}
    result = tiles.merge(found(size), parts, windows, size, **options)
    (mask,) = rle.decode(result.rles, *size)
    assert mask.sum() == mask[20:40, 30:370].sum() == 20 * 340


def test_memory_does_not_grow_with_the_square_of_the_detections():
    # Four thousand: their pairs are 16 MB even at a byte each.
    size, side = (3000, 3000), 10
    windows = windows_of(size, 1000)
    rng = np.random.default_rng(0)
    corners = rng.integers(10, 980, (len(windows), 4_000 // len(windows), 2))
    square = np.ones((side, side), np.uint8)
    parts = [
        Found(
            rng.random(len(here)).astype(np.float32),
            np.zeros(len(here), np.int32),
            [rle.encode_patch(square, (int(y), int(x)), (1000, 1000)) for y, x in here],
            overflow=0,
        )
        for here in corners
    ]
    options = {"margin": 4, "kernel": "gaussian", "sigma": 2.0, "threshold": 0.05}
    tracemalloc.start()
    result = tiles.merge(found(size), parts, windows, size, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2_000 < len(result.rles) < 4_000
    assert peak < 16e6
