"""Claims about colours, crops, grid masks and erased rectangles, some the long way round."""

import math
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from solojax.data import augment

MEAN_COLOR = (124, 116, 104)
SMALL, LARGE = (37, 53), (96, 128)
STRIPS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 700), (700, 1), (3, 900), (900, 3)]

Augmentation = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]

AUGMENTATIONS: dict[str, Augmentation] = {
    "distort_colors": augment.distort_colors,
    "grid_mask": lambda image, rng, probability: augment.grid_mask(
        image, rng, probability, MEAN_COLOR
    ),
    "erase": augment.erase,
}
each_augmentation = pytest.mark.parametrize("apply", AUGMENTATIONS.values(), ids=AUGMENTATIONS)


def random_image(size: tuple[int, int] = SMALL, seed: int = 0) -> np.ndarray:
    """Read-only noise of all colours."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image.setflags(write=False)
    return image


def pixels(*colors: tuple[int, int, int]) -> np.ndarray:
    return np.array([colors], np.uint8)


# What all that change an image have in common


@each_augmentation
def test_the_same_generator_state_gives_the_same_image(apply: Augmentation) -> None:
    image = random_image()
    first, second = (
        [apply(image, np.random.default_rng(seed), 0.7) for seed in range(30)] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert len({image.tobytes() for image in first}) > 10


@each_augmentation
@pytest.mark.parametrize("size", [*STRIPS, SMALL])
def test_shape_and_type_stay_and_the_image_is_not_modified(
    apply: Augmentation, size: tuple[int, int]
) -> None:
    image = np.array(random_image(size))
    before = image.copy()
    for seed in range(20):
        changed = apply(image, np.random.default_rng(seed), 1.0)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        np.testing.assert_array_equal(image, before)


@each_augmentation
def test_mirrored_and_read_only_images_are_taken(apply: Augmentation) -> None:
    image = random_image()[:, ::-1]
    for seed in range(5):
        one, other = (
            apply(each, np.random.default_rng(seed), 1.0) for each in (image, image.copy())
        )
        np.testing.assert_array_equal(one, other)


@each_augmentation
def test_a_probability_of_0_never_changes_and_of_1_always_does(apply: Augmentation) -> None:
    image, rng = random_image(), np.random.default_rng(0)
    assert all((apply(image, rng, 0.0) == image).all() for _ in range(100))
    assert all((apply(image, rng, 1.0) != image).any() for _ in range(100))


@each_augmentation
def test_images_are_changed_as_often_as_asked(apply: Augmentation) -> None:
    image, rng = random_image(), np.random.default_rng(0)
    share = np.mean([(apply(image, rng, 0.3) != image).any() for _ in range(1000)])
    expected = 1 - 0.7**4 if apply is augment.distort_colors else 0.3
    assert share == pytest.approx(expected, abs=0.05)


# Colours


@pytest.mark.parametrize(
    ("factor", "expected"), [(0, (0, 0, 0)), (0.5, (50, 100, 25)), (1.5, (150, 255, 75))]
)
def test_brightness_blends_with_black(factor: float, expected: tuple[int, int, int]) -> None:
    assert augment.brightness(pixels((100, 200, 50)), factor).tolist() == [[list(expected)]]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0, (100, 100, 100)), (0.5, (50, 150, 100)), (1.5, (0, 250, 100))],
)
def test_contrast_blends_with_the_mean_grey(factor: float, expected: tuple[int, int, int]) -> None:
    image = pixels((0, 0, 0), (200, 200, 200), (100, 100, 100))
    assert augment.contrast(image, factor)[0].tolist() == [[grey] * 3 for grey in expected]


def test_the_mean_of_contrast_weighs_colors_as_the_eye_does() -> None:
    image = pixels((200, 100, 50), (0, 0, 0))  # greys of 124.2 and 0
    assert augment.contrast(image, 0).tolist() == [[[62, 62, 62]] * 2]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0, (124, 124, 124)), (0.5, (162, 112, 87)), (1.5, (238, 88, 13)), (3, (255, 52, 0))],
)
def test_saturation_blends_with_the_grey_image(
    factor: float, expected: tuple[int, int, int]
) -> None:
    assert augment.saturation(pixels((200, 100, 50)), factor).tolist() == [[list(expected)]]


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0, (255, 0, 0)),
        (85, (0, 255, 0)),
        (170, (0, 0, 255)),
        (-1, (255, 0, 0)),  # the circle of 256 has a red on each side of its seam
        (-86, (0, 0, 255)),
        (18, (255, 108, 0)),
        (-18, (255, 0, 102)),
        (17.8, (255, 108, 0)),
    ],
)
def test_hue_turns_red_and_wraps(shift: float, expected: tuple[int, int, int]) -> None:
    assert augment.hue(pixels((255, 0, 0)), shift).tolist() == [[list(expected)]]


def test_a_factor_of_1_changes_nothing() -> None:
    image = random_image()
    for blend in (augment.brightness, augment.contrast, augment.saturation):
        np.testing.assert_array_equal(blend(image, 1), image)


def test_greys_have_neither_saturation_nor_hue() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for amount in np.linspace(-18, 18, 37):
        np.testing.assert_array_equal(augment.hue(greys, amount), greys)
        np.testing.assert_array_equal(augment.saturation(greys, 1 + amount / 36), greys)


def test_blends_are_those_of_pillow_to_a_rounding() -> None:
    enhance = pytest.importorskip("PIL.ImageEnhance")
    image_module = pytest.importorskip("PIL.Image")
    image = random_image(LARGE)
    theirs = {
        augment.brightness: enhance.Brightness,
        augment.contrast: enhance.Contrast,
        augment.saturation: enhance.Color,
    }
    for ours, their in theirs.items():
        for factor in np.linspace(0.5, 1.5, 11):
            expected = their(image_module.fromarray(image)).enhance(float(factor))
            found = ours(image, factor).astype(int)
            np.testing.assert_allclose(found, np.asarray(expected, int), atol=1)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("shift", [-18, -5, 0, 7, 18])
def test_hues_are_those_of_pillow_to_two_steps_of_the_circle(shift: int, smooth: bool) -> None:
    # A step is 6 of 255 in the most saturated colours. OpenCV rounds a hue, Pillow cuts it off.
    image_module = pytest.importorskip("PIL.Image")
    image = cv2.GaussianBlur(random_image(LARGE), (0, 0), 3) if smooth else random_image(LARGE)
    hsv = np.array(image_module.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(shift % 256)
    channels = [image_module.fromarray(np.ascontiguousarray(hsv[..., i])) for i in range(3)]
    expected = np.asarray(image_module.merge("HSV", channels).convert("RGB"), int)
    difference = np.abs(augment.hue(image, shift) - expected)
    assert difference.max() <= 14
    assert difference.mean() <= (0.7 if smooth else 1.3)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Name and amount of every distortion, none of which is carried out."""
    applied: list[tuple[str, float]] = []

    def replace(name: str) -> None:
        def step(image: np.ndarray, amount: float) -> np.ndarray:
            applied.append((name, amount))
            return image

        monkeypatch.setattr(augment, name, step)

    for name in ("brightness", "contrast", "saturation", "hue"):
        replace(name)
    return applied


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0.5, 1.5), ("contrast", 0.5, 1.5), ("saturation", 0.5, 1.5), ("hue", -18, 18)],
)
def test_each_distortion_is_drawn_uniformly_and_as_often_as_not(
    name: str, low: float, high: float, recorded: list[tuple[str, float]]
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        augment.distort_colors(pixels((1, 2, 3)), rng)
    amounts = [amount for other, amount in recorded if other == name]
    span = high - low
    assert len(amounts) / 2000 == pytest.approx(0.5, abs=0.05)
    assert low <= min(amounts) < low + 0.02 * span
    assert high - 0.02 * span < max(amounts) <= high
    assert np.mean(amounts) == pytest.approx((low + high) / 2, abs=0.04 * span)
    assert np.std(amounts) == pytest.approx(span / math.sqrt(12), abs=0.02 * span)


def test_distortions_come_in_every_order_alike(recorded: list[tuple[str, float]]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2400):
        augment.distort_colors(pixels((1, 2, 3)), rng, 1.0)
    names = [name for name, _ in recorded]
    orders = Counter(tuple(names[start : start + 4]) for start in range(0, len(names), 4))
    assert len(orders) == 24
    assert all(60 < count < 140 for count in orders.values())


# Crops


def iou(box: np.ndarray, window: augment.Window) -> float:
    top, left, bottom, right = window
    x0, y0, x1, y1 = (float(edge) for edge in box)
    overlap = max(min(x1, right) - max(x0, left), 0) * max(min(y1, bottom) - max(y0, top), 0)
    return overlap / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - overlap)


