"""Claims about batches, on a small drawn set."""

import dataclasses
import json
from typing import Any

import cv2
import jax
import numpy as np
import pytest

from solojax.config import Augmentation, Data
from solojax.data import examples, pipeline, plan, rle, synthetic, transforms
from solojax.data.images import files as image_files
from solojax.data.records import coco
from solojax.types import Batch, InputError, Instances

TRAIN, VAL, BATCH, LIMIT = 12, 5, 4, 5
CANVAS = (96, 96)
STRIDES = (8, 4, 16, 8)  # in no order, one of them twice
CROWD = 999  # id of an annotation that covers its image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Twelve training images, the first of which has a crowd and the second nothing."""
    root = tmp_path_factory.mktemp("shapes")
    synthetic.draw_shapes(root, train=TRAIN, val=VAL, processes=1)
    path = root / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    entries = [one for one in content["annotations"] if one["image_id"] != 2]
    full = [[0, 0, 128, 0, 128, 128, 0, 128]]
    crowd = {"id": CROWD, "image_id": 1, "category_id": 1, "segmentation": full, "iscrowd": 1}
    path.write_text(json.dumps({**content, "annotations": [crowd, *entries]}))
    return Data(
        root=str(root),
        records=str(root / "records"),
        canvases=(CANVAS,),
        train_short_sides=(64, 96),
        test_short_side=80,
        long_side=200,
        max_instances=LIMIT,
    )


@pytest.fixture(scope="module")
def records(data: Data) -> coco.Records:
    return coco.prepare(data, "train")


@pytest.fixture(scope="module")
def val_records(data: Data) -> coco.Records:
    return coco.prepare(data, "val")


@pytest.fixture(scope="module")
def epochs(records: coco.Records, data: Data) -> list[Batch]:
    """The six batches of two epochs."""
    return train(records, data, 0, 6)


def train(records: coco.Records, data: Data, first: int, last: int, **changes: Any) -> list[Batch]:
    settings = {"mask_strides": STRIDES, "batch_size": BATCH, "seed": 7, **changes}
    return list(pipeline.train_batches(records, data, first=first, last=last, **settings))


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert_same_arrays(one, other)


