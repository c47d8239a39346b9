"""Claims about the files for TensorFlow."""

import dataclasses

import jax
import numpy as np
import pytest
import tensorflow as tf

from solojax import cli
from solojax.data import fit
from solojax.export import savedmodel
from solojax.inference import trained
from tests.export import parity
from tests.inference.networks import Mixed

DATA = dataclasses.replace(parity.DATA, canvases=((64, 96),))
WEIGHTS = {"least": np.float32(0.6), "mixed": {"kernel": np.eye(32, dtype=np.float32) * 127 / 64}}
NETWORK = parity.trained(Mixed(), WEIGHTS, DATA)
IMAGE = parity.noise(83, 150)


@pytest.fixture
def export(tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "read", lambda run, which: NETWORK)
    out = tmp_path / "cells"

    def run(kind, *more):
        return cli.main(["export", "--run", "run", "--to", kind, "--out", str(out), *more]), out

    return run


@pytest.mark.slow
def test_tensorflow_finds_the_same_and_a_folder_is_never_replaced(export, capsys):
    code, out = export("savedmodel", "--weights", "int8")
    assert code == 0 and (out / "assets.extra/metadata.json").is_file()
    module = tf.saved_model.load(str(out))
    assert {one.dtype for one in module.weights} == {tf.int8, tf.float32}
    canvas, size = fit.on_canvas(IMAGE, DATA, 0)
    sizes, originals = np.int32([size]), np.int32([IMAGE.shape[:2]])
    asked = {"sizes": tf.constant(sizes), "originals": tf.constant(originals)}
    found = module.signatures["find_64x96"](images=tf.constant(canvas[None]), **asked)
    masks = module.signatures["masks_64x96"](
        block=tf.constant(np.int32([0, 0, 0])), soft=found["soft"], **asked
    )
    expected = parity.live(NETWORK)(IMAGE)
    count = int(found["valid"].numpy().sum())
    assert count == len(expected) > 1
    np.testing.assert_allclose(found["scores"][0, :count], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found["labels"][0, :count], expected.labels)
    bits = np.unpackbits(masks["masks"].numpy()[0, :count], axis=-1)[:, :83, :150]
    assert (bits != expected.masks).mean() < 1e-4
    assert export("savedmodel")[0] == 2
    assert "is there already; remove it, or give another --out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("x.py:9: error: failed to legalize operation 'tfl.sum' that was", "the operation tfl.sum"),
        ("'tf.XlaCallModule' op is neither a custom op nor", "the operation tf.XlaCallModule"),
        ("error: 'vhlo.sort_v1' op is not part of the vhlo support", "the operation vhlo.sort_v1"),
        ("out of luck\nand more", "out of luck"),
    ],
)
def test_what_litert_refuses_is_named_with_what_to_use_instead(words, told):
    assert str(savedmodel.refusal("find_64x96", words)) == (
        f"--to litert: the converter of TensorFlow {tf.__version__} refuses {told} in find_64x96; "
        "use --to onnx, or --to savedmodel with TensorFlow itself"
    )


@pytest.mark.slow
def test_a_refusal_of_the_converter_ends_in_one_line_and_leaves_nothing(
    export, monkeypatch, capfd, tmp_path
):
    def convert(self):
        import os

        os.write(2, b"all of the program\n")
        raise RuntimeError("error: failed to legalize operation 'tfl.sum' that was explicitly")

    kind = type(tf.lite.TFLiteConverter.from_concrete_functions([], None))
    monkeypatch.setattr(kind, "convert", convert)
    code, out = export("litert")
    assert code == 2 and not list(tmp_path.iterdir())
    lines = [line for line in capfd.readouterr().err.splitlines() if "tfl.sum" in line]
    assert len(lines) == 1 and "all of the program" not in lines[0]


def test_sorting_takes_the_best_as_top_k_does():
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, (4, 9)).astype(np.float32)  # with equals
    for mine, right in zip(savedmodel.best_by_sorting(x, 5), jax.lax.top_k(x, 5), strict=True):
        np.testing.assert_array_equal(mine, right)
