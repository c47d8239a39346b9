"""Every head finds alive what it finds in each kind of file."""

import dataclasses

import numpy as np
import onnxruntime
import pytest

from solojax.data import fit
from solojax.export.onnx import file as onnx_file
from tests import examples
from tests.export import parity
from tests.training.test_lowering import MODELS

DATA = dataclasses.replace(parity.DATA, canvases=((64, 96),))
IMAGE = parity.noise(83, 200)


@pytest.fixture(scope="module", params=["solov2", "solo", "decoupled_solo", "sparseinst", "yolact"])
def found(request):
    """A network and what it finds in an image."""
    model = MODELS[request.param]
    network = parity.trained(model, examples.make_variables(0.3, model), DATA)
    result = parity.live(network)(IMAGE)
    assert len(result) > 1
    return network, result


@pytest.mark.slow
def test_the_file_for_jax_finds_the_same_to_the_bit(found, tmp_path, monkeypatch):
    network, result = found
    find = parity.run_stablehlo(tmp_path, monkeypatch, network)["find"]
    parity.assert_equal(find(IMAGE, IMAGE.shape[:2]), result)


@pytest.mark.slow
def test_the_file_for_onnx_runtime_finds_the_same(found, tmp_path):
    network, result = found
    (path,) = onnx_file.write(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(path)
    canvas, size = fit.on_canvas(IMAGE, DATA, 0)
    given = {"size": np.int32(size), "original": np.int32(IMAGE.shape[:2])}
    scores, labels, masks, *boxes = session.run(None, {"image": canvas, **given})
    np.testing.assert_allclose(scores, result.scores, atol=1e-4)
    np.testing.assert_array_equal(labels, result.labels)
    bits = np.unpackbits(masks, axis=-1, count=200).astype(bool)
    assert (bits != result.masks).mean() < 1e-4
    assert len(boxes) == (result.given_boxes is not None)
    for some in boxes:
        np.testing.assert_allclose(some, result.boxes, atol=0.01)