def assert_same_arrays(found: Batch | Instances, expected: Batch | Instances) -> None:
    def check(path: Any, array: np.ndarray, other: np.ndarray) -> None:
        np.testing.assert_array_equal(array, other, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(check, found, expected)


def describe(batch: Batch) -> Batch:
    """The shape and type of every array."""
    return jax.tree.map(lambda array: (array.shape, array.dtype.name), batch)


def expected_shapes(instances: int, masks: dict[int, tuple[int, int]]) -> Batch:
    """What ``describe`` is to return where the packed masks of each stride are of that size."""
    return Batch(
        images=((BATCH, *CANVAS, 3), "uint8"),
        sizes=((BATCH, 2), "int32"),
        original_sizes=((BATCH, 2), "int32"),
        indices=((BATCH,), "int32"),
        valid=((BATCH,), "bool"),
        instances=Instances(
            masks={stride: ((BATCH, instances, *size), "uint8") for stride, size in masks.items()},
            boxes=((BATCH, instances, 4), "float32"),
            centers=((BATCH, instances, 2), "float32"),
            labels=((BATCH, instances), "int32"),
            valid=((BATCH, instances), "bool"),
            crowd=((BATCH, instances), "bool"),
        ),
        dropped=((BATCH,), "int32"),
    )


def drawn(image: np.ndarray, placement: transforms.Placement) -> np.ndarray:
    """An image on a black canvas."""
    placed = np.zeros((*CANVAS, 3), np.uint8)
    transforms.place_image(image, placement, placed)
    return placed


def example_of(batches: list[Batch], index: int) -> tuple[Batch, int]:
    """The first batch with a record, and its place there."""
    for batch in batches:
        for place in np.flatnonzero(batch.indices == index):
            return batch, int(place)
    raise AssertionError(f"record {index} is in no batch")


def test_training_batches_have_the_shapes_and_types_of_the_contract(epochs: list[Batch]) -> None:
    for batch in epochs:
        assert describe(batch) == expected_shapes(LIMIT, {4: (24, 3), 8: (12, 2), 16: (6, 1)})
        assert batch.valid.all()


@pytest.mark.parametrize("strides", [(4,), (16,), (4, 8), (8, 4), (16, 16)])
def test_masks_come_once_for_every_stride_and_strides_change_nothing_else(
    strides: tuple[int, ...], epochs: list[Batch], records: coco.Records, data: Data
) -> None:
    for batch, other in zip(train(records, data, 0, 6, mask_strides=strides), epochs, strict=True):
        masks = {stride: other.instances.masks[stride] for stride in strides}
        assert set(batch.instances.masks) == set(strides)
        assert_equal([batch], [other._replace(instances=other.instances._replace(masks=masks))])


def test_training_batches_follow_the_plan(
    epochs: list[Batch], records: coco.Records, data: Data
) -> None:
    canvas_of = examples.train_canvases_of(records, data)
    planned = [plan.plan(canvas_of, BATCH, 7, epoch).indices for epoch in (0, 1)]
    found = np.stack([batch.indices for batch in epochs])
    np.testing.assert_array_equal(found, np.concatenate(planned))
    assert sorted(found[:3].ravel()) == sorted(found[3:].ravel()) == list(range(TRAIN))


def test_training_batches_stop_where_asked(records: coco.Records, data: Data) -> None:
    assert [len(train(records, data, *span)) for span in ((0, 1), (2, 5), (3, 3))] == [1, 3, 0]


@pytest.mark.parametrize("first", [1, 3, 5])
def test_starting_in_the_middle_gives_the_same_batches(
    first: int, epochs: list[Batch], records: coco.Records, data: Data
) -> None:
    assert_equal(train(records, data, first, 6), epochs[first:])


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_nothing(
    workers: int, epochs: list[Batch], records: coco.Records, data: Data
) -> None:
    other = dataclasses.replace(data, workers=workers)
    assert_equal(train(records, other, 0, 6), epochs)


def test_another_seed_gives_other_batches(
    epochs: list[Batch], records: coco.Records, data: Data
) -> None:
    other = train(records, data, 0, 6, seed=8)
    assert any((a.indices != b.indices).any() for a, b in zip(epochs, other, strict=True))


def test_an_image_is_drawn_anew_in_every_epoch(epochs: list[Batch]) -> None:
    changed = 0
    for index in range(TRAIN):
        (first, i), (second, j) = (example_of(part, index) for part in (epochs[:3], epochs[3:]))
        changed += not np.array_equal(first.images[i], second.images[j])
    assert TRAIN // 3 < changed


def test_training_images_are_scaled_to_each_short_side(records: coco.Records, data: Data) -> None:
    sizes = np.concatenate([batch.sizes for batch in train(records, data, 0, 12)])
    assert {tuple(size) for size in sizes.tolist()} == {(64, 64), (96, 96)}


def test_example_is_the_image_with_its_instances(
    epochs: list[Batch], records: coco.Records
) -> None:
    for index in range(2, TRAIN):
        batch, place = example_of(epochs, index)
        record = coco.read(records, index)
        size = (int(batch.sizes[place][0]), int(batch.sizes[place][1]))
        placements = [transforms.Placement((128, 128), size, flip) for flip in (False, True)]
        image = cv2.imdecode(np.frombuffer(record.encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        placed = [drawn(image, placement) for placement in placements]
        (flip,) = (k for k in (0, 1) if np.array_equal(placed[k], batch.images[place]))
        shapes = transforms.place_shapes(
            rle.decode_patches([one.rle for one in record.instances], 128),
            np.array([one.box for one in record.instances]),
            np.array([one.label for one in record.instances]),
            placements[flip],
        )
        expected, dropped = transforms.make_instances(shapes, CANVAS, LIMIT, STRIDES)
        assert batch.dropped[place] == dropped
        assert batch.original_sizes[place].tolist() == [128, 128]
        found = jax.tree.map(lambda array, place=place: array[place], batch.instances)
        assert_same_arrays(found, expected)
        assert expected.valid.any()


def test_crowds_follow_the_instances_and_are_not_valid(records: coco.Records, data: Data) -> None:
    record = coco.read(records, 0)
    assert [one.id for one in record.instances if one.is_crowd] == [CROWD]
    others = [one.label for one in record.instances if not one.is_crowd]
    roomy = dataclasses.replace(data, max_instances=len(others) + 2)
    batch, place = example_of(train(records, roomy, 0, 6), 0)
    found = jax.tree.map(lambda array: array[place], batch.instances)
    assert found.labels[found.valid].tolist() == others
    assert np.flatnonzero(found.crowd).tolist() == [len(others)]
    assert batch.dropped[place] == 0
    height, width = batch.sizes[place]
    np.testing.assert_array_equal(found.boxes[len(others)], [0, 0, width, height])
    for stride, masks in found.masks.items():
        bits = np.unpackbits(masks[len(others)], axis=-1)
        assert bits[: height // stride, : width // stride].all()


def test_an_image_without_instances_is_a_negative(epochs: list[Batch]) -> None:
    batch, place = example_of(epochs, 1)
    assert batch.valid[place]
    assert batch.images[place].any()
    assert not batch.instances.valid[place].any()
    assert not any(masks[place].any() for masks in batch.instances.masks.values())


def test_instances_beyond_the_limit_are_counted(records: coco.Records, data: Data) -> None:
    few = dataclasses.replace(data, max_instances=1)
    for batch in train(records, few, 0, 3):
        for index, valid, dropped in zip(
            batch.indices, batch.instances.valid, batch.dropped, strict=True
        ):
            count = sum(not one.is_crowd for one in coco.read(records, int(index)).instances)
            assert valid.sum() == min(count, 1)
            assert dropped == max(count - 1, 0)


def test_batches_of_two_canvases_have_one_each(records: coco.Records, data: Data) -> None:
    sizes = records.sizes.copy()
    sizes[::2] = (128, 64)
    told = records._replace(sizes=sizes)
    both = dataclasses.replace(data, canvases=((96, 96), (192, 96)))
    shapes = [batch.images.shape[1:3] for batch in train(told, both, 0, 4)]
    assert sorted(shapes) == [(96, 96)] * 2 + [(192, 96)] * 2


def test_evaluation_covers_every_record_once_and_marks_what_fills_up(
    val_records: coco.Records, data: Data
) -> None:
    batches = list(pipeline.eval_batches(val_records, data, batch_size=BATCH))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, -1, -1, -1]]
    assert [batch.valid.tolist() for batch in batches] == [[True] * 4, [True] + [False] * 3]


def test_evaluation_batches_have_the_shapes_and_types_of_the_contract_and_no_masks(
    val_records: coco.Records, data: Data
) -> None:
    for batch in pipeline.eval_batches(val_records, data, batch_size=BATCH):
        assert describe(batch) == expected_shapes(1, {})
        assert batch.instances.masks == {}
        assert not batch.instances.valid.any()


def test_evaluation_images_are_neither_drawn_nor_mirrored(
    val_records: coco.Records, data: Data
) -> None:
    for batch in pipeline.eval_batches(val_records, data, batch_size=BATCH):
        for place in np.flatnonzero(batch.valid):
            image = coco.image_of(coco.read(val_records, int(batch.indices[place])))
            placement = transforms.Placement((128, 128), (80, 80))
            np.testing.assert_array_equal(batch.images[place], drawn(image, placement))
            assert batch.sizes[place].tolist() == [80, 80]
            assert batch.original_sizes[place].tolist() == [128, 128]


def test_damaged_record_stops_the_stream_with_the_name_of_its_image(
    records: coco.Records, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "decode_image", lambda *_: None)
    with pytest.raises(Exception, match=r"the record of .*\.jpg is damaged"):
        train(records, data, 0, 1)


# Several processes, and beginning in the middle

EVERYTHING = Augmentation(
    scale_range=(0.1, 2.0),
    color_probability=0.5,
    crop_probability=0.5,
    mosaic_probability=0.5,
    copy_paste_probability=0.5,
    grid_mask_probability=0.5,
    grid_mask_ramp_steps=4,
    erase_probability=0.5,
)
RECIPES = pytest.mark.parametrize(
    "recipe", [Augmentation(), EVERYTHING], ids=["published", "everything"]
)


def random_mixture(
    records: coco.Records, data: Data, case: int
) -> tuple[coco.Records, Data, dict[str, int]]:
    """Records that are told to be of other sizes, for one to four canvases; settings."""
    rng = np.random.default_rng(case)
    sides = (64, 96, 128)
    every = [(height, width) for height in sides for width in sides]
    chosen = rng.choice(len(every), int(rng.integers(1, 5)), replace=False)
    sizes = rng.integers(20, 200, records.sizes.shape, np.int32)
    return (
        records._replace(sizes=sizes),
        dataclasses.replace(data, canvases=tuple(every[i] for i in chosen)),
        {"batch_size": int(rng.choice([4, 8])), "seed": int(rng.integers(100))},
    )


def parts(
    records: coco.Records, data: Data, processes: int, last: int, **settings: Any
) -> list[Batch]:
    """The batches of all processes, put together."""
    each = [
        train(records, data, 0, last, process=process, processes=processes, **settings)
        for process in range(processes)
    ]
    for step in zip(*each, strict=True):
        assert len({batch.images.shape for batch in step}) == 1
    return [
        jax.tree.map(lambda *arrays: np.concatenate(arrays), *step)
        for step in zip(*each, strict=True)
    ]


class Dying:
    """A reader that dies when it is asked for a step's image, some times."""

    def __init__(self, step: int, times: int, monkeypatch: pytest.MonkeyPatch):
        self.step, self.times = step, times
        self.make = examples.train_examples
        monkeypatch.setattr(examples, "train_examples", self.dying)

    def dying(self, *arguments: Any, **options: Any) -> Any:
        load = self.make(*arguments, **options)

        def read_from_a_disk(step: int, place: int) -> Batch:
            if step == self.step and place == 1 and self.times:
                self.times -= 1
                raise OSError(5, "Input/output error", "records-00003")
            return load(step, place)

        return read_from_a_disk


def test_a_reader_that_died_is_started_again_and_nothing_is_missing(
    records: coco.Records,
    data: Data,
    epochs: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Dying(step=2, times=1, monkeypatch=monkeypatch)
    assert_equal(train(records, data, 0, 6), epochs)
    (line,) = [one for one in capfd.readouterr().err.splitlines() if one.startswith("solojax")]
    assert "warning: a reader of images died (OSError: [Errno 5] Input/output error:" in line


def test_a_reader_that_dies_again_fails_with_its_trace(
    records: coco.Records, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dying(step=2, times=1000, monkeypatch=monkeypatch)
    with pytest.raises(Exception, match="in read_from_a_disk") as caught:
        train(records, data, 0, 6)
    assert "records-00003" in str(caught.value)


@RECIPES
@pytest.mark.parametrize("processes", [2, 4])
def test_parts_of_the_processes_make_up_the_batches(
    processes: int, recipe: Augmentation, records: coco.Records, data: Data
) -> None:
    shapes: set[tuple[int, int]] = set()
    for case in range(2):
        told, mixture, settings = random_mixture(records, data, case)
        mixture = dataclasses.replace(mixture, augmentation=recipe)
        whole = train(told, mixture, 0, 6, **settings)
        assert_equal(parts(told, mixture, processes, 6, **settings), whole)
        assert {len(batch.indices) for batch in whole} == {settings["batch_size"]}
        shapes |= {batch.images.shape[1:3] for batch in whole}
    assert len(shapes) > 2


def test_in_any_mixture_batches_follow_the_plan_on_its_canvases(
    records: coco.Records, data: Data
) -> None:
    several = 0
    for case in range(12):
        told, mixture, settings = random_mixture(records, data, case)
        canvas_of = examples.train_canvases_of(told, mixture)
        steps = plan.steps_per_epoch(canvas_of, settings["batch_size"])
        planned = plan.plan(canvas_of, settings["batch_size"], settings["seed"], epoch=0)
        batches = train(told, mixture, 0, steps, **settings)
        np.testing.assert_array_equal([batch.indices for batch in batches], planned.indices)
        shapes = [batch.images.shape[1:3] for batch in batches]
        assert shapes == [mixture.canvases[canvas] for canvas in planned.canvases]
        several += len(set(shapes)) > 1
    assert several > 4


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of all records that are read."""
    made, read = [], coco.read

    def recorded(records: coco.Records, index: int) -> coco.Record:
        made.append(index)
        return read(records, index)

    monkeypatch.setattr(coco, "read", recorded)
    return made


@RECIPES
def test_in_any_mixture_beginning_anywhere_gives_the_tail(
    recipe: Augmentation, records: coco.Records, data: Data
) -> None:
    for case in range(2):
        told, mixture, settings = random_mixture(records, data, case)
        mixture = dataclasses.replace(mixture, augmentation=recipe)
        whole = train(told, mixture, 0, 9, **settings)
        for first in (1, 4, 8):
            assert_equal(train(told, mixture, first, 9, **settings), whole[first:])


@pytest.mark.parametrize("first", [0, 1, 5, 9])
def test_what_lies_before_the_beginning_is_never_read(
    first: int, records: coco.Records, data: Data, reads: list[int]
) -> None:
    for case in range(3):
        told, mixture, settings = random_mixture(records, data, case)
        batches = train(told, mixture, first, 10, **settings)
        used = np.concatenate([batch.indices for batch in batches])
        assert sorted(reads) == sorted(used.tolist())
        reads.clear()


def test_a_process_reads_its_part_alone(
    records: coco.Records, data: Data, reads: list[int]
) -> None:
    batches = train(records, data, 2, 5, process=1, processes=2)
    assert [len(batch.indices) for batch in batches] == [BATCH // 2] * 3
    assert sorted(reads) == sorted(np.concatenate([batch.indices for batch in batches]).tolist())


def test_nothing_is_read_before_a_batch_is_asked_for(
    records: coco.Records, data: Data, reads: list[int]
) -> None:
    pipeline.train_batches(
        records, data, mask_strides=STRIDES, batch_size=BATCH, seed=0, first=0, last=9
    )
    assert reads == []


@pytest.mark.parametrize(("batch_size", "processes"), [(4, 3), (1, 2), (6, 4), (2, 4)])
def test_a_batch_that_does_not_divide_over_the_processes_is_refused(
    batch_size: int, processes: int, records: coco.Records, data: Data
) -> None:
    with pytest.raises(InputError) as refused:
        train(records, data, 0, 1, batch_size=batch_size, processes=processes)
    expected = f"training.batch_size={batch_size} has no part 0 of {processes} equal ones"
    assert str(refused.value) == expected
