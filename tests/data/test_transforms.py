"""Claims about resizing, mirroring and mask targets, some against recorded numbers."""

from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from solojax.data import transforms
from solojax.data.transforms import Placement
from solojax.types import Instances
from tests import examples

CANVAS = (96, 128)
STRIDES = (2, 4, 8, 16)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    """Numbers recorded from a reference implementation."""
    with np.load(Path(__file__).parent.parent / "fixtures" / "op_misc.npz") as numbers:
        return dict(numbers)


def place(
    masks: np.ndarray,
    placement: Placement,
    canvas: tuple[int, int] = CANVAS,
    limit: int = 0,
    strides: tuple[int, ...] = STRIDES,
) -> tuple[Instances, int]:
    """Places masks with their tight boxes and the labels 0, 1, 2, ..."""
    boxes = np.array([tight_box(mask) for mask in masks])
    labels = np.arange(len(masks))
    return examples.place_instances(
        masks, boxes, labels, placement, canvas, limit or max(len(masks), 1), strides
    )


def drawn(image: np.ndarray, placement: Placement, canvas: tuple[int, int]) -> np.ndarray:
    """An image on a black canvas."""
    placed = np.zeros((*canvas, 3), np.uint8)
    transforms.place_image(image, placement, placed)
    return placed


def targets_of(mask: np.ndarray, canvas: tuple[int, int], flip: bool = False) -> dict[int, list]:
    """By stride, the target of one mask that keeps its size."""
    height, width = mask.shape
    placement = Placement((height, width), (height, width), flip)
    strides = tuple(stride for stride in STRIDES if not any(side % stride for side in canvas))
    placed, _ = place(mask[None], placement, canvas, strides=strides)
    assert placed.valid.all()
    return {stride: target[0].tolist() for stride, target in placed.masks.items()}


def tight_box(mask: np.ndarray) -> list[int]:
    x, y, width, height = cv2.boundingRect(mask)
    return [x, y, x + width, y + height]


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    return np.unpackbits(bits, axis=-1)[..., :width]


def whole_masks(masks: np.ndarray, placement: Placement, canvas: tuple[int, int]) -> np.ndarray:
    """Every mask at network size: cut, resized by OpenCV, mirrored, laid on an empty canvas."""
    top, left, bottom, right = placement.window or (0, 0, *placement.original)
    (y, x), (height, width) = placement.corner, placement.size
    placed = np.zeros((len(masks), *canvas), np.uint8)
    for mask, target in zip(masks, placed, strict=True):
        cut = np.ascontiguousarray(mask[top:bottom, left:right])
        resized = cv2.resize(cut, (width, height), interpolation=cv2.INTER_NEAREST)
        target[y : y + height, x : x + width] = resized[:, ::-1] if placement.flip else resized
    return placed