def holds_center(box: np.ndarray, window: augment.Window) -> bool:
    top, left, bottom, right = window
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(left <= x < right and top <= y < bottom)


def crop_one_by_one(
    rng: np.random.Generator, size: tuple[int, int], boxes: np.ndarray
) -> augment.Window:
    """The published algorithm, try after try."""
    height, width = size
    for threshold in rng.permutation([0, 0.1, 0.3, 0.5, 0.7, 0.9, np.inf]):
        if threshold == np.inf:
            break
        for _ in range(50):
            scale = rng.uniform(0.3, 1)
            aspect = rng.uniform(max(0.5, scale**2), min(2, scale**-2))
            tall, wide = int(height * scale / aspect**0.5), int(width * scale * aspect**0.5)
            top = int(rng.integers(height - tall + 1))
            left = int(rng.integers(width - wide + 1))
            window = top, left, top + tall, left + wide
            if max(iou(box, window) for box in boxes) >= threshold and any(
                holds_center(box, window) for box in boxes
            ):
                return window
    return 0, 0, height, width


def random_boxes(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """Of any size; some reach over a border or lie on one, some are a pixel or the image."""
    height, width = size
    ends = np.sort(rng.uniform(-0.2, 1.2, (2, count, 2)), axis=0) * (width, height)
    boxes = np.concatenate([ends[0], ends[1]], 1)
    boxes[::2] = boxes[::2].clip(0, (width, height, width, height))
    special = [
        (0, 0, width, height),
        (0, 0, 1, 1),
        (width - 1, height - 1, width, height),
        (width, height, width, height),  # its centre is in no window
    ]
    boxes[1::3] = special[int(rng.integers(len(special)))]
    return boxes.astype(np.float32)


def test_windows_lie_inside_the_image_and_hold_an_instance() -> None:
    rng = np.random.default_rng(0)
    sizes = [*STRIPS, *((int(h), int(w)) for h, w in rng.integers(1, 700, (250, 2)))]
    cropped = 0
    for size in sizes * 2:
        boxes = random_boxes(rng, size, int(rng.integers(1, 12)))
        window = augment.draw_iou_crop(rng, size, boxes)
        top, left, bottom, right = window
        assert all(type(edge) is int for edge in window)
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        if window != (0, 0, *size):
            cropped += 1
            assert augment.inside(boxes, window).any()
    assert cropped > 0.4 * 2 * len(sizes)


@pytest.mark.parametrize("threshold", augment.IOU_THRESHOLDS)
def test_accepted_windows_reach_the_threshold_and_hold_a_center(
    threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "IOU_THRESHOLDS", (threshold,))
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 100, 80], [10, 20, 70, 60], [90, 70, 100, 80]], np.float32)
    windows = [augment.draw_iou_crop(rng, (80, 100), boxes) for _ in range(400)]
    crops = [window for window in windows if window != (0, 0, 80, 100)]
    assert len(crops) > 120  # half of them, less those that never reach a high threshold
    reached = [max(iou(box, window) for box in boxes) for window in crops]
    assert threshold <= min(reached) < max(threshold + 0.02, 0.25)  # these boxes give no less
    assert all(any(holds_center(box, window) for box in boxes) for window in crops)


