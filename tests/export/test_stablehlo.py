"""Claims about the file for JAX and its runner."""

import dataclasses
import functools
import json
import sys
import zipfile

import cv2
import numpy as np
import pytest

from solojax import cli
from solojax.export import stablehlo
from solojax.inference import trained
from tests.export import parity
from tests.inference.networks import Colors

COLORS = parity.trained(Colors(), {"least": np.float32(0.6)})


@pytest.fixture
def run(tmp_path, monkeypatch):
    return functools.partial(parity.run_stablehlo, tmp_path, monkeypatch)


@pytest.mark.parametrize(("resize", "batch"), [("fit", None), ("stretch", 2)])
def test_images_of_any_size_find_their_canvas_and_come_back(run, resize, batch):
    data = dataclasses.replace(parity.DATA, resize=resize)
    network = parity.trained(Colors(), {"least": np.float32(0)}, data)
    find, predictor = run(network, batch=batch)["find"], parity.live(network, batch or 1)
    for size in [(64, 90), (131, 137), (300, 9), (450, 210), (1, 1)]:
        image = parity.noise(*size)
        parity.assert_equal(find(image, size), predictor(image))


def test_the_runner_resizes_as_opencv_does_to_the_bit(run):
    resize, rng = run(COLORS)["resize"], np.random.default_rng(0)
    sides = rng.integers(1, 200, (150, 4))
    sides[:20, 2:] = 2 * sides[:20, :2]  # doubled, halved and left as it is
    sides[20:40, :2] = 2 * sides[20:40, 2:]
    sides[40:50, 2:] = sides[40:50, :2]
    for height, width, *size in sides.tolist():
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resize(image, (height, width), size), expected)


def test_the_runner_is_short_and_needs_numpy_and_jax_alone():
    lines = stablehlo.RUNNER.read_text().splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    (imports,) = [line for line in lines if "import" in line]
    assert {name.split()[0].split(".")[0] for name in imports[7:].split(", ")} <= {
        "jax",
        "numpy",
        *sys.stdlib_module_names,
    }


def test_the_runner_draws_what_predict_draws_but_for_outlines_and_words(run, tmp_path):
    image = parity.noise(520, 600)  # predict enlarges smaller ones
    np.save(tmp_path / "image.npy", image)
    run(COLORS, tmp_path / "image.npy")
    result = parity.live(COLORS)(image)
    shown = dataclasses.replace(result, least_scores=COLORS.least_scores.of(parity.CATEGORIES))
    drawn = cv2.imread(str(tmp_path / "image.npy.ppm"))[..., ::-1]
    same = (drawn == shown.above().plot()).all(-1)
    assert 0.8 < same.mean() < 1 and (drawn == image).all(-1).mean() < 0.2
    with np.load(tmp_path / "image.npy.found.npz") as kept:
        np.testing.assert_array_equal(kept["arr_0"], result.scores)


def test_the_command_writes_a_file_that_says_all_about_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trained, "read", lambda run, which: COLORS)
    out = tmp_path / "cells.zip"
    assert cli.main(["export", "--run", "run", "--to", "stablehlo", "--out", str(out)]) == 0
    assert f"{out}: {out.stat().st_size:,} bytes" in capsys.readouterr().out
    first = out.read_bytes()
    cli.main(["export", "--run", "run", "--to", "stablehlo", "--out", str(out)])
    assert out.read_bytes() == first
    with zipfile.ZipFile(out) as file:
        about = json.loads(file.read("metadata.json"))
        content = b"".join(map(file.read, file.namelist()))
    assert [one["name"] for one in about["categories"]] == ["cell", "dust", "hair"]
    assert about["least_scores"] == [0.3, 0.5, 0.3] and about["mask_threshold"] == 0.5
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["canvases"] == [[64, 96], [96, 64]] and about["long_side"] == 90
    assert str(stablehlo.RUNNER.parents[1]).encode() not in content  # nothing of this machine


def test_what_cannot_be_exported_ends_in_a_line(tmp_path, capsys):
    assert cli.main(["export", "--run", str(tmp_path), "--to", "stablehlo"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    for batch in ("0", "-1"):
        code = cli.main(["export", "--run", "x", "--to", "stablehlo", "--batch", batch])
        assert code == 2 and "at least 1" in capsys.readouterr().err
