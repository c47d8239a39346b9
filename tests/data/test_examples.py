"""Claims about examples, on images in which every instance has a flat colour of its own."""

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import jax
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.config import Augmentation, Data
from solojax.data import annotations, augment, balance, examples, plan, rle, scene, transforms
from solojax.data.records import coco
from solojax.types import IGNORED, Batch
from tests.data.test_transforms import centers_of, shrunk, tight_box

# One of each shape is at its own size where the short side is 60. The first image is a negative.
SIZES = [(60, 80), (96, 60), (60, 60), (64, 48), (90, 120), (40, 100), (33, 47)] * 2
EACH = 4  # instances an image, at most
BATCH = 7
STRIDES = (2, 4, 8, 16)
SHORT_SIDES = (40, 60, 90)

# By label, which is an instance here: it belongs to image label // EACH. Then the grounds.
COLORS = np.random.default_rng(0).integers(1, 256, (len(SIZES) * (EACH + 1), 3))
RADIX = np.array([1 << 16, 1 << 8, 1])
CODES = COLORS @ RADIX
NOTHING = -1

PUBLISHED: dict[str, Any] = {}
JITTER: dict[str, Any] = {"scale_range": (0.1, 2.0)}
GEOMETRY: dict[str, dict[str, Any]] = {
    "short side": {"flip_probability": 0.0},
    "mirror": {"flip_probability": 1.0},
    "published": PUBLISHED,
    "large-scale jitter": JITTER,
    "crop": {"crop_probability": 1.0},
    "mosaic": {"mosaic_probability": 1.0},
    "copy-paste": {"copy_paste_probability": 1.0},
    "copy-paste with large-scale jitter": {"copy_paste_probability": 1.0, **JITTER},
    "mosaic and copy-paste": {"copy_paste_probability": 1.0, "mosaic_probability": 1.0},
    "all": {
        "copy_paste_probability": 0.5,
        "mosaic_probability": 0.5,
        "crop_probability": 0.5,
        **JITTER,
    },
}
EVERYTHING: dict[str, Any] = {
    **GEOMETRY["all"],
    "color_probability": 0.5,
    "grid_mask_probability": 0.5,
    "grid_mask_ramp_steps": 8,
    "erase_probability": 0.5,
}
each_geometry = pytest.mark.parametrize("recipe", GEOMETRY.values(), ids=GEOMETRY)