def whole_boxes(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    """Boxes at network size, edge by edge in float64."""
    top, left, bottom, right = placement.window or (0, 0, *placement.original)
    (y, x), (height, width) = placement.corner, placement.size
    placed = []
    for x0, y0, x1, y1 in boxes.tolist():
        across = [min(max((e - left) / (right - left), 0), 1) * width for e in (x0, x1)]
        down = [min(max((e - top) / (bottom - top), 0), 1) * height for e in (y0, y1)]
        if placement.flip:
            across = [width - across[1], width - across[0]]
        placed.append([x + across[0], y + down[0], x + across[1], y + down[1]])
    return np.array(placed).reshape(-1, 4)


def spread(shapes: transforms.Shapes, canvas: tuple[int, int]) -> np.ndarray:
    """The masks of shapes, each on an empty canvas."""
    placed = np.zeros((len(shapes.masks), *canvas), np.uint8)
    for mask, (y, x), target in zip(shapes.masks, shapes.corners, placed, strict=True):
        assert mask.size
        target[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return placed


def shapes_of(masks: np.ndarray, labels: np.ndarray | None = None) -> transforms.Shapes:
    """Masks of a whole canvas as shapes."""
    boxes = np.array([tight_box(mask) for mask in masks])
    labels = np.arange(len(masks)) if labels is None else labels
    size = (masks.shape[1], masks.shape[2])
    return examples.place_shapes(masks, boxes, labels, Placement(size, size))


def shrunk(masks: np.ndarray, stride: int) -> np.ndarray:
    """1 where at least two of the central 2 x 2 pixels of a stride x stride block are."""
    low, high = stride // 2 - 1, stride // 2
    corners = [masks[:, y::stride, x::stride] for y in (low, high) for x in (low, high)]
    return (sum(corners) >= 2).astype(np.uint8)


def centers_of(masks: np.ndarray) -> np.ndarray:
    """Centres of mass (x, y): whole sums, divided as float32."""
    y, x = np.indices(masks.shape[1:])
    areas = masks.sum((1, 2), dtype=np.int64)
    sums = np.stack([(masks * x).sum((1, 2)), (masks * y).sum((1, 2))], 1)
    return sums.astype(np.float32) / areas.astype(np.float32)[:, None]


def random_case(seed: int) -> tuple[np.ndarray, Placement]:
    """Dense, sparse or round masks of any size, scaled up or down, maybe mirrored."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(4, 90, 2))
    size = (int(rng.integers(2, CANVAS[0] + 1)), int(rng.integers(2, CANVAS[1] + 1)))
    masks = (rng.random((4, height, width)) < rng.random((4, 1, 1))).astype(np.uint8)
    center = (int(rng.integers(width)), int(rng.integers(height)))
    masks[3] = cv2.circle(np.zeros((height, width), np.uint8), center, int(rng.integers(2, 30)), 1)
    return masks, Placement((height, width), size, bool(rng.integers(2)))


def random_window_case(seed: int) -> tuple[np.ndarray, np.ndarray, Placement]:
    """Masks, boxes that are not all tight, and a part of the image somewhere on the canvas."""
    masks, placement = random_case(seed)
    rng = np.random.default_rng((seed, 1))
    edges = [np.sort(rng.choice(side + 1, 2, replace=False)) for side in placement.original]
    (top, bottom), (left, right) = edges
    size = placement.size
    boxes = np.array([tight_box(mask) for mask in masks]) + rng.choice(
        [0, 1.5], (4, 4), p=[0.8, 0.2]
    )
    return (
        masks,
        boxes,
        placement._replace(
            window=(int(top), int(left), int(bottom), int(right)),
            corner=(
                int(rng.integers(CANVAS[0] - size[0] + 1)),
                int(rng.integers(CANVAS[1] - size[1] + 1)),
            ),
        ),
    )


# Sizes


def test_image_sizes_equal_the_recorded_ones(recorded: dict[str, np.ndarray]) -> None:
    table = recorded["rescale_size/table_h_w_s0_s1_nh_nw_factor"]
    assert len(table) == 66
    for height, width, first, second, *expected, _ in table:
        limits = int(min(first, second)), int(max(first, second))
        assert transforms.rescale_size((int(height), int(width)), *limits) == tuple(expected)


@pytest.mark.parametrize(
    ("original", "canvas", "expected"),
    [
        ((480, 640), (800, 1344), (800, 1067)),
        ((640, 480), (1344, 800), (1067, 800)),
        ((480, 640), (1344, 800), (600, 800)),
        ((640, 480), (800, 1344), (800, 600)),
        ((1, 5000), (800, 1344), (1, 1333)),
        ((5000, 1), (800, 1344), (800, 1)),
        ((1, 1), (800, 1344), (800, 800)),
        ((480, 640), (32, 32), (24, 32)),
    ],
)
def test_image_fits_on_its_canvas(
    original: tuple[int, int], canvas: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert transforms.fit_size(original, canvas, 800, 1333) == expected


def test_no_image_is_larger_than_its_canvas_or_without_a_pixel() -> None:
    rng = np.random.default_rng(0)
    for height, width in np.exp(rng.uniform(0, 8, (500, 2))).astype(int):
        size = transforms.fit_size((int(height), int(width)), CANVAS, 800, 1333)
        assert 1 <= size[0] <= CANVAS[0]
        assert 1 <= size[1] <= CANVAS[1]


# Images


@pytest.mark.parametrize("name", ["out_up", "out_down"])
def test_placed_image_equals_the_recorded_one(name: str, recorded: dict[str, np.ndarray]) -> None:
    image, expected = recorded["img_resize/in"], recorded[f"img_resize/{name}"]
    height, width, _ = expected.shape
    placed = drawn(image, Placement((53, 37), (height, width)), (128, 96))
    np.testing.assert_array_equal(placed[:height, :width], expected)


def test_mirrored_image_is_the_mirror_of_the_image(recorded: dict[str, np.ndarray]) -> None:
    image = recorded["img_resize/in"]
    plain = drawn(image, Placement((53, 37), (80, 60)), (96, 64))
    mirrored = drawn(image, Placement((53, 37), (80, 60), flip=True), (96, 64))
    np.testing.assert_array_equal(mirrored[:80, :60], plain[:80, 59::-1])


@pytest.mark.parametrize("flip", [False, True])
def test_canvas_is_zero_where_no_image_is(flip: bool) -> None:
    image = np.full((20, 30, 3), 255, np.uint8)
    placed = drawn(image, Placement((20, 30), (40, 60), flip), CANVAS)
    assert placed.shape == (*CANVAS, 3)
    assert placed.dtype == np.uint8
    assert (placed[:40, :60] == 255).all()
    assert placed.sum(dtype=np.int64) == 40 * 60 * 3 * 255


# Mask targets, small


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ([[0, 0], [0, 0]], 0),
        ([[1, 0], [0, 0]], 0),
        ([[0, 0], [0, 1]], 0),
        ([[1, 1], [0, 0]], 1),
        ([[0, 1], [0, 1]], 1),
        ([[1, 0], [0, 1]], 1),
        ([[0, 1], [1, 1]], 1),
        ([[1, 1], [1, 1]], 1),
    ],
)
def test_target_is_one_from_two_of_the_central_four_pixels_on(
    center: list[list[int]], expected: int, stride: int
) -> None:
    mask = np.ones((16, 32), np.uint8)  # whatever lies around the centre
    start = stride // 2 - 1
    mask[start : start + 2, start : start + 2] = center
    assert targets_of(mask, (16, 32))[stride][0][0] == expected


def test_targets_at_different_strides_are_of_different_pixels() -> None:
    dot = np.zeros((8, 8), np.uint8)
    dot[3:5, 3:5] = 1
    frame = 1 - dot
    assert targets_of(dot, (8, 8)) == {
        2: [[0, 0, 0, 0]] * 4,
        4: [[0, 0], [0, 0]],
        8: [[1]],
    }
    assert targets_of(frame, (8, 8)) == {
        2: [[1, 1, 1, 1]] * 4,
        4: [[1, 1], [1, 1]],
        8: [[0]],
    }


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        (False, {4: [[1, 1, 0, 0, 0, 0]] * 2, 8: [[1, 0, 0]]}),
        (True, {4: [[0, 0, 1, 1, 0, 0]] * 2, 8: [[0, 1, 0]]}),
    ],
)
def test_targets_are_mirrored_within_the_image_at_every_stride(
    flip: bool, expected: dict[int, list]
) -> None:
    mask = np.zeros((8, 16), np.uint8)
    mask[:, :8] = 1
    found = targets_of(mask, (8, 24), flip)
    assert {stride: found[stride] for stride in (4, 8)} == expected


def test_every_stride_asked_for_comes_once() -> None:
    mask, placement = np.ones((1, 40, 60), np.uint8), Placement((40, 60), (80, 120))
    placed, _ = place(mask, placement, strides=(16, 4, 8, 4, 16))
    assert {stride: target.shape for stride, target in placed.masks.items()} == {
        4: (1, 24, 32),
        8: (1, 12, 16),
        16: (1, 6, 8),
    }


def test_without_a_stride_there_is_no_mask() -> None:
    placed, _ = place(
        np.ones((2, 40, 60), np.uint8), Placement((40, 60), (80, 120)), limit=5, strides=()
    )
    assert placed.masks == {}
    assert placed.valid.tolist() == [True, True, False, False, False]


def test_strides_change_neither_the_other_targets_nor_the_rest() -> None:
    masks, placement = random_case(0)
    together, _ = place(masks, placement)
    assert together.valid.any()
    for stride in STRIDES:
        alone, _ = place(masks, placement, strides=(stride,))
        expected = together._replace(masks={stride: together.masks[stride]})
        jax.tree.map(np.testing.assert_array_equal, alone, expected)


def test_instance_that_a_stride_misses_still_takes_part() -> None:
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[0, 1:3, 1:3] = 1
    placed, _ = place(mask, Placement((32, 32), (32, 32)), (32, 32))
    assert placed.valid.tolist() == [True]
    assert {stride: int(target.sum()) for stride, target in placed.masks.items()} == {
        2: 0,
        4: 1,
        8: 0,
        16: 0,
    }


# Masks and centres, recorded


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_mask_targets_equal_the_recorded_ones(stride: int, recorded: dict[str, np.ndarray]) -> None:
    height, width = recorded["imrescale/in_shape"][1:].tolist()
    masks = unpacked(recorded["imrescale/in"], width)
    placed, dropped = place(masks, Placement((height, width), (height, width)), (height, width))
    expected = recorded[f"imrescale/out{stride}"]
    assert dropped == 0
    np.testing.assert_array_equal(placed.masks[stride], expected[placed.labels])
    assert placed.valid.sum() == masks.any((1, 2)).sum()


def test_centers_equal_the_recorded_ones_to_the_bit(recorded: dict[str, np.ndarray]) -> None:
    _, height, width = recorded["com/shape"].tolist()
    masks = unpacked(recorded["com/masks"], width)
    placed, _ = place(masks, Placement((height, width), (height, width)), (224, 288))
    used = placed.labels[placed.valid]
    assert used.tolist() == np.flatnonzero(masks.any((1, 2))).tolist()
    expected = recorded["com/center_hw"][used]
    np.testing.assert_array_equal(placed.centers[placed.valid][:, ::-1], expected)


# Masks, centres and boxes, the long way round


@pytest.mark.parametrize("stride", STRIDES)
def test_two_of_the_central_four_pixels_is_how_opencv_shrinks_a_mask(stride: int) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (20, *CANVAS), np.uint8)
    size = (CANVAS[1] // stride, CANVAS[0] // stride)
    expected = [cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) for mask in masks]
    np.testing.assert_array_equal(shrunk(masks, stride), expected)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_mask_targets_equal_those_of_the_whole_resized_mask(seed: int, flip: bool) -> None:
    masks, placement = random_case(seed)
    placement = placement._replace(flip=flip)
    placed, _ = place(masks, placement)
    whole = whole_masks(masks, placement, CANVAS)
    used = int(placed.valid.sum())
    assert set(placed.masks) == set(STRIDES)
    for stride, found in placed.masks.items():
        expected = shrunk(whole, stride)[placed.labels[:used]]
        np.testing.assert_array_equal(found[:used], expected, err_msg=f"stride {stride}")


@pytest.mark.parametrize("seed", range(40))
def test_centers_equal_those_of_the_whole_resized_mask_to_the_bit(seed: int) -> None:
    masks, placement = random_case(seed)
    placed, _ = place(masks, placement)
    used = int(placed.valid.sum())
    expected = centers_of(whole_masks(masks, placement, CANVAS)[placed.labels[:used]])
    np.testing.assert_array_equal(placed.centers[:used], expected)


def test_centers_of_large_masks_divide_sums_that_are_rounded_first() -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((12, 150, 200)) < rng.random((12, 1, 1))).astype(np.uint8)
    placement = Placement((150, 200), (800, 1067))
    placed, _ = place(masks, placement, (800, 1088))
    whole = whole_masks(masks, placement, (800, 1088))
    np.testing.assert_array_equal(placed.centers, centers_of(whole))
    y, x = np.indices(whole.shape[1:])
    exact = np.stack([(whole * x).sum((1, 2)), (whole * y).sum((1, 2))], 1)
    exact = exact / whole.sum((1, 2), dtype=np.int64)[:, None]
    assert (placed.centers != exact.astype(np.float32)).any()


def test_the_random_masks_above_nearly_all_take_part() -> None:
    used = [place(*random_case(seed))[0].valid.sum() for seed in range(40)]
    assert sum(used) > 0.9 * 40 * 4


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(40, 60), (80, 120), (27, 41), (93, 64)])
def test_image_mask_box_and_center_stay_together(size: tuple[int, int], flip: bool) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[6:30, 4:24] = 1
    mask[6:16, 24:40] = 1
    image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    placement = Placement((40, 60), size, flip)
    placed, _ = place(mask[None], placement)
    seen = drawn(image, placement, CANVAS)[..., 0] > 127

    # The image is resized by another rule than the mask, so a border may be off by a pixel.
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(placed.boxes[0], edges, atol=1)
    np.testing.assert_allclose(placed.centers[0], centers_of(seen[None].astype(int))[0], atol=1.1)
    target = placed.masks[4][0]
    wrong = (target != shrunk(seen[None], 4)[0]).sum()
    assert wrong <= 0.12 * target.sum()


@pytest.mark.parametrize(
    ("flip", "expected"), [(False, [20, 30, 60, 45]), (True, [60, 30, 100, 45])]
)
def test_box_is_scaled_and_mirrored(flip: bool, expected: list[int]) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[20:30, 10:30] = 1
    placed, _ = place(mask[None], Placement((40, 60), (60, 120), flip))
    np.testing.assert_allclose(placed.boxes[0], expected, atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_box_is_clipped_to_the_image(flip: bool) -> None:
    placed, _ = examples.place_instances(
        np.ones((1, 40, 60), np.uint8),
        np.array([[-5, -5, 70, 50]]),
        np.array([0]),
        Placement((40, 60), (60, 120), flip),
        CANVAS,
        1,
        STRIDES,
    )
    np.testing.assert_array_equal(placed.boxes[0], [0, 0, 120, 60])


# Which instances take part


def test_shapes_and_types_are_those_of_the_contract() -> None:
    placed, dropped = place(np.ones((2, 40, 60), np.uint8), Placement((40, 60), (80, 120)), limit=5)
    assert dropped == 0
    assert jax.tree.map(lambda array: (array.shape, array.dtype.name), placed) == Instances(
        masks={
            2: ((5, 48, 64), "uint8"),
            4: ((5, 24, 32), "uint8"),
            8: ((5, 12, 16), "uint8"),
            16: ((5, 6, 8), "uint8"),
        },
        boxes=((5, 4), "float32"),
        centers=((5, 2), "float32"),
        labels=((5,), "int32"),
        valid=((5,), "bool"),
        crowd=((5,), "bool"),
    )
    assert placed.valid.tolist() == [True, True, False, False, False]


def test_crowds_take_the_room_that_instances_leave() -> None:
    masks = np.zeros((4, 8, 8), np.uint8)
    for n, mask in enumerate(masks):
        mask[: n + 2] = 1
    boxes, labels = np.array([tight_box(mask) for mask in masks]), np.arange(4)
    shapes = examples.place_shapes(masks, boxes, labels, Placement((8, 8), (8, 8)))
    shapes = shapes._replace(crowd=np.array([True, False, False, True]))
    for limit, order, valid, dropped in (
        (5, [1, 2, 0, 3, 0], 2, 0),
        (3, [1, 2, 0], 2, 0),
        (1, [2], 1, 1),
    ):
        placed, left_out = transforms.make_instances(shapes, (8, 8), limit, (4,))
        assert placed.labels.tolist() == order and left_out == dropped
        assert placed.valid.tolist() == [n < valid for n in range(limit)]
        assert placed.crowd.tolist() == [valid <= n < 4 for n in range(limit)]


@pytest.mark.parametrize("canvas", [(48, 64), (45, 61)])
def test_at_stride_1_a_target_is_the_mask_itself(canvas: tuple[int, int]) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (2, 40, 60)).astype(np.uint8)
    placement = Placement((40, 60), (40, 60), corner=(2, 1))
    placed, _ = place(masks, placement, canvas, strides=(1,))
    np.testing.assert_array_equal(placed.masks[1], whole_masks(masks, placement, canvas))


def test_padding_is_zero() -> None:
    placed, _ = place(np.ones((2, 40, 60), np.uint8), Placement((40, 60), (80, 120)), limit=5)
    assert not any(np.any(array[2:]) for array in jax.tree.leaves(placed))
    assert all(target[:2].any((1, 2)).all() for target in placed.masks.values())


def test_an_image_without_instances_gives_padding_only() -> None:
    empty = np.zeros((0, 40, 60), np.uint8)
    placed, dropped = examples.place_instances(
        empty, np.array([]), np.array([]), Placement((40, 60), (80, 120), True), CANVAS, 3, (4, 16)
    )
    assert dropped == 0
    assert placed.masks[4].shape == (3, 24, 32)
    assert placed.masks[16].shape == (3, 6, 8)
    assert not any(np.any(array) for array in jax.tree.leaves(placed))


def test_of_too_many_instances_the_largest_stay_in_their_order() -> None:
    masks = np.zeros((6, 40, 60), np.uint8)
    for mask, side in zip(masks, (10, 4, 30, 6, 20, 8), strict=True):
        mask[:side, :side] = 1
    placed, dropped = place(masks, Placement((40, 60), (80, 120)), limit=3)
    assert placed.labels.tolist() == [0, 2, 4]
    assert placed.valid.all()
    assert dropped == 3
    assert placed.boxes[:, 2].tolist() == [20, 60, 40]


def test_of_equally_large_instances_the_first_stay() -> None:
    placed, dropped = place(np.ones((5, 40, 60), np.uint8), Placement((40, 60), (80, 120)), limit=2)
    assert placed.labels.tolist() == [0, 1]
    assert dropped == 3


def test_as_many_instances_as_there_is_room_for_all_stay() -> None:
    placed, dropped = place(np.ones((3, 40, 60), np.uint8), Placement((40, 60), (80, 120)), limit=3)
    assert placed.labels.tolist() == [0, 1, 2]
    assert dropped == 0


def test_instance_that_vanishes_when_shrunk_takes_no_part() -> None:
    masks = np.zeros((2, 80, 80), np.uint8)
    masks[0, 33, 33] = 1
    masks[1, 20:60, 20:60] = 1
    placed, dropped = place(masks, Placement((80, 80), (16, 16)))
    assert placed.valid.tolist() == [True, False]
    assert placed.labels.tolist() == [1, 0]
    assert dropped == 0


def test_instance_without_a_pixel_takes_no_part_although_its_box_is_large() -> None:
    masks = np.zeros((1, 40, 60), np.uint8)
    placed, _ = examples.place_instances(
        masks,
        np.array([[0, 0, 40, 40]]),
        np.array([0]),
        Placement((40, 60), (40, 60)),
        CANVAS,
        1,
        STRIDES,
    )
    assert not placed.valid.any()


@pytest.mark.parametrize(
    ("box", "used"),
    [
        ([0, 0, 2, 2], True),
        ([0, 0, 1.9, 2], False),
        ([0, 0, 2, 1.9], False),
        ([0, 0, 0, 0], False),
        ([9, 9, 3, 3], False),
        ([70, 70, 90, 90], False),
    ],
)
def test_instance_takes_part_from_a_box_of_one_network_pixel_on(
    box: list[float], used: bool
) -> None:
    placed, dropped = examples.place_instances(
        np.ones((1, 40, 60), np.uint8),
        np.array([box]),
        np.array([0]),
        Placement((40, 60), (20, 30)),
        CANVAS,
        1,
        STRIDES,
    )
    assert placed.valid.tolist() == [used]
    assert dropped == 0


def test_vanished_instances_leave_room_and_are_not_counted() -> None:
    masks = np.zeros((4, 40, 60), np.uint8)
    masks[1:3, 5:35, 5:35] = 1
    placed, dropped = place(masks, Placement((40, 60), (80, 120)), limit=2)
    assert placed.labels.tolist() == [1, 2]
    assert dropped == 0


# Windows and corners, the long way round

CASES = range(300)


def test_part_of_an_image_is_cut_resized_mirrored_and_laid_in_its_corner() -> None:
    for seed in CASES:
        *_, placement = random_window_case(seed)
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (*placement.original, 3), np.uint8)
        canvas = rng.integers(0, 256, (*CANVAS, 3), np.uint8)
        top, left, bottom, right = placement.window
        (y, x), (height, width) = placement.corner, placement.size
        expected = canvas.copy()
        cut = np.ascontiguousarray(image[top:bottom, left:right])
        resized = cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)
        part = resized[:, ::-1] if placement.flip else resized
        expected[y : y + height, x : x + width] = part
        view = transforms.place_image(image, placement, canvas)
        np.testing.assert_array_equal(canvas, expected, err_msg=f"{placement}")
        np.testing.assert_array_equal(view, part, err_msg=f"{placement}")
        assert np.shares_memory(view, canvas)


def test_shapes_of_a_part_are_those_of_whole_masks_and_boxes() -> None:
    shown = hidden = 0
    for seed in CASES:
        masks, boxes, placement = random_window_case(seed)
        shapes = examples.place_shapes(masks, boxes, np.arange(10, 14), placement)
        whole, placed = whole_masks(masks, placement, CANVAS), whole_boxes(boxes, placement)
        large = (placed[:, 2:] - placed[:, :2] >= 1 - 1e-5).all(1)
        kept = np.flatnonzero(large & whole.any((1, 2)))
        assert shapes.labels.tolist() == (kept + 10).tolist(), f"{placement}"
        np.testing.assert_array_equal(spread(shapes, CANVAS), whole[kept], err_msg=f"{placement}")
        np.testing.assert_allclose(shapes.boxes, placed[kept], atol=2e-4, err_msg=f"{placement}")
        shown, hidden = shown + len(kept), hidden + 4 - len(kept)
    assert shown > 800
    assert hidden > 50


def test_targets_and_centers_of_a_part_are_those_of_whole_masks() -> None:
    for seed in CASES:
        masks, boxes, placement = random_window_case(seed)
        placed, _ = examples.place_instances(
            masks, boxes, np.arange(4), placement, CANVAS, 4, STRIDES
        )
        used = placed.labels[placed.valid]
        whole = whole_masks(masks, placement, CANVAS)[used]
        for stride, found in placed.masks.items():
            np.testing.assert_array_equal(found[: len(used)], shrunk(whole, stride))
        np.testing.assert_array_equal(placed.centers[: len(used)], centers_of(whole))


def test_a_part_that_is_the_whole_changes_nothing() -> None:
    for seed in range(40):
        masks, placement = random_case(seed)
        plain, _ = place(masks, placement)
        part, _ = place(masks, placement._replace(window=(0, 0, *placement.original)))
        jax.tree.map(np.testing.assert_array_equal, plain, part)


def test_masks_that_run_down_the_columns_give_the_same_shapes() -> None:
    for seed in range(40):
        masks, boxes, placement = random_window_case(seed)
        columns = np.ascontiguousarray(masks.transpose(0, 2, 1)).transpose(0, 2, 1)
        assert not columns[0].flags.c_contiguous
        one, other = (
            examples.place_shapes(each, boxes, np.arange(4), placement) for each in (masks, columns)
        )
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("flip", [False, True])
def test_rectangles_of_a_part_at_its_own_size_have_tight_boxes(flip: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        masks = np.zeros((5, 60, 80), np.uint8)
        for mask in masks:
            (y0, y1), (x0, x1) = (np.sort(rng.choice(s + 1, 2, replace=False)) for s in mask.shape)
            mask[y0:y1, x0:x1] = 1
        window = (10, 20, 50, 70)
        boxes = np.array([tight_box(mask) for mask in masks])
        placement = Placement((60, 80), (40, 50), flip, window, corner=(30, 11))
        shapes = examples.place_shapes(masks, boxes, np.arange(5), placement)
        whole = whole_masks(masks, placement, CANVAS)
        assert shapes.labels.tolist() == np.flatnonzero(whole.any((1, 2))).tolist()
        assert shapes.boxes.tolist() == [tight_box(whole[label]) for label in shapes.labels]


# Selecting, merging and pasting


def random_shapes(seed: int) -> tuple[np.ndarray, transforms.Shapes]:
    """Some overlapping rectangles, discs and rings, as whole masks and as shapes."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((int(rng.integers(6)), *CANVAS), np.uint8)
    for mask in masks:
        center = (int(rng.integers(CANVAS[1])), int(rng.integers(CANVAS[0])))
        radius, width = int(rng.integers(1, 40)), int(rng.choice([-1, 2]))
        if rng.integers(2):
            cv2.circle(mask, center, radius, 1, width)
        else:
            corner = (center[0] + radius, center[1] + int(rng.integers(1, 40)))
            cv2.rectangle(mask, center, corner, 1, width)
    return masks, shapes_of(masks, rng.integers(0, 90, len(masks)))


def test_selected_shapes_are_those_asked_for_in_that_order() -> None:
    masks, shapes = random_shapes(3)
    assert len(masks) > 3
    chosen = np.array([2, 0])
    found = transforms.select(shapes, chosen)
    np.testing.assert_array_equal(spread(found, CANVAS), masks[chosen])
    np.testing.assert_array_equal(found.boxes, shapes.boxes[chosen])
    np.testing.assert_array_equal(found.labels, shapes.labels[chosen])


def test_merged_shapes_come_one_part_after_the_other() -> None:
    cases = [random_shapes(seed) for seed in range(8)]
    merged = transforms.merge([transforms.NO_SHAPES, *(shapes for _, shapes in cases)])
    np.testing.assert_array_equal(
        spread(merged, CANVAS), np.concatenate([masks for masks, _ in cases])
    )
    labels = [label for _, shapes in cases for label in shapes.labels]
    assert merged.labels.tolist() == labels
    assert len(merged.boxes) == len(labels)


def test_pasting_is_what_whole_masks_say() -> None:
    lost = vanished = 0
    for seed in CASES:
        rng = np.random.default_rng(seed)
        image, source = rng.integers(0, 256, (2, *CANVAS, 3), np.uint8)
        (below, base), (above, pasted) = random_shapes(seed), random_shapes(seed + len(CASES))
        covered = above.any(0)
        expected = np.where(covered[:, :, None], source, image)
        given = [mask.copy() for mask in base.masks + pasted.masks]

        found = transforms.paste(image, base, source, pasted)

        np.testing.assert_array_equal(image, expected)
        left = below * ~covered
        seen = np.flatnonzero(left.any((1, 2)))
        np.testing.assert_array_equal(
            spread(found, CANVAS), np.concatenate([left[seen], above]), err_msg=f"{seed}"
        )
        labels = np.concatenate([base.labels[seen], pasted.labels])
        np.testing.assert_array_equal(found.labels, labels)
        # Here every box is tight before, so that it is after as well.
        assert found.boxes.tolist() == [tight_box(mask) for mask in (*left[seen], *above)]
        assert found.boxes.dtype == np.float32
        for mask, before in zip(base.masks + pasted.masks, given, strict=True):
            np.testing.assert_array_equal(mask, before)  # what was given stays as it was
        lost, vanished = lost + (left != below).any((1, 2)).sum(), vanished + len(below) - len(seen)
    assert lost > 200
    assert vanished > 15


def test_only_what_loses_pixels_gets_another_box() -> None:
    masks = np.zeros((2, *CANVAS), np.uint8)
    masks[0, 10:20, 10:30] = masks[1, 40:60, 40:60] = 1
    shapes = shapes_of(masks)._replace(
        boxes=np.array([[9.5, 9.5, 31, 21], [39.5, 39.5, 61, 61]], np.float32)
    )
    above = np.zeros((1, *CANVAS), np.uint8)
    above[0, 40:60, 50:70] = 1
    image, source = np.zeros((2, *CANVAS, 3), np.uint8)
    found = transforms.paste(image, shapes, source, shapes_of(above))
    assert found.boxes.tolist() == [[9.5, 9.5, 31, 21], [40, 40, 50, 60], [50, 40, 70, 60]]


def test_pasting_nothing_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    image, source = rng.integers(0, 256, (2, *CANVAS, 3), np.uint8)
    before, (_, shapes) = image.copy(), random_shapes(3)
    found = transforms.paste(image, shapes, source, transforms.NO_SHAPES)
    np.testing.assert_array_equal(image, before)
    jax.tree.map(np.testing.assert_array_equal, found, shapes)
