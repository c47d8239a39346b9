"""Claims about the file for ONNX Runtime."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from solojax import cli
from solojax.data import fit
from solojax.export.onnx import file as onnx_file
from solojax.export.onnx.graph import Graph
from solojax.export.onnx.program import write
from solojax.inference import trained
from solojax.types import InputError
from tests.export import parity
from tests.inference.networks import Colors


def test_a_file_for_each_canvas_takes_images_of_any_original_size(tmp_path, monkeypatch):
    network = parity.trained(Colors(), {"least": np.float32(0.68)})
    monkeypatch.setattr(trained, "read", lambda run, which: network)
    out = tmp_path / "cells.onnx"
    assert cli.main(["export", "--run", "x", "--to", "onnx", "--out", str(out)]) == 0
    names = ["cells_64x96.onnx", "cells_96x64.onnx"]
    sessions = [onnxruntime.InferenceSession(tmp_path / name) for name in names]
    about = json.loads(sessions[1].get_modelmeta().custom_metadata_map["solojax"])
    assert about["canvases"] == [[96, 64]] and about["least_scores"] == [0.3, 0.5, 0.3]
    counts = set()
    for size in [(64, 90), (131, 137), (300, 9), (450, 210), (1, 1)]:
        image = parity.noise(*size)
        (place,) = fit.eval_canvases_of(np.array([size]), parity.DATA)
        canvas, seen = fit.on_canvas(image, parity.DATA, int(place))
        given = {"image": canvas, "size": np.int32(seen), "original": np.int32(size)}
        scores, labels, masks = sessions[place].run(None, given)
        result = parity.live(network)(image)
        np.testing.assert_allclose(scores, result.scores, atol=1e-5)
        np.testing.assert_array_equal(labels, result.labels)
        assert masks.shape == (len(result), size[0], -(-size[1] // 8))
        bits = np.unpackbits(masks, axis=-1, count=size[1]).astype(bool)
        assert (bits != result.masks).mean() < 1e-3 if len(result) else True
        counts.add(len(result))
    assert 0 in counts and len(counts) > 2


def ran(function, *inputs):
    """What ONNX Runtime makes of a function of arrays."""
    graph = Graph()
    given = [graph.input(x.shape, x.dtype.name) for x in inputs]
    made = write(graph, jax.make_jaxpr(function)(*inputs), given)
    model = onnx_file.model_of(graph, given, made)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {one.name: np.asarray(x) for one, x in zip(session.get_inputs(), inputs, strict=True)}
    return session.run(None, feed)


LINE = np.array([3.0, -1.5, np.inf, 0.25, np.nan, 7.0], np.float32)
TABLE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda x: jnp.cumsum(x[::-1])[1:4], [TABLE[0, 0]]),
        (lambda x: jnp.where(jnp.isfinite(x), x**3, -1), [LINE]),
        (lambda x: jnp.take(x, jnp.array([1, 5, -1]), axis=1), [TABLE]),  # NaN where none is
        (lambda x, i: jax.lax.dynamic_slice(x, (i, 1, 0), (1, 2, 4)), [TABLE, np.int32(9)]),
        (lambda x, i: jax.lax.dynamic_update_slice(x, x[:, :1], (0, i, 0)), [TABLE, np.int32(1)]),
        (lambda x: jax.lax.scan(lambda c, row: (c + row, c * row), x[0], x), [TABLE]),
        (lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, length=3)[0], [TABLE]),
        (lambda x: jax.lax.fori_loop(0, 5, lambda i, c: c + i * x.sum(), 0.0), [TABLE]),
        (lambda x: jax.lax.while_loop(lambda c: c.max() < 99, lambda c: c * 2, x), [TABLE]),
        (lambda x: (jnp.packbits(x > 9, axis=-1), jnp.argmax(x, 1), x[:0]), [TABLE]),
        (lambda x: (x % 3, x // 5, -x, ~x, x ^ 6, jnp.sign(x)), [np.arange(-4, 9, dtype=np.int32)]),
        (lambda x: jnp.pad(x, ((1, 0), (0, 2), (0, 0)))[:, :, ::-2], [TABLE]),
        (lambda x: jnp.argsort(-x % 5, axis=2), [TABLE]),
        (lambda x: jnp.einsum("abc,dbc->cad", x, x), [TABLE]),
        (lambda x: jax.lax.top_k(jnp.floor(x / 5), 3), [TABLE]),
    ],
)
def test_a_program_gives_in_onnx_runtime_what_it_gives_in_jax(function, inputs):
    expected = jax.tree.leaves(jax.jit(function)(*inputs))
    for mine, right in zip(ran(function, *inputs), expected, strict=True):
        assert mine.dtype == right.dtype
        np.testing.assert_allclose(mine, right, rtol=1e-6)


def test_an_operation_without_a_rule_is_named(capsys):
    with pytest.raises(InputError, match=r"no rule for the operation erf_inv of float32\[6\]; -"):
        ran(jax.lax.erf_inv, LINE)
    assert cli.main(["export", "--run", "x", "--to", "onnx", "--batch", "2"]) == 2
    assert "onnx takes one image" in capsys.readouterr().err