def test_windows_have_the_shapes_asked_for() -> None:
    rng, size = np.random.default_rng(0), (1000, 800)
    boxes = np.array([[0, 0, 800, 1000]])
    windows = np.array([augment.draw_iou_crop(rng, size, boxes) for _ in range(2000)])
    sides = (windows[:, 2:] - windows[:, :2]) / size
    crops = sides[(sides < 1).any(1)]
    scales, aspects = np.sqrt(crops.prod(1)), crops[:, 1] / crops[:, 0]
    assert 0.298 < scales.min() < 0.4
    assert 0.97 < scales.max() < 1
    assert 0.49 < aspects.min() < 0.6
    assert 1.7 < aspects.max() < 2.01
    assert (crops[scales < 0.8].max(0) > 0.97).all()  # small ones may still be as long as a side


def test_windows_are_those_of_trying_one_by_one() -> None:
    rng, size = np.random.default_rng(0), (60, 80)
    boxes = np.array([[5, 10, 50, 55], [60, 30, 75, 58]], np.float32)
    slow = np.array([crop_one_by_one(rng, size, boxes) for _ in range(1500)])
    fast = np.array([augment.draw_iou_crop(rng, size, boxes) for _ in range(5000)])
    np.testing.assert_allclose(fast.mean(0), slow.mean(0), atol=1.2)
    np.testing.assert_allclose(fast.std(0), slow.std(0), atol=1)
    whole = [(windows == (0, 0, *size)).all(1).mean() for windows in (fast, slow)]
    assert whole[0] == pytest.approx(whole[1], abs=0.04)
    reached = [
        np.mean([max(iou(box, tuple(window)) for box in boxes) for window in windows.tolist()])
        for windows in (fast, slow)
    ]
    assert reached[0] == pytest.approx(reached[1], abs=0.015)


