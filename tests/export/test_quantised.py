"""Claims about weights in fewer bits."""

import dataclasses

import numpy as np
import onnxruntime
import pytest

from solojax import cli
from solojax.data import fit
from solojax.export import WEIGHTS, quantised
from solojax.export.onnx import file as onnx_file
from tests.export import parity
from tests.inference.networks import Mixed

DATA = dataclasses.replace(parity.DATA, canvases=((64, 96),))
IMAGE = parity.noise(83, 150)
RNG = np.random.default_rng(0)


def normal(*shape, spread=1.0):
    return RNG.normal(0, spread, shape).astype(np.float32)


KERNEL = normal(3, 3, 24, 16, spread=np.float32(10) ** np.arange(-8, 8).clip(-8, 3))
KERNEL[..., 5] = 0


def there_and_back(variables, kind):
    arrays = quantised.arrays_of(quantised.store(variables, kind))
    return arrays, quantised.restore(arrays)


def test_kernels_differ_by_half_a_step_at_most_and_take_a_quarter():
    variables = {"a": {"kernel": KERNEL, "bias": normal(16)}, "b": {"scale": normal(2000)}}
    kept, found = there_and_back({"layer": variables}, "int8")
    most = np.abs(KERNEL).max((0, 1, 2))
    off = np.abs(found["layer/a/kernel"] - KERNEL)
    assert (off <= most / 254 * (1 + 1e-6)).all() and off.max() > 0
    np.testing.assert_array_equal(found["layer/a/bias"], variables["a"]["bias"])
    np.testing.assert_array_equal(found["layer/b/scale"], variables["b"]["scale"])
    scales = kept["layer/a/kernel.scale"]
    assert kept["layer/a/kernel"].nbytes * 4 == KERNEL.nbytes and scales.shape == (16,)
    _, halves = there_and_back({"layer": variables}, "float16")
    bound = np.maximum(np.abs(KERNEL) * 2.0**-11, 2.0**-25)
    assert (np.abs(halves["layer/a/kernel"] - KERNEL) <= bound).all()


@pytest.mark.parametrize("kind", ["float16", "int8"])
@pytest.mark.parametrize("worst", [1e5, np.inf, np.nan])
def test_kernels_that_would_not_hold_stay_as_they_are(kind, worst):
    kernel = KERNEL.copy()
    kernel[1, 1, 1, 1] = worst
    _, found = there_and_back({"a": {"kernel": kernel}}, kind)
    np.testing.assert_array_equal(found["a/kernel"], kernel)


def test_an_int8_file_scores_as_the_float_file_does_but_for_a_hundredth(tmp_path):
    # Pixels are below 2.7, weights off by half a step: three move a logit by less than .04.
    kernel = np.eye(32, dtype=np.float32) + normal(32, 32, spread=0.1)
    variables = {"least": np.float32(0.5), "mixed": {"kernel": kernel}}
    network = parity.trained(Mixed(), variables, DATA)
    canvas, size = fit.on_canvas(IMAGE, DATA, 0)
    given = {"image": canvas, "size": np.int32(size), "original": np.int32(IMAGE.shape[:2])}
    found, sizes = [], []
    for kind in WEIGHTS:
        (path,) = onnx_file.write(network, tmp_path / f"{kind}.onnx", kind)
        found.append(onnxruntime.InferenceSession(path).run(["scores"], given)[0])
        sizes.append(path.stat().st_size)
    exact, *fewer = found
    assert len(exact) > 2 and sizes[0] - sizes[1] > 1500 and sizes[0] - sizes[2] > 2500
    for some, bound in zip(fewer, (1e-3, 1e-2), strict=True):
        assert 0 < np.abs(some - exact).max() < bound


def test_what_is_no_kind_of_weights_ends_in_a_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", "--run", "x", "--to", "onnx", "--weights", "int4"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert "'int4' (choose from" in line and all(kind in line for kind in WEIGHTS)