def draw_scene(index: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """An image of flat colours, and by label the masks of what is in it; none overlap."""
    rng = np.random.default_rng(index)
    height, width = SIZES[index]
    image = np.full((height, width, 3), COLORS[len(SIZES) * EACH + index], np.uint8)
    taken, masks = np.zeros((height, width), np.uint8), {}
    for label in range(index * EACH, (index + 1) * EACH) if index else ():
        for _ in range(30):
            mask = np.zeros_like(taken)
            x, y = int(rng.integers(width)), int(rng.integers(height))
            size = int(rng.integers(3, 18))
            if is_rectangle(label):
                cv2.rectangle(mask, (x, y), (x + size, y + int(rng.integers(3, 30))), 1, -1)
            else:
                cv2.circle(mask, (x, y), size + 4, 1, 3 if label % 2 else -1)
            if not (mask & taken).any():
                masks[label] = mask
                taken |= mask
                image[mask > 0] = COLORS[label]
                break
    return image, masks


def is_rectangle(label: int) -> bool:
    return label % EACH < 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("scenes")
    images, entries = [], []
    for index, (height, width) in enumerate(SIZES):
        image, masks = draw_scene(index)
        name = f"{index}.png"
        assert cv2.imwrite(str(root / name), image[..., ::-1])
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for label, mask in masks.items():
            rle = coco_mask.encode(np.asfortranarray(mask))
            entries.append(
                {
                    "id": label + 1,
                    "image_id": index + 1,
                    "category_id": label + 1,
                    "segmentation": {**rle, "counts": rle["counts"].decode()},
                }
            )
    categories = [{"id": label + 1} for label in range(len(SIZES) * EACH)]
    content = {"images": images, "annotations": entries, "categories": categories}
    (root / "instances.json").write_text(json.dumps(content))
    return Data(
        root=str(root),
        train_json="instances.json",
        records=str(root / "records"),
        canvases=((96, 128), (128, 96)),
        train_short_sides=SHORT_SIDES,
        long_side=120,
        max_instances=30,
    )


@pytest.fixture(scope="module")
def records(data: Data) -> Iterator[coco.Records]:
    """Fourteen, which are read and decoded once, and not some thousand times."""
    records = coco.prepare(data, "train")
    stored = [coco.read(records, index) for index in range(len(SIZES))]
    pixels = {record.path: coco.image_of(record) for record in stored}
    for image in pixels.values():
        image.flags.writeable = False
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(coco, "read", lambda _, index: stored[index])
        patched.setattr(coco, "image_of", lambda record: pixels[record.path])
        yield records


@pytest.fixture
def by_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are resized as masks are, so that what they show can be compared exactly."""
    resize = cv2.resize

    def nearest(
        image: np.ndarray,
        size: tuple[int, int],
        dst: np.ndarray | None = None,
        *,
        interpolation: int,
    ) -> np.ndarray:
        assert interpolation == cv2.INTER_LINEAR
        if image.ndim == 2:  # a mask on its way to a target
            return resize(image, size, interpolation=interpolation)
        return resize(np.ascontiguousarray(image), size, dst, interpolation=cv2.INTER_NEAREST)

    monkeypatch.setattr(cv2, "resize", nearest)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of all records that are read."""
    made, read = [], coco.read

    def recorded(records: coco.Records, index: int) -> coco.Record:
        made.append(index)
        return read(records, index)

    monkeypatch.setattr(coco, "read", recorded)
    return made


@pytest.fixture
def placements(monkeypatch: pytest.MonkeyPatch) -> list[transforms.Placement]:
    """Of all images that are drawn."""
    made, place_image = [], transforms.place_image

    def recorded(
        image: np.ndarray, placement: transforms.Placement, canvas: np.ndarray
    ) -> np.ndarray:
        made.append(placement)
        return place_image(image, placement, canvas)

    monkeypatch.setattr(transforms, "place_image", recorded)
    return made


def make(
    records: coco.Records,
    data: Data,
    recipe: dict[str, Any],
    seed: int = 7,
    label_strides: tuple[int, ...] = (),
    **changes: Any,
) -> examples.Load:
    data = dataclasses.replace(data, augmentation=Augmentation(**recipe), **changes)
    settings = {"mask_strides": STRIDES, "label_strides": label_strides}
    return examples.train_examples(records, data, batch_size=BATCH, seed=seed, **settings)


def each(load: examples.Load, steps: int) -> Iterator[Batch]:
    for step in range(steps):
        for place in range(BATCH):
            yield load(step, place)


def assert_same(found: Any, expected: Any) -> None:
    def check(path: Any, array: np.ndarray, other: np.ndarray) -> None:
        where = jax.tree_util.keystr(path)
        assert array.dtype == other.dtype, where
        np.testing.assert_array_equal(array, other, err_msg=where)

    jax.tree_util.tree_map_with_path(check, found, expected)


def assert_only_the_image_differs(found: Batch, expected: Batch) -> None:
    assert_same(found._replace(images=expected.images), expected)


def without_padding(example: Batch) -> np.ndarray:
    height, width = example.sizes
    return example.images[:height, :width]


def assert_padding_is_black(example: Batch) -> None:
    height, width = example.sizes
    assert not example.images[height:].any()
    assert not example.images[:, width:].any()


def shown(image: np.ndarray) -> np.ndarray:
    """The label, or the number of the ground, whose colour each pixel has exactly."""
    order = np.argsort(CODES)
    codes = image @ RADIX
    near = order[np.searchsorted(CODES[order], codes).clip(max=len(CODES) - 1)]
    return np.where(CODES[near] == codes, near, NOTHING)


def known(example: Batch, reads: list[int]) -> Iterator[tuple[int, int]]:
    """Number and label of the instances of images that are seen only once."""
    for number, label in enumerate(labels_of(example)):
        if reads.count(label // EACH) == 1:
            yield number, label


def labels_of(example: Batch) -> list[int]:
    return example.instances.labels[example.instances.valid].tolist()


def unpacked(example: Batch, number: int, stride: int) -> np.ndarray:
    bits = example.instances.masks[stride][number]
    return np.unpackbits(bits, axis=-1, count=example.images.shape[1] // stride)


def assert_instances_are_where_their_colors_are(
    example: Batch, reads: list[int], cropped: bool = False
) -> int:
    """Exactly so; returns how many instances were compared."""
    seen = shown(example.images)
    height, width = example.sizes
    compared = 0
    for number, label in known(example, reads):
        mask = (seen == label).astype(np.uint8)
        for stride in STRIDES:
            target = unpacked(example, number, stride)
            np.testing.assert_array_equal(target, shrunk(mask[None], stride)[0])
        np.testing.assert_array_equal(example.instances.centers[number], centers_of(mask[None])[0])
        x0, y0, x1, y1 = tight = np.array(tight_box(mask))
        # A pixel takes the colour of its top left corner, mirrored that of its top right one.
        outside = (example.instances.boxes[number] - tight) * (-1, -1, 1, 1)
        assert outside.min() > -1.001
        if is_rectangle(label):
            assert outside.max() < 1.001
        elif 0 < x0 and 0 < y0 and x1 < width and y1 < height and not cropped:
            # The tip of a disc falls between two pixels; of one that is cut, the box is cut.
            assert outside.max() < 2
        compared += 1
    if not cropped:  # what is left out there is told below
        colors = set(np.unique(seen[seen < len(SIZES) * EACH]).tolist()) - {NOTHING}
        for label in colors - set(labels_of(example)):
            x0, y0, x1, y1 = tight_box((seen == label).astype(np.uint8))
            assert min(x1 - x0, y1 - y0) <= 1  # whose box is smaller than a pixel
    return compared


# Image, masks, boxes and centres


@each_geometry
def test_instances_are_where_their_colors_are(
    recipe: dict[str, Any],
    records: coco.Records,
    data: Data,
    by_neighbours: None,
    reads: list[int],
) -> None:
    compared, cropped = 0, "crop_probability" in recipe
    for example in each(make(records, data, recipe), 10):
        compared += assert_instances_are_where_their_colors_are(example, reads, cropped)
        reads.clear()
    assert compared > 120


def test_at_its_own_size_an_image_shows_its_instances_exactly(
    records: coco.Records, data: Data, reads: list[int]
) -> None:
    load = make(records, data, PUBLISHED, train_short_sides=(60,))
    compared = 0
    for example in each(load, 8):
        if (example.sizes == example.original_sizes).all():
            compared += assert_instances_are_where_their_colors_are(example, reads)
            seen = shown(example.images)
            for number, label in known(example, reads):
                box = tight_box((seen == label).astype(np.uint8))
                assert example.instances.boxes[number].tolist() == box
        reads.clear()
    assert compared > 40


@each_geometry
def test_between_smooth_edges_the_colors_are_those_of_the_instances(
    recipe: dict[str, Any], records: coco.Records, data: Data, reads: list[int]
) -> None:
    inside, wrong, colored, astray = 0, 0, 0, 0
    for example in each(make(records, data, recipe), 7):
        seen = shown(example.images)
        for number, label in known(example, reads):
            # Enlarged four times, an edge is four pixels wide; a pixel of this target is two.
            target = unpacked(example, number, 2).repeat(2, 0).repeat(2, 1)
            core = cv2.erode(target, np.ones((13, 13)), borderValue=1) > 0
            near = cv2.dilate(target, np.ones((5, 5))) > 0
            inside, wrong = inside + core.sum(), wrong + (seen[core] != label).sum()
            colored, astray = colored + (seen == label).sum(), astray + (seen[~near] == label).sum()
        reads.clear()
    assert inside > 1000
    assert wrong <= 0.005 * inside  # a crop may be enlarged more
    assert colored > 10000
    assert astray <= 0.001 * colored  # a pixel that a mask passed over


@each_geometry
def test_outside_of_what_is_filled_the_canvas_is_black(
    recipe: dict[str, Any], records: coco.Records, data: Data
) -> None:
    for example in each(make(records, data, recipe), 4):
        assert_padding_is_black(example)
        assert without_padding(example).any(2).all()


@each_geometry
def test_crowds_change_nothing_but_their_slots(
    recipe: dict[str, Any], records: coco.Records, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list(each(make(records, data, recipe), 4))
    read = coco.read

    def read_with_crowd(records: coco.Records, index: int) -> coco.Record:
        record = read(records, index)
        height, width = SIZES[index]
        encoded = coco_mask.encode(np.ones((height, width), np.uint8, order="F"))["counts"]
        box = (0.0, 0.0, float(width), float(height))
        crowd = annotations.Instance(999, 1, encoded, box, 1.0, (0.0, 0.0), is_crowd=True)
        return record._replace(instances=[crowd, *record.instances])

    monkeypatch.setattr(coco, "read", read_with_crowd)
    crowds = 0
    for plain, example in zip(seen, each(make(records, data, recipe), 4), strict=True):
        found = example.instances
        valid, crowd = found.valid, found.crowd
        crowds += crowd.sum()
        assert not (valid & crowd).any() and not found.masks[4][~valid & ~crowd].any()
        assert_same(
            example._replace(instances=jax.tree.map(lambda x, v=valid: x[v], found)),
            plain._replace(
                instances=jax.tree.map(lambda x, v=plain.instances.valid: x[v], plain.instances)
            ),
        )
    assert crowds >= len(seen) / 2


STRIPS = [(1, 1), (1, 70), (70, 1), (2, 3), (400, 5), (300, 300)]


@pytest.mark.parametrize("canvases", [((96, 128), (128, 96)), ((32, 32),), ((32, 256),)], ids=str)
def test_strips_and_single_pixels_are_taken(
    canvases: tuple[tuple[int, int], ...], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(index: int) -> coco.Record:
        height, width = STRIPS[index]
        rle = coco_mask.encode(np.ones((height, width), np.uint8, order="F"))["counts"]
        box = (0.0, 0.0, float(width), float(height))
        one = annotations.Instance(1, index, rle, box, 1.0, (0.0, 0.0), is_crowd=False)
        return coco.Record(b"", str(index), False, [one])

    def image_of(record: coco.Record) -> np.ndarray:
        return np.full((*STRIPS[int(record.path)], 3), 9, np.uint8)

    monkeypatch.setattr(coco, "read", lambda _, index: record(index))
    monkeypatch.setattr(coco, "image_of", image_of)
    strips = coco.Records(None, (), list(range(len(STRIPS))), np.array(STRIPS, np.int32))
    for recipe in (*GEOMETRY.values(), EVERYTHING):
        for example in each(make(strips, data, recipe, canvases=canvases), 4):
            assert_padding_is_black(example)
            assert example.sizes.min() >= 1
            assert example.images.shape[:2] in canvases
            boxes = example.instances.boxes[example.instances.valid]
            assert (boxes[:, 2:] - boxes[:, :2] >= 0.999).all()
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= np.array(example.images.shape[1::-1]) + 1e-4).all()
            assert np.isfinite(example.instances.centers).all()


# Short sides and mirrors


def test_stretched_images_fill_the_canvas_whatever_their_shape(
    records: coco.Records, data: Data
) -> None:
    canvases = ((64, 96), (112, 48))
    for example in each(
        make(records, data, GEOMETRY["short side"], resize="stretch", canvases=canvases), 6
    ):
        canvas, (height, width) = example.images.shape[:2], example.original_sizes
        assert tuple(example.sizes) == canvas
        nearest = min(canvases, key=lambda one: abs(np.log(one[0] / one[1] * width / height)))
        assert canvas == nearest
        found = example.instances
        record = coco.read(records, int(example.indices))
        boxes = np.array([one.box for one in record.instances]).reshape(-1, 4)
        scale = np.array([canvas[1] / width, canvas[0] / height] * 2)
        expected = boxes[: found.valid.sum()] * scale
        np.testing.assert_allclose(found.boxes[found.valid], expected, rtol=1e-5)


def test_images_come_at_one_of_the_short_sides(records: coco.Records, data: Data) -> None:
    found = set()
    for example in each(make(records, data, PUBLISHED), 20):
        original, canvas = tuple(example.original_sizes), example.images.shape[:2]
        sizes = [transforms.fit_size(original, canvas, s, data.long_side) for s in SHORT_SIDES]
        assert original == SIZES[example.indices]
        assert tuple(example.sizes) in sizes
        if original == (60, 60):
            found.add(tuple(example.sizes.tolist()))
    assert found == {(side, side) for side in SHORT_SIDES}


@pytest.mark.parametrize("recipe", [PUBLISHED, JITTER], ids=["published", "large-scale jitter"])
def test_a_mirrored_example_is_the_mirror_of_the_other(
    recipe: dict[str, Any], records: coco.Records, data: Data
) -> None:
    pair = (make(records, data, {**recipe, "flip_probability": p}) for p in (0.0, 1.0))
    for plain, mirrored in zip(*(each(load, 6) for load in pair), strict=True):
        np.testing.assert_array_equal(without_padding(mirrored), without_padding(plain)[:, ::-1])
        width, (ours, theirs) = plain.sizes[1], (mirrored.instances, plain.instances)
        used = theirs.valid
        boxes = np.stack(
            [*(width - theirs.boxes[used][:, [2, 0]].T), *theirs.boxes[used][:, 1::2].T]
        )
        np.testing.assert_allclose(ours.boxes[used], boxes[[0, 2, 1, 3]].T, atol=1e-4)
        x, y = theirs.centers[used].T
        np.testing.assert_allclose(ours.centers[used], np.stack([width - 1 - x, y], 1), atol=1e-4)
        for name in ("labels", "valid"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_images_are_mirrored_as_often_as_asked(
    probability: float,
    records: coco.Records,
    data: Data,
    placements: list[transforms.Placement],
) -> None:
    load = make(records, data, {"flip_probability": probability})
    count = sum(1 for _ in each(load, 60))
    assert len(placements) == count
    share = np.mean([placement.flip for placement in placements])
    assert share == pytest.approx(probability, abs=0.07 * (0 < probability < 1))


# Large-scale jitter


@pytest.fixture
def coordinates(monkeypatch: pytest.MonkeyPatch, by_neighbours: None) -> None:
    """Every pixel of an image says where it is: its row, its column, 255."""
    image_of = coco.image_of

    def image(record: coco.Record) -> np.ndarray:
        height, width, _ = image_of(record).shape
        return np.dstack([*np.indices((height, width), np.uint8), np.full((height, width), 255)])

    monkeypatch.setattr(coco, "image_of", lambda record: image(record).astype(np.uint8))


def test_scales_are_spread_over_their_range(records: coco.Records, data: Data) -> None:
    scales, cut = [], 0
    for example in each(make(records, data, JITTER), 100):
        height, width = canvas = example.images.shape[:2]
        fit = transforms.fit_size(tuple(example.original_sizes), canvas, 1000, 1000)
        assert height in fit or width in fit
        axis = int(fit[0] != height)  # along which a scale of 1 fills the canvas
        if example.sizes[axis] == canvas[axis]:
            cut += 1
            assert min(canvas[1 - axis], fit[1 - axis]) <= example.sizes[1 - axis] + 1
        else:
            scales.append(example.sizes[axis] / canvas[axis])
            assert example.sizes[1 - axis] == pytest.approx(fit[1 - axis] * scales[-1], abs=1)
    assert cut / 700 == pytest.approx(1 / 1.9, abs=0.05)
    assert 0.09 < min(scales) < 0.13
    assert 0.97 < max(scales) < 1
    assert np.mean(scales) == pytest.approx(0.55, abs=0.04)
    assert np.std(scales) == pytest.approx(0.9 / 12**0.5, abs=0.03)


def test_a_fixed_scale_is_that_of_the_fitting_image(records: coco.Records, data: Data) -> None:
    for example in each(make(records, data, {"scale_range": (0.5, 0.5)}), 4):
        canvas = example.images.shape[:2]
        fit = transforms.fit_size(tuple(example.original_sizes), canvas, 1000, 1000)
        assert np.abs(example.sizes - np.array(fit) / 2).max() <= 0.5


def test_what_is_larger_than_the_canvas_is_cut_to_it_anywhere(
    records: coco.Records, data: Data, coordinates: None
) -> None:
    recipe = {"scale_range": (2.0, 2.0), "flip_probability": 0.0}
    places = []
    for example in each(make(records, data, recipe), 40):
        canvas, original = np.array(example.images.shape[:2]), example.original_sizes
        full = 2 * np.array(transforms.fit_size(tuple(original), tuple(canvas), 1000, 1000))
        np.testing.assert_array_equal(example.sizes, np.minimum(full, canvas))
        seen = without_padding(example)
        assert (seen[..., 2] == 255).all()
        first, last = seen[0, 0, :2].astype(int), seen[-1, -1, :2].astype(int)
        extent = last - first + 1
        np.testing.assert_allclose(extent, original * example.sizes / full, atol=1.5)
        for axis in np.flatnonzero(full > canvas):
            places.append(first[axis] / (original[axis] - extent[axis]))
        for axis in np.flatnonzero(full <= canvas):
            assert first[axis] == 0
    assert min(places) == 0
    assert max(places) >= 0.97
    assert np.mean(places) == pytest.approx(0.5, abs=0.05)
    assert np.std(places) == pytest.approx(1 / 12**0.5, abs=0.04)


# Crops


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[augment.Window]:
    """Of all crops that are drawn."""
    made, draw = [], augment.draw_iou_crop

    def recorded(*arguments: Any) -> augment.Window:
        made.append(draw(*arguments))
        return made[-1]

    monkeypatch.setattr(augment, "draw_iou_crop", recorded)
    return made


def test_of_a_crop_the_window_is_shown_with_the_instances_whose_center_it_holds(
    records: coco.Records, data: Data, by_neighbours: None, windows: list[augment.Window]
) -> None:
    cropped = left_out = 0
    for example in each(make(records, data, GEOMETRY["crop"]), 20):
        index, canvas = int(example.indices), example.images.shape[:2]
        top, left, bottom, right = window = windows[-1]
        extent = (bottom - top, right - left)
        sizes = [transforms.fit_size(extent, canvas, s, data.long_side) for s in SHORT_SIDES]
        assert tuple(example.sizes) in sizes
        source, masks = draw_scene(index)
        cut = cv2.resize(
            source[top:bottom, left:right], tuple(example.sizes[::-1].tolist()), interpolation=1
        )
        seen = without_padding(example)
        assert any(np.array_equal(seen, one) for one in (cut, cut[:, ::-1]))
        boxes = np.array([tight_box(mask) for mask in masks.values()])
        expected = {
            label
            for label, inside in zip(masks, augment.inside(boxes, window), strict=True)
            if inside and (shown(seen) == label).any()
        }
        assert set(labels_of(example)) == expected
        cropped += extent != tuple(example.original_sizes)
        left_out += len(set(shown(seen)[shown(seen) < len(SIZES) * EACH]) - expected)
    assert len(windows) == 20 * BATCH
    assert cropped > 70
    assert left_out > 20


@pytest.mark.parametrize("more", [JITTER, GEOMETRY["mosaic"]], ids=["jitter", "mosaic"])
def test_of_a_crop_that_is_too_large_a_part_is_shown(
    more: dict[str, Any],
    records: coco.Records,
    data: Data,
    windows: list[augment.Window],
    placements: list[transforms.Placement],
) -> None:
    for _ in each(make(records, data, {**GEOMETRY["crop"], **more}), 20):
        pass
    cut = 0
    for drawn, placement in zip(windows, placements, strict=True):
        top, left, bottom, right = placement.window or drawn
        assert drawn[0] <= top < bottom <= drawn[2]
        assert drawn[1] <= left < right <= drawn[3]
        cut += placement.window != drawn
    assert cut > 30


# Mosaics


def test_four_images_of_a_mosaic_meet_in_a_point(
    records: coco.Records,
    data: Data,
    by_neighbours: None,
    placements: list[transforms.Placement],
) -> None:
    meetings, beside, mirrored = [], set(), 0
    for example in each(make(records, data, GEOMETRY["mosaic"]), 20):
        height, width = canvas = example.images.shape[:2]
        assert tuple(example.sizes) == canvas
        assert len(placements) == 4
        tiles = [
            (*one.corner, one.corner[0] + one.size[0], one.corner[1] + one.size[1])
            for one in placements
        ]
        y, x = tiles[0][2:]
        assert tiles[1][1:3] == (x, y)
        assert (tiles[2][0], tiles[2][3]) == (y, x)
        assert tiles[3][:2] == (y, x)
        meetings.append((y / height, x / width))

        covered = np.zeros(canvas, int)
        owners = shown(example.images)
        owners = np.where(owners < len(SIZES) * EACH, owners // EACH, owners - len(SIZES) * EACH)
        for number, (top, left, bottom, right) in enumerate(tiles):
            assert 0 <= top < bottom <= height
            assert 0 <= left < right <= width
            covered[top:bottom, left:right] += 1
            (owner,) = set(owners[top:bottom, left:right].ravel())
            assert placements[number].original == SIZES[owner]
            if number:
                beside.add(int(owner))
            else:
                assert owner == example.indices
        assert covered.max() == 1
        assert (example.images[covered == 0] == scene.FILL).all()
        mirrored += sum(one.flip for one in placements)
        placements.clear()
    assert beside == set(range(len(SIZES)))
    low, high = scene.MOSAIC_CENTER
    assert low - 0.02 < np.min(meetings) < low + 0.03
    assert high - 0.03 < np.max(meetings) < high + 0.001
    assert mirrored / (80 * BATCH) == pytest.approx(0.5, abs=0.06)


def test_images_of_a_mosaic_come_at_half_their_size_with_what_has_room(
    records: coco.Records,
    data: Data,
    coordinates: None,
    placements: list[transforms.Placement],
) -> None:
    cut = 0
    for example in each(make(records, data, GEOMETRY["mosaic"]), 20):
        canvas = example.images.shape[:2]
        y, x = placements[3].corner
        for number, one in enumerate(placements):
            below, right = divmod(number, 2)
            room = np.array([canvas[0] - y if below else y, canvas[1] - x if right else x])
            original = np.array(one.original)
            fits = [transforms.fit_size(one.original, canvas, s, 120) for s in SHORT_SIDES]
            halves = np.array(fits) // 2
            options = np.minimum(halves, room)
            assert one.size in [tuple(size) for size in options.tolist()]
            full = halves[(options == one.size).all(1)]

            # What is cut off is what is farthest from where all meet.
            (top, left), (height, width) = one.corner, one.size
            tile = example.images[top : top + height, left : left + width].astype(int)
            tile = tile[:, ::-1] if one.flip else tile
            first, last = tile[0, 0, :2], tile[-1, -1, :2]
            wanted = original * one.size / full
            assert (np.abs(last - first + 1 - wanted) <= 0.5 + original / full).all(1).any()
            if below:
                assert first[0] == 0
            if bool(right) != one.flip:
                assert first[1] == 0
            step = original / np.array(one.size)  # the last row may be passed over
            if not below:
                assert last[0] >= original[0] - 1 - step[0]
            if bool(right) == one.flip:
                assert last[1] >= original[1] - 1 - step[1]
            cut += (full > room).any()
        placements.clear()
    assert cut > 50


# Copy-paste


@pytest.fixture
def pasted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, transforms.Shapes]]:
    """The other image and what is pasted of it, each time anything is."""
    made, paste = [], transforms.paste

    def recorded(
        image: np.ndarray, shapes: transforms.Shapes, source: np.ndarray, above: transforms.Shapes
    ) -> transforms.Shapes:
        made.append((source.copy(), above))
        return paste(image, shapes, source, above)

    monkeypatch.setattr(transforms, "paste", recorded)
    return made


@pytest.mark.parametrize("recipe", [PUBLISHED, JITTER], ids=["published", "large-scale jitter"])
def test_instances_of_another_image_are_pasted_and_nothing_else_changes(
    recipe: dict[str, Any],
    records: coco.Records,
    data: Data,
    pasted: list[tuple[np.ndarray, transforms.Shapes]],
) -> None:
    alone = each(make(records, data, recipe), 20)
    together = each(make(records, data, {**recipe, "copy_paste_probability": 1.0}), 20)
    unchanged, partners = 0, set()
    for one, other in zip(alone, together, strict=True):
        if not pasted:
            assert_same(other, one)
            unchanged += 1
            continue
        ((source, above),) = pasted
        pasted.clear()
        canvas = one.images.shape[:2]
        assert tuple(other.sizes) == canvas
        expected = np.full_like(one.images, scene.FILL)
        height, width = one.sizes
        expected[:height, :width] = without_padding(one)
        covered = np.zeros(canvas, bool)
        for mask, (top, left) in zip(above.masks, above.corners, strict=True):
            covered[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask > 0
        expected[covered] = source[covered]
        np.testing.assert_array_equal(other.images, expected)

        labels, found = labels_of(one), labels_of(other)
        below = found[: len(found) - len(above.labels)]
        assert found[len(below) :] == above.labels.tolist()
        assert [label for label in labels if label in below] == below
        assert_same((other.indices, other.original_sizes), (one.indices, one.original_sizes))
        partners |= {label // EACH for label in above.labels.tolist()}
    assert unchanged > 5
    assert partners == set(range(1, len(SIZES)))  # the first has nothing


def test_instances_that_are_covered_wholly_take_no_part(
    records: coco.Records, data: Data, by_neighbours: None
) -> None:
    vanished = 0
    alone = each(make(records, data, JITTER), 30)
    together = each(make(records, data, {**JITTER, "copy_paste_probability": 1.0}), 30)
    for one, other in zip(alone, together, strict=True):
        for label in set(labels_of(one)) - set(labels_of(other)):
            assert not (shown(other.images) == label).any()
            vanished += 1
    assert vanished > 3


def test_each_instance_of_the_other_image_is_pasted_as_often_as_not(
    records: coco.Records,
    data: Data,
    pasted: list[tuple[np.ndarray, transforms.Shapes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, place_shapes = [], transforms.place_shapes

    def counted(*arguments: Any) -> transforms.Shapes:
        shapes = place_shapes(*arguments)
        counts.append(len(shapes.labels))
        return shapes

    monkeypatch.setattr(transforms, "place_shapes", counted)
    for _ in each(make(records, data, {"copy_paste_probability": 1.0}), 40):
        pass
    count = sum(len(shapes.labels) for _, shapes in pasted)
    assert count / sum(counts[1::2]) == pytest.approx(scene.PASTED_SHARE, abs=0.05)


@pytest.mark.parametrize(
    ("name", "images"), [("mosaic_probability", 4), ("copy_paste_probability", 2)]
)
def test_other_images_are_taken_as_often_as_asked(
    name: str,
    images: int,
    records: coco.Records,
    data: Data,
    placements: list[transforms.Placement],
) -> None:
    counts = []
    for _ in each(make(records, data, {name: 0.3}), 60):
        counts.append(len(placements))
        placements.clear()
    assert set(counts) == {1, images}
    assert np.mean(np.array(counts) > 1) == pytest.approx(0.3, abs=0.06)


# What changes the image alone


@each_geometry
def test_colors_change_nothing_but_the_image(
    recipe: dict[str, Any],
    records: coco.Records,
    data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = make(records, data, {**recipe, "color_probability": 1.0})
    colored = list(each(load, 3))
    distort = augment.distort_colors

    def drawn_in_vain(image: np.ndarray, *arguments: Any) -> np.ndarray:
        assert distort(image, *arguments).shape == image.shape
        return image

    monkeypatch.setattr(augment, "distort_colors", drawn_in_vain)
    for example, plain in zip(colored, each(load, 3), strict=True):
        assert_only_the_image_differs(example, plain)
        assert (example.images != plain.images).any()
        assert_padding_is_black(example)


DROPPED: dict[str, dict[str, Any]] = {
    "grid mask": {"grid_mask_probability": 1.0},
    "erasing": {"erase_probability": 1.0},
}


@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
@each_geometry
def test_dropped_pixels_change_nothing_but_the_image(
    recipe: dict[str, Any], dropped: dict[str, Any], records: coco.Records, data: Data
) -> None:
    changed = 0
    loads = (make(records, data, {**recipe, **more}) for more in (dropped, {}))
    for example, plain in zip(*(each(load, 3) for load in loads), strict=True):
        assert_only_the_image_differs(example, plain)
        assert_padding_is_black(example)
        difference = (example.images != plain.images).any(2)
        changed += bool(difference.any())
        if "grid_mask_probability" in dropped:
            assert (example.images[difference] == scene.FILL).all()
        else:
            x0, y0, x1, y1 = tight_box(difference.astype(np.uint8))
            assert difference.sum() >= 0.99 * (y1 - y0) * (x1 - x0)
            assert (y1 - y0) * (x1 - x0) <= 0.42 * example.sizes.prod()
    assert changed == 3 * BATCH


def test_grid_masks_come_more_often_until_the_ramp_ends(records: coco.Records, data: Data) -> None:
    ramp = {"grid_mask_probability": 0.8, "grid_mask_ramp_steps": 1000}
    masked, plain = (make(records, data, recipe) for recipe in (ramp, PUBLISHED))

    def share(steps: range) -> float:
        return float(
            np.mean(
                [
                    (masked(step, place).images != plain(step, place).images).any()
                    for step in steps
                    for place in range(BATCH)
                ]
            )
        )

    assert share(range(1)) == 0
    assert share(range(485, 515)) == pytest.approx(0.4, abs=0.08)
    assert share(range(1000, 1030)) == pytest.approx(0.8, abs=0.08)
    assert share(range(10**6, 10**6 + 30)) == pytest.approx(0.8, abs=0.08)


# Randomness


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_the_published_recipe_draws_a_short_side_and_a_mirror_and_no_more(
    probability: float, records: coco.Records, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, default_rng = [], np.random.default_rng

    def recorded(seed: Any) -> np.random.Generator:
        made.append(default_rng(seed))
        return made[-1]

    others = ("color", "crop", "mosaic", "copy_paste", "grid_mask", "erase")
    recipe = {f"{name}_probability": 0.0 for name in others}
    load = make(records, data, {**recipe, "flip_probability": probability}, seed=3)
    load(0, 0)  # the plan of the first epoch
    canvas_of = examples.train_canvases_of(records, data)
    steps = plan.steps_per_epoch(canvas_of, BATCH)
    planned = plan.plan(canvas_of, BATCH, 3, epoch=0)
    images = [draw_scene(index)[0] for index in range(len(SIZES))]
    monkeypatch.setattr(np.random, "default_rng", recorded)
    for step in range(steps):
        for place in range(BATCH):
            example = load(step, place)
            (used,) = made
            made.clear()
            rng = default_rng((3, plan.AUGMENTATION, step * BATCH + place))
            short_side = SHORT_SIDES[rng.integers(len(SHORT_SIDES))]
            flip = bool(rng.random() < probability)
            assert used.bit_generator.state == rng.bit_generator.state

            index = int(planned.indices[step, place])
            canvas = data.canvases[planned.canvases[step]]
            size = transforms.fit_size(SIZES[index], canvas, short_side, data.long_side)
            placement = transforms.Placement(SIZES[index], size, flip)
            record = coco.read(records, index)
            image = np.zeros((*canvas, 3), np.uint8)
            transforms.place_image(images[index], placement, image)
            shapes = transforms.place_shapes(
                rle.decode_patches([one.rle for one in record.instances], SIZES[index][0]),
                np.array([one.box for one in record.instances]),
                np.array([one.label for one in record.instances]),
                placement,
            )
            instances, dropped = transforms.make_instances(shapes, canvas, 30, STRIDES)
            expected = Batch(
                images=image,
                sizes=np.array(size, np.int32),
                original_sizes=np.array(SIZES[index], np.int32),
                indices=np.int32(index),
                valid=np.bool_(True),
                instances=instances,
                dropped=np.int32(dropped),
            )
            assert_same(example, expected)


OTHERS = {
    "mosaic": {"mosaic_probability": 1.0},
    "copy-paste": {"copy_paste_probability": 1.0},
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("recipe", OTHERS.values(), ids=OTHERS)
def test_an_example_depends_on_its_place_alone(
    recipe: dict[str, Any], records: coco.Records, data: Data
) -> None:
    steps = 8
    in_order = list(each(make(records, data, recipe), steps))
    order = np.random.default_rng(0).permutation(len(in_order)).tolist()

    backwards, shared = (make(records, data, recipe) for _ in range(2))
    for number in order[:20]:
        assert_same(backwards(*divmod(number, BATCH)), in_order[number])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: shared(*divmod(number, BATCH)), order))
    for number, example in zip(order, found, strict=True):
        assert_same(example, in_order[number])


@pytest.mark.parametrize("recipe", OTHERS.values(), ids=OTHERS)
def test_another_seed_gives_other_examples(
    recipe: dict[str, Any], records: coco.Records, data: Data
) -> None:
    one, other = (each(make(records, data, recipe, seed), 4) for seed in (1, 2))
    differ = [
        a.images.shape != b.images.shape or (a.images != b.images).any()
        for a, b in zip(one, other, strict=True)
    ]
    assert np.mean(differ) > 0.9


def test_the_same_image_has_other_company_in_every_epoch(records: coco.Records, data: Data) -> None:
    seen: dict[int, set[bytes]] = {}
    for example in each(make(records, data, GEOMETRY["mosaic"]), 20):
        seen.setdefault(int(example.indices), set()).add(example.images.tobytes())
    assert set(seen) == set(range(len(SIZES)))
    assert all(len(images) > 1 for images in seen.values())


def test_large_scale_jitter_takes_the_canvas_on_which_an_image_is_largest() -> None:
    sizes = np.array([[480, 640], [640, 480]])
    records = coco.Records(None, (), [1, 2], sizes)
    jitter = Augmentation(scale_range=(0.1, 2.0))
    canvases = ((32, 64), (512, 704), (704, 512))
    # The short sides would fit the smallest, but do not count.
    data = Data(canvases=canvases, train_short_sides=(32,), augmentation=jitter)
    assert examples.train_canvases_of(records, data).tolist() == [1, 2]
    plain = dataclasses.replace(data, augmentation=Augmentation())
    assert examples.train_canvases_of(records, plain).tolist() == [0, 1]


def test_the_range_of_scales_counts_in_a_mosaic_too(records: coco.Records, data: Data) -> None:
    recipe = {"mosaic_probability": 1.0, "scale_range": (0.1, 0.1)}
    for example in each(make(records, data, recipe), 5):
        assert (example.images == scene.FILL).all(-1).mean() > 0.95


def test_images_of_rare_classes_come_more_often(
    records: coco.Records, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Gupta et al., LVIS, section 5.3: the root of threshold over share, of the rarest class."""
    labels = [[0], [0, 1], [0, 0], [0], [], [0], [0], [0, 2, 2], [2], []]
    first = coco.read(records, 1)
    fake = [
        first._replace(instances=[first.instances[0]._replace(label=one) for one in some])
        for some in labels
    ]
    crowd = first.instances[0]._replace(label=1, is_crowd=True)
    fake[4].instances.append(crowd)  # not learned, and not counted
    few = records._replace(image_ids=list(range(10)), sizes=records.sizes[:10])
    monkeypatch.setattr(coco, "read", lambda _, index: fake[index])
    repeats = balance.repeats_of(few, 0.4)
    rare, scarce = np.sqrt(0.4 / 0.1), np.sqrt(0.4 / 0.2)
    np.testing.assert_allclose(repeats, [1, rare, 1, 1, 1, 1, 1, scarce, scarce, 1])
    assert balance.repeats_of(few, 0) is None

    often = dataclasses.replace(data, repeat_threshold=0.4)
    steps = examples.steps_per_epoch(few, often, BATCH)
    load = make(few, often, {}, seed=3)
    drawn = [int(load(step, place).indices) for step in range(steps) for place in range(BATCH)]
    assert np.bincount(drawn)[1] >= 2 and steps > examples.steps_per_epoch(few, data, BATCH)


# Label maps


@pytest.fixture
def mapped(records: coco.Records, monkeypatch: pytest.MonkeyPatch) -> coco.Records:
    """The records with label maps, in which grounds are stuff: an image's are its colours'."""
    monkeypatch.setattr(coco, "labels_of", lambda _, record: shown(coco.image_of(record)))
    return records._replace(stuff_labels=range(len(SIZES)))


@each_geometry
def test_labels_are_where_their_colors_are(
    recipe: dict[str, Any], mapped: coco.Records, data: Data, by_neighbours: None
) -> None:
    """And so are those of things where their masks are, which have been compared with colours."""
    load = make(mapped, data, recipe, label_strides=(4, 1))
    for example, plain in zip(each(load, 6), each(make(mapped, data, recipe), 6), strict=True):
        seen = shown(example.images)
        expected = np.where(seen == NOTHING, IGNORED, seen)
        whole, shrunken = (example.instances.label_maps[stride] for stride in (1, 4))
        assert whole.dtype == np.uint8
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(shrunken, expected[2::4, 2::4])
        assert_same(example._replace(instances=plain.instances), plain)
