"""Claims about the measuring of the pipeline; how fast it is, only a quiet machine can tell."""

import os
from pathlib import Path

import pytest

from solojax.config import Augmentation, Data
from solojax.data import synthetic, throughput
from solojax.data.records import coco


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("shapes")
    synthetic.draw_shapes(root, train=12, val=1, processes=1)
    return Data(
        root=str(root),
        records=str(root / "records"),
        canvases=((128, 128),),
        train_short_sides=(128,),
        long_side=128,
        augmentation=Augmentation(copy_paste_probability=1),
    )


def test_rates_stages_and_memory_are_measured(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "PROFILED", 20)
    before = os.sched_getaffinity(0)
    records = coco.prepare(data, "train")
    found = throughput.measure(records, data, mask_strides=(4, 8), batch_size=4, images=80)
    assert os.sched_getaffinity(0) == before
    assert found.rates.keys() == {1, coco.workers()}
    assert min(found.rates.values()) > 0
    assert found.images == 80
    assert 50 * throughput.MEBIBYTE < min(found.memory)
    # What the recipe does is there, and what it does not is not.
    assert {"decode the image", "paste", "make the targets"} < found.stages.keys()
    assert "grid mask" not in found.stages
    assert min(found.stages.values()) >= 0
    lines = throughput.table(found).splitlines()
    assert any(line.startswith("  one core") for line in lines)
    assert lines[-1].endswith("%)")


def test_resident_memory_follows_what_is_held() -> None:
    before = throughput._resident()
    held = bytearray(os.urandom(2**20) * 64)
    assert throughput._resident() - before > 48 * 2**20
    assert len(held) == 64 * 2**20


def test_threads_are_bound_to_some_cores_and_freed_again(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with throughput._only(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
