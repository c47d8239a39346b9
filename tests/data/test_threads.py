"""Claims about batches made by threads alone."""

import dataclasses
import hashlib
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from solojax.config import Augmentation, Data
from solojax.data import examples, pipeline, synthetic
from solojax.data.records import coco
from solojax.types import Batch
from tests.data.test_pipeline import EVERYTHING, RECIPES

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools/thread_batches.py"))
BATCH, STRIDES, SEED = 4, (4, 8), 7

WITHOUT_TENSORFLOW = """
import hashlib, importlib.machinery, runpy, sys

find_spec = importlib.machinery.PathFinder.find_spec

def find_others(name, path=None, target=None):
    return None if name.split(".")[0] == "tensorflow" else find_spec(name, path, target)

importlib.machinery.PathFinder.find_spec = find_others
try:
    import tensorflow
except ImportError:
    pass
else:
    raise AssertionError("TensorFlow is there")

from solojax.config import Data
from solojax.data import examples
from solojax.data.records import coco

root, records, tool = sys.argv[1:]
data = Data(root=root, records=records, canvases=((96, 96),), train_short_sides=(64, 96))
records = coco.prepare(data, "train")
load = examples.train_examples(records, data, mask_strides=(4, 8), batch_size=4, seed=7)
digest = hashlib.sha256()
for batch in runpy.run_path(tool)["thread_batches"](load, range(4), 4, 2):
    for array in (batch.images, batch.sizes, *batch.instances.masks.values()):
        digest.update(array.tobytes())
assert "tensorflow" not in sys.modules
assert "jax" not in sys.modules
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("shapes")
    synthetic.draw_shapes(root, train=10, val=1, processes=1)
    return Data(
        root=str(root),
        records=str(root / "records"),
        canvases=((96, 96),),
        train_short_sides=(64, 96),
    )


@pytest.fixture(scope="module")
def records(data: Data) -> coco.Records:
    return coco.prepare(data, "train")


def make(records: coco.Records, data: Data) -> examples.Load:
    return examples.train_examples(records, data, mask_strides=STRIDES, batch_size=BATCH, seed=SEED)


def thread_batches(load: examples.Load, steps: range, workers: int = 2) -> Iterator[Batch]:
    return TOOL["thread_batches"](load, steps, BATCH, workers)


def expected(records: coco.Records, data: Data, first: int, last: int) -> list[Batch]:
    settings: dict[str, Any] = {"mask_strides": STRIDES, "batch_size": BATCH, "seed": SEED}
    return list(pipeline.train_batches(records, data, first=first, last=last, **settings))


def assert_equal(found: list[Batch], batches: list[Batch]) -> None:
    assert len(found) == len(batches) > 0

    def check(path: Any, array: np.ndarray, other: np.ndarray) -> None:
        where = jax.tree_util.keystr(path)
        assert array.dtype == other.dtype, where
        np.testing.assert_array_equal(array, other, err_msg=where)

    jax.tree_util.tree_map_with_path(check, found, batches)


def only_places(step: int, place: int) -> Batch:
    """An example that knows where it is and nothing else."""
    return Batch(*[np.array([step, place])] * len(Batch._fields))


@RECIPES
def test_batches_are_those_of_the_pipeline(
    recipe: Augmentation, records: coco.Records, data: Data
) -> None:
    data = dataclasses.replace(data, augmentation=recipe)
    found = list(thread_batches(make(records, data), range(9)))
    assert_equal(found, expected(records, data, 0, 9))


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_the_number_of_threads_changes_nothing(
    workers: int, records: coco.Records, data: Data
) -> None:
    data = dataclasses.replace(data, augmentation=EVERYTHING)
    found = list(thread_batches(make(records, data), range(5, 9), workers))
    assert_equal(found, expected(records, data, 5, 9))


@pytest.mark.parametrize("steps", [range(0), range(1), range(3), range(30)], ids=len)
def test_batches_come_in_the_order_of_the_steps(steps: range) -> None:
    found = [batch.images.tolist() for batch in thread_batches(only_places, steps, workers=8)]
    assert found == [[[step, place] for place in range(BATCH)] for step in steps]


def test_only_a_few_batches_are_made_ahead() -> None:
    asked = []

    def load(step: int, place: int) -> Batch:
        asked.append(step)
        return only_places(step, place)

    batches = thread_batches(load, range(1000), workers=8)
    for step in range(20):
        next(batches)
        assert max(asked) <= step + TOOL["AHEAD"]
    batches.close()


def test_what_an_example_raises_reaches_the_reader_in_its_place() -> None:
    def load(step: int, place: int) -> Batch:
        if (step, place) == (3, 2):
            raise ValueError("the record is damaged")
        return only_places(step, place)

    before = set(threading.enumerate())
    batches, seen = thread_batches(load, range(100)), []
    with pytest.raises(ValueError, match="the record is damaged"):
        for batch in batches:
            seen.append(int(batch.indices[0, 0]))
    assert seen == [0, 1, 2]
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_an_abandoned_iterator_leaves_no_threads(taken: int) -> None:
    before = set(threading.enumerate())
    batches = thread_batches(only_places, range(1000), workers=8)
    for _ in range(taken):
        next(batches)
        assert set(threading.enumerate()) - before
    del batches
    assert not set(threading.enumerate()) - before


def test_records_are_written_and_batches_made_where_tensorflow_is_missing(
    records: coco.Records, data: Data, tmp_path: Path
) -> None:
    tool = ROOT / "tools/thread_batches.py"
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, data.root, tmp_path / "records", tool],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    digest = hashlib.sha256()
    for batch in expected(records, data, 0, 4):
        for array in (batch.images, batch.sizes, *batch.instances.masks.values()):
            digest.update(array.tobytes())
    assert run.stdout.strip() == digest.hexdigest()