def test_no_crop_comes_first_in_one_of_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "IOU_THRESHOLDS", (0.0,) * 6)  # so that some try always fits
    rng, boxes = np.random.default_rng(0), np.array([[0, 0, 100, 100]])
    whole = [augment.draw_iou_crop(rng, (100, 100), boxes) == (0, 0, 100, 100) for _ in range(3000)]
    assert np.mean(whole) == pytest.approx(1 / 7, abs=0.025)


@pytest.mark.parametrize(
    "boxes",
    [
        np.zeros((0, 4), np.float32),
        np.array([]),
        np.array([[-30, -30, -10, -10]]),
        np.array([[100, 80, 100, 80]]),
    ],
    ids=["none", "no shape", "outside", "beyond the last pixel"],
)
def test_without_a_center_in_the_image_it_stays_whole(boxes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert {augment.draw_iou_crop(rng, (80, 100), boxes) for _ in range(50)} == {(0, 0, 80, 100)}


def test_the_same_generator_draws_the_same_window_and_leaves_the_boxes() -> None:
    boxes = random_boxes(np.random.default_rng(1), LARGE, 9)
    boxes.setflags(write=False)
    drawn = [
        [augment.draw_iou_crop(np.random.default_rng(seed), LARGE, boxes) for seed in range(40)]
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 20


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([20, 10, 20, 10], True),
        ([19, 10, 20, 10], False),
        ([20, 9, 20, 10], False),
        ([39, 29, 40, 30], True),
        ([39, 10, 41, 10], False),
        ([20, 29, 20, 31], False),
        ([0, 0, 60, 40], True),
    ],
)
def test_centers_on_the_top_and_left_edges_are_inside_and_on_the_others_not(
    box: list[float], expected: bool
) -> None:
    found = augment.inside(np.array([box]), (10, 20, 30, 40))
    assert found.dtype == bool
    assert found.tolist() == [expected]


def test_no_boxes_are_inside_of_anything() -> None:
    assert augment.inside(np.zeros((0, 4)), (0, 0, 5, 5)).shape == (0,)


# Grid masks


