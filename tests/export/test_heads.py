"""Every head finds alive what it finds in each kind of file, weights in fewer bits included."""

import dataclasses

import jax
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


HEADS = {
    "solov2": "int8",
    "solo": "float32",
    "decoupled_solo": "float16",
    "sparseinst": "float32",
    "yolact": "int8",
}


def whole(array):
    """Multiples of 1/64, with 127 of them for every output channel: int8 and float16 have them."""
    if array.ndim < 2:
        return array
    array = np.clip(np.rint(array * 64), -127, 127) / np.float32(64)
    array[(0,) * (array.ndim - 1)] = 127 / 64
    return array


@pytest.fixture(scope="module", params=HEADS)
def found(request):
    """A network, what it finds in an image, and what a file is to keep its weights as."""
    model = MODELS[request.param]
    variables = jax.tree.map(whole, examples.make_variables(0.3, model))
    network = parity.trained(model, variables, DATA)
    result = parity.live(network)(IMAGE)
    assert len(result) > 1
    return network, result, HEADS[request.param]


@pytest.mark.slow
def test_the_file_for_jax_finds_the_same_to_the_bit(found, tmp_path, monkeypatch):
    network, result, weights = found
    ran = parity.run_stablehlo(tmp_path, monkeypatch, network, weights=weights)
    assert {str(x.dtype) for x in ran["weights"].values()} == {"float32", weights}
    find = ran["find"]
    parity.assert_equal(find(IMAGE, IMAGE.shape[:2]), result)


@pytest.mark.slow
def test_the_file_for_onnx_runtime_finds_the_same(found, tmp_path):
    network, result, weights = found
    (path,) = onnx_file.write(network, tmp_path / "network.onnx", weights)
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
