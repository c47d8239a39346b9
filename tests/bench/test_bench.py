"""Claims about ``solojax bench``; how fast anything is, only a quiet machine can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from solojax import cli, device_memory
from solojax import config as config_lib
from solojax.bench import data, evaluation, growth, reports, rows, run, start, synthetic
from solojax.bench.settings import Settings
from solojax.cli import bench as command
from solojax.data import throughput
from solojax.models.detector import Detector
from solojax.training import memory
from solojax.types import InputError
from tests import examples
from tests.heads.stranger import Blocks, Neither, Slots

ROOT = Path(__file__).parents[2]
# A network that costs nothing to compile.
CONFIG = config_lib.Config(
    Detector(Blocks(), Neither(), Slots()),
    data=config_lib.Data(canvases=((32, 32), (32, 64)), max_instances=3),
)


@pytest.fixture(scope="module")
def report() -> dict:
    said: list[str] = []
    wishes = run.Wishes(("train", "predict", "nms"), (8,), repeats=2, within=0.1)
    found = run.bench(CONFIG, wishes, said.append)
    return {**found, "said": said}


def test_each_row_has_times_operations_and_memory(report):
    assert report["canvas"] == [32, 64], "the largest"
    sections = report["sections"]
    assert [row["name"] for row in sections["predict"]] == [
        f"{stage}, batch 8" for stage in ("network", "detections", "masks", "run lengths")
    ]
    assert [row["name"] for row in sections["train"]] == ["step, batch 8"]
    for row in (row for here in sections.values() for row in here):
        times = row["seconds"]
        assert 0 < times["low"] <= times["median"] <= times["high"]
        assert row["images_per_second"] == pytest.approx(row["images"] / times["median"])
        assert row["compile_seconds"] > 0
        if not row["name"].startswith("run lengths"):
            assert row["flops"] > 0 and row["bytes"] > 0 and row["memory"] > 0
            share = row["flops"] / times["median"] / report["peak"]
            if row["name"].startswith("matrix"):
                assert "share_of_peak" not in row, "a CPU counts bits and multiplies nothing"
            else:
                assert row["share_of_peak"] == pytest.approx(share)
    assert {"jax", "python", "solojax"} <= report["versions"].keys()
    assert report["devices"]["count"] == 8
    assert any(line.startswith("  step, batch 8") for line in report["said"])


def test_reports_are_compared_row_by_row(report, tmp_path):
    path = tmp_path / "before.json"
    reports.write(path, {name: report[name] for name in report if name != "said"})
    assert json.loads(path.read_text())["sections"] == report["sections"]
    later = json.loads(path.read_text())
    step = later["sections"]["train"][0]
    for key in ("low", "median", "high"):
        step["seconds"][key] *= 10
    step["flops"] *= 2
    later["sections"]["nms"] = [{"name": "matrix, 100 masks", "images": 1, "fails": "too little"}]
    table = reports.against(later, path)
    (slower,) = (line for line in table.splitlines() if "train: step" in line)
    assert " 10.00   2.00   1.00" in slower and not slower.endswith("quartiles")
    assert "matrix" not in table and "not the same" not in table
    assert table.count("within the quartiles") == 4
    later["precision"] = "bfloat16"
    assert "not the same: precision float32 then, bfloat16 now" in reports.against(later, path)
    assert reports.table({**later, "sections": {}}, later) == "no row is in both reports"
    path.write_text("[1]")
    with pytest.raises(InputError, match="before.json is no report of solojax bench"):
        reports.against(later, path)


def test_costs_grow_with_what_there_is_to_do(monkeypatch):
    monkeypatch.setattr(growth, "BATCHES", (2,))
    monkeypatch.setattr(growth, "SIDES", (2,))
    monkeypatch.setattr(growth, "INSTANCES", ())
    monkeypatch.setattr(growth, "CLASSES", (1203,))
    base, larger, classes = growth.costs(CONFIG)
    assert larger.name == "2 images of 64x128" and classes.name == "2 images, 1203 classes"
    for grown, least in ((larger, 3), (classes, 1)):
        assert all(new > least * old for new, old in zip(grown[1:], base[1:], strict=True))
    assert (
        growth.line(growth.Cost("it", 2e12, 2**31, 5e8, 2**20)) == "| it | 2,000 | 2,048 | 0 | 1 |"
    )


def test_a_made_up_batch_is_one_of_the_pipeline_with_masks_in_their_boxes():
    config = config_lib.Config(examples.MODEL, data=CONFIG.data)
    made = synthetic.batch(config, (64, 96), 2, instances=2)
    wanted = memory.abstract_batch(config, (64, 96), 2)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made) == jax.tree.map(
        lambda x: (x.shape, x.dtype), wanted
    )
    assert made.instances.valid.sum(1).tolist() == [2, 2]
    masks = examples.unpack(made.instances.masks, 96)[4]
    for mask, box in zip(masks.reshape(6, 16, 24), made.instances.boxes.reshape(6, 4), strict=True):
        y, x = np.nonzero(mask)
        found = [4 * x.min(), 4 * y.min(), 4 * x.max() + 4, 4 * y.max() + 4]
        np.testing.assert_allclose(found, box, atol=2)


def test_a_fresh_network_is_made_to_fill_the_caps():
    selection = synthetic.finds_all(examples.MODEL).head.selection
    assert (selection.score_threshold, selection.final_threshold) == (0, 0)
    assert selection.max_candidates == selection.nms_candidates == 40
    assert synthetic.finds_all(CONFIG.model) == CONFIG.model, "one that has no thresholds"


def test_what_does_not_fit_is_a_row_and_what_else_fails_an_error():
    def fail(text):
        def measure(row):
            raise jax.errors.JaxRuntimeError(text)

        return measure

    row = rows.guarded("step", 8, fail(f"{device_memory.OUT_OF_MEMORY}: 9 GiB"))
    assert rows.line(row).split() == "step too little memory on the device".split()
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        rows.guarded("step", 8, fail("INTERNAL: a bug"))


def settings(tmp_path: Path, images: int) -> Settings:
    return Settings(CONFIG, (32, 64), "float32", (2,), tmp_path, repeats=1, images=images)


def test_evaluation_is_that_of_pycocotools_on_both_sides(tmp_path):
    ours, theirs = evaluation.section(settings(tmp_path, 4))
    assert (ours["name"], theirs["name"]) == ("mask AP, ours", "mask AP, pycocotools")
    truth, results = evaluation.made_up(2)
    assert len(truth["annotations"]) == 2 * evaluation.TRUTHS
    scores = evaluation.coco.mask_ap(truth, results)
    assert 0 < scores["AP"] < scores["AP50"] < 1


def test_the_pipeline_is_measured_on_a_drawn_set(tmp_path, monkeypatch):
    def measure(records, data, *, mask_strides, label_strides, batch_size, images):
        assert len(records.image_ids) == data_images and data.canvases == ((32, 64),)
        assert (mask_strides, label_strides, batch_size, images) == ((4,), (), 2, 7)
        return SimpleNamespace(rates={1: 50.0, 2: 80.0})

    data_images = 3
    monkeypatch.setattr(data, "DRAWN", data_images)
    monkeypatch.setattr(throughput, "measure", measure)
    found = list(data.section(settings(tmp_path, 7)))
    assert [row["images_per_second"] for row in found] == [50.0, pytest.approx(80)]
    assert [row["name"] for row in found] == ["batches, 1 core", "batches, 2 cores"]


def test_starts_are_those_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "COMMANDS", {"nothing": ["-c", "pass"]})
    monkeypatch.setattr(start, "FIRST", "import os, sys; print(os.environ['XDG_CACHE_HOME'])")
    names = [row["name"] for row in start.section(settings(tmp_path, 1))]
    assert names == ["nothing", "first detection", "first detection, programs kept"]
    monkeypatch.setattr(start, "COMMANDS", {"nothing": ["-c", "raise SystemExit('no')"]})
    with pytest.raises(InputError, match="failed: no"):
        next(start.section(settings(tmp_path, 1)))


WITHOUT_DATA = """
import sys
from solojax import cli
assert cli.main(["bench", "--config", "shapes", "--only", "nms", "--repeats", "1"]) == 0
assert cli.main(["info"]) == 0
heavy = {name.partition(".")[0] for name in sys.modules}
assert "jax" in heavy and not heavy & {"tensorflow", "tensorflow_datasets", "array_record"}, heavy
from solojax.bench import accelerator, train
assert not {"tensorflow", "tensorflow_datasets", "array_record"} & set(sys.modules)
"""


def test_the_sections_of_an_accelerator_load_no_tensorflow(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DATA], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "matrix, 500 masks" in done.stdout and "python 3." in done.stdout


def test_the_command_offers_the_sections_that_there_are():
    assert tuple(run.SECTIONS) == command.SECTIONS, "told apart, as a command line loads no JAX"


def test_what_makes_no_sense_is_refused_in_a_line(capfd, tmp_path):
    def error(*arguments: str) -> str:
        assert cli.main(["bench", *arguments]) == 2
        return capfd.readouterr().err

    assert "no config given; give --config" in error()
    shapes = ("--config", "shapes", "--only", "train")
    assert "--against none.json: no such file" in error(*shapes, "--against", "none.json")
    assert "training.batch_size=3 does not divide over 8 devices" in error(*shapes, "--batch", "3")
    assert "--repeats 0 must be above 0" in error(*shapes, "--repeats", "0")