def published_mask(
    height: int, width: int, period: int, phases: tuple[int, int], stripe: int
) -> np.ndarray:
    """True where pixels are dropped: stripes on a larger canvas, of which the middle is seen."""
    tall, wide = int(1.5 * height), int(1.5 * width)
    kept = np.zeros((tall, wide), bool)
    for i in range(tall // period):
        kept[i * period + phases[0] : min(i * period + phases[0] + stripe, tall)] = True
    for i in range(wide // period):
        kept[:, i * period + phases[1] : min(i * period + phases[1] + stripe, wide)] = True
    top, left = (tall - height) // 2, (wide - width) // 2
    return ~kept[top : top + height, left : left + width]


@pytest.mark.parametrize("size", [(3, 3), (3, 40), (40, 3), (37, 53), (64, 48), (480, 20)])
def test_grid_mask_is_the_published_one(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    for seed in range(60):
        dropped = augment.grid_mask(image, np.random.default_rng(seed), 1, (1, 2, 3))[..., 0] == 1
        rng = np.random.default_rng(seed)
        rng.random()
        period = int(rng.integers(2, size[0]))
        phases = int(rng.integers(period)), int(rng.integers(period))
        stripe = min(max(int(period * 0.5 + 0.5), 1), period - 1)
        np.testing.assert_array_equal(dropped, published_mask(*size, period, phases, stripe))


def test_grid_mask_fills_squares_and_leaves_the_rest() -> None:
    image, rng = random_image(LARGE), np.random.default_rng(0)
    for _ in range(50):
        masked = augment.grid_mask(image, rng, 1, MEAN_COLOR)
        dropped = (masked != image).any(2)
        rows, columns = dropped.any(1), dropped.any(0)
        np.testing.assert_array_equal(masked[np.ix_(rows, columns)] - MEAN_COLOR, 0)
        np.testing.assert_array_equal(masked[~rows], image[~rows])
        np.testing.assert_array_equal(masked[:, ~columns], image[:, ~columns])


def test_grid_mask_drops_the_stated_share() -> None:
    height, width = 48, 64
    expected = []
    for period in range(2, height):
        stripe = min(max(int(period * 0.5 + 0.5), 1), period - 1)
        masks = [published_mask(height, width, period, (p, p), stripe) for p in range(period)]
        rows, columns = (np.mean([mask.any(axis) for mask in masks]) for axis in (1, 0))
        expected.append(rows * columns)
    image, rng = np.zeros((height, width, 3), np.uint8), np.random.default_rng(0)
    shares = [(augment.grid_mask(image, rng, 1, (9, 9, 9)) == 9).all(2).mean() for _ in range(3000)]
    assert np.mean(shares) == pytest.approx(np.mean(expected), abs=0.01)
    assert np.mean(expected) == pytest.approx(0.2509, abs=1e-4)
    assert max(shares) < 1


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0), (1, 0.7 / 360000), (90000, 0.175), (360000, 0.7), (10**9, 0.7)],
)
def test_ramp_is_straight_and_then_level(step: int, expected: float) -> None:
    assert augment.ramp(step, 0.7, 360000) == pytest.approx(expected)


def test_ramp_of_no_steps_is_level_from_the_start() -> None:
    assert augment.ramp(0, 0.7, 0) == 0.7


# Erased rectangles


def erased_windows(size: tuple[int, int], count: int) -> np.ndarray:
    """Top, left, height and width of rectangles erased from black images."""
    rng, image = np.random.default_rng(0), np.zeros((*size, 3), np.uint8)
    windows = []
    for _ in range(count):
        changed = augment.erase(image, rng, 1).any(2)
        left, top, width, height = cv2.boundingRect(np.asarray(changed, np.uint8))
        assert changed.sum() == height * width
        windows.append((top, left, height, width))
    return np.array(windows)


def test_erase_takes_the_stated_share_in_the_stated_shapes() -> None:
    _, _, heights, widths = erased_windows((100, 130), 1500).T
    shares, aspects = heights * widths / (100 * 130), heights / widths
    assert 0.018 < shares.min() < 0.03
    assert 0.38 < shares.max() < 0.41
    assert np.mean(shares) == pytest.approx(0.2, abs=0.02)
    assert 0.28 < aspects.min() < 0.35
    assert 2.6 < aspects.max() < 3.5
    assert np.mean(aspects > 1) == pytest.approx(0.5, abs=0.08)


def test_erased_rectangles_lie_anywhere() -> None:
    tops, lefts, heights, widths = erased_windows((100, 130), 1500).T
    for starts, room in ((tops, 100 - heights), (lefts, 130 - widths)):
        assert starts.min() == 0
        assert (starts == room).any()
        assert np.mean(starts / room) == pytest.approx(0.5, abs=0.03)


def test_erase_fills_with_pixels_of_all_values() -> None:
    filled = augment.erase(np.zeros((200, 200, 3), np.uint8), np.random.default_rng(3), 1)
    values = filled[filled.any(2)]
    assert len(values) > 2000
    assert values.mean() == pytest.approx(127.5, abs=3)
    assert values.std() == pytest.approx(73.9, abs=2)
    assert np.corrcoef(values.T)[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("size", [(3, 3), (2, 60), (60, 2), (9, 31), (31, 9)])
def test_erase_never_reaches_from_side_to_side(size: tuple[int, int]) -> None:
    assert (erased_windows(size, 300)[:, 2:] < size).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
def test_erase_leaves_strips_of_a_pixel_alone(size: tuple[int, int]) -> None:
    image, rng = random_image(size), np.random.default_rng(0)
    assert all((augment.erase(image, rng, 1) == image).all() for _ in range(50))
