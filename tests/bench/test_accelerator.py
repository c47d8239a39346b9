"""Claims about what is run on a rented accelerator, by a network that costs nothing to compile."""

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from solojax import config as config_lib
from solojax.bench import accelerator, numerics, page
from solojax.bench.settings import Settings
from tests.bench.test_bench import CONFIG

ROOT = Path(__file__).parents[2]
PLAN = accelerator.Plan(
    {"tiny": CONFIG}, batch=8, repeats=1, within=0.01, largest=16, compared=(32, 32)
)
OTHER = {"tiny": [{"name": "masks, batch 8", "images": 8, "images_per_second": 1e-3}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "results"
    accelerator.bench(PLAN, out, OTHER, lambda _: None)
    return out


def test_all_that_is_wanted_is_measured_and_kept(folder):
    report = json.loads((folder / "results.json").read_text())
    names = [row["name"] for row in report["networks"]["tiny"]["rows"]]
    wanted = ["network, batch 8", "masks, batch 8", "step, batch 8", "matrix, 500 masks"]
    wanted += ["network, batch 1", "masks, batch 1", "step, batch 8, remat"]
    wanted += ["masks, batch 16", "step, batch 16", "run lengths, batch 8"]
    assert set(wanted) <= set(names) and len(names) == len(set(names))
    assert not any("fails" in row for row in report["networks"]["tiny"]["rows"])
    assert report["networks"]["tiny"]["numerics"].keys() == numerics.BOUNDS.keys()
    assert report["skipped"] == [] and report["seconds"] > 0
    traces = sorted((folder / "profile").iterdir())
    assert [one.name for one in traces] == [
        f"{name}_batch_8.zip" for name in ("masks", "network", "step")
    ]
    assert any(name.endswith(".xplane.pb") for name in zipfile.ZipFile(traces[0]).namelist())


def test_the_page_puts_each_figure_beside_what_is_possible_and_the_other_implementation(folder):
    text = (folder / "results.md").read_text()
    rows = {line.split(" | ")[0]: line.split(" | ") for line in text.splitlines()}
    header, masks = rows["| what"], rows["| masks, batch 8"]
    assert len(header) == len(masks) == len(page.COLUMNS)
    cells = dict(zip(header, masks, strict=True))
    ours = float(cells["images/s"].replace(",", ""))
    assert float(cells["ratio"]) == pytest.approx(ours / 1e-3, rel=0.1)
    assert cells["of that"].endswith("%") and cells["PyTorch, images/s"] == "0.0"
    assert "within the bounds" in text and "make bench-accelerator" in text


def test_where_time_runs_out_the_rest_is_named(monkeypatch, tmp_path):
    clock = iter(np.arange(0, 1e6, 100.0))
    monkeypatch.setattr(accelerator.time, "monotonic", lambda: next(clock))
    made_up = [{"name": "step", "images": 1, "fails": "too little"}]
    monkeypatch.setattr(accelerator, "_section", lambda *_, **__: iter(made_up))
    report = accelerator.bench(PLAN, tmp_path, {}, lambda _: None)
    assert report["networks"]["tiny"]["rows"] == made_up, "480 seconds, 100 for each look"
    assert report["skipped"][0] == "tiny: predict" and len(report["skipped"]) == 9
    assert (
        "No time was left for all of: tiny: predict; tiny: train;"
        in (tmp_path / "results.md").read_text()
    )


def test_a_step_that_fails_is_a_row_and_the_others_go_on(monkeypatch, tmp_path):
    def section(kind, *_, **__):
        if kind is accelerator.train.section:
            raise RuntimeError("no such kernel\nmore")
        yield {"name": "x", "images": 1, "fails": "-"}

    monkeypatch.setattr(accelerator, "_section", section)
    monkeypatch.setattr(accelerator.numerics, "distances", lambda *_: {"float32": {"outputs": 0.0}})
    monkeypatch.setattr(accelerator, "_larger", lambda *_: iter(()))
    monkeypatch.setattr(accelerator.page, "_numbers", lambda _: "")
    report = accelerator.bench(PLAN, tmp_path, {}, lambda _: None)
    rows = report["networks"]["tiny"]["rows"]
    assert [row["name"] for row in rows if "RuntimeError: no such kernel" == row["fails"]] == [
        "train",
        "train, computed again",
    ]
    assert len(rows) == 6 and report["skipped"] == []


def test_batches_grow_until_they_bring_nothing_or_do_not_fit(tmp_path):
    rates = {8: 100.0, 16: 190.0, 32: 195.0, 64: 196.0}

    def section(settings):
        (images,) = settings.batches
        yield {"name": f"step, batch {images}", "images_per_second": rates[images]}

    before = [{"name": "step, batch 8", "images_per_second": 100.0}]
    settings = Settings(CONFIG, (32, 32), "bfloat16", (8,), tmp_path, stages=())
    found = list(accelerator._larger(section, settings, 256, before))
    assert [row["name"] for row in found] == ["step, batch 16", "step, batch 32"]
    assert len(list(accelerator._larger(section, settings, 16, before))) == 1

    def full(settings):
        yield {"name": "step, batch 16", "fails": "too little memory on the device"}

    assert len(list(accelerator._larger(full, settings, 256, before))) == 1


def test_distances_are_of_the_size_of_what_is_compared():
    exact = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
    off = {"a": np.array([3.0, 0.05]), "b": np.array([4.0])}
    assert numerics.distance(off, exact) == pytest.approx(0.01)
    assert numerics.distance(exact, exact) == 0
    nan = {**exact, "b": np.array([np.nan])}
    far = {"outputs": numerics.distance(nan, exact), "losses": 0.0, "gradients": 0.5}
    (outputs, gradients) = numerics.broken({"bfloat16": far})
    assert outputs.startswith("outputs in bfloat16 are nan off")
    assert gradients == "gradients in bfloat16 are 0.5 off, more than 0.15"


def test_the_other_implementation_is_told_of_the_same_network():
    script = ROOT / "tools" / "bench_accelerator.py"
    code = f"""
import runpy
tool = runpy.run_path({str(script)!r})
from solojax import config
told = tool["twin_of"](config.load("solov2_light_448_r18_fpn_3x"), 16, 1.0)
assert (told["depth"], told["width"], told["convs"], told["kernel"]) == (18, 256, 2, 128)
assert tool["measure_twin"]("false", told, 9) == []
for name, sets in tool["NETWORKS"].items():
    config.load(name, [*sets, *tool["TINY"]])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PyTorch failed")


def test_remat_is_asked_of_what_has_it():
    config = config_lib.load("solov2_r50_fpn_1x")
    (remat,) = (
        step.args[1] if isinstance(step.args[1], Settings) else None
        for name, network, step in accelerator._steps(
            dataclasses.replace(PLAN, networks={"r50": config}), Path("out"), 1.0
        )
        if name == "train, computed again"
    )
    assert remat.config.model.head.remat and remat.config.model.backbone.remat_stages == (
        1,
        2,
        3,
        4,
    )
