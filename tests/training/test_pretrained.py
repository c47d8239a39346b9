import pickle

import jax
import numpy as np
import pytest

from solojax import config, parallel
from solojax.convert import safetensors
from solojax.models import detector
from solojax.training import pretrained
from solojax.types import InputError
from tests.convert.pickled import save
from tests.heads.test_solov2 import MODEL

ARRAYS = {
    "conv1.weight": np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2),
    "bn1.running_var": np.float32([2]),
}


def plain(path):
    with path.open("wb") as file:
        np.savez(file, **ARRAYS)


def torch(path):
    save(path, {f"module.{name}": array for name, array in ARRAYS.items()}, epoch=3)


def paddle(path):
    names = {"StructuredToParameterName@@": {name: f"w_{name}" for name in ARRAYS}}
    path.write_bytes(pickle.dumps({**ARRAYS, **names}, 4))


def detectron2(path):
    path.write_bytes(pickle.dumps({"model": ARRAYS, "matching_heuristics": True}, 2))


def safe(path):
    path.write_bytes(safetensors.written(ARRAYS))


@pytest.mark.parametrize("write", [plain, torch, paddle, detectron2, safe])
def test_a_backbone_is_taken_from_any_form_of_file(tmp_path, write):
    write(tmp_path / "weights")
    found = pretrained.read_weights(str(tmp_path / "weights"))
    assert not found.is_caffe2 and found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def zeros(model, key):
    return jax.tree.map(lambda x: np.zeros(x.shape), detector.variable_shapes(model))


def test_of_a_detector_the_backbone_is_taken_and_what_is_left_is_told(
    tiny_solov2, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(parallel, "jit_once", lambda function, **_: zeros)
    arrays = {
        f"backbone.{name.removeprefix('params/backbone.')}": array
        for name, array in tiny_solov2.items()
        if name.startswith("params/backbone.")
    }
    more = {"backbone.fc.bias": np.ones(3), "head.\x1b[2J": np.ones(2), "neck.x": np.ones(2)}
    path = save(tmp_path / "x.pth", {k: np.float32(a) for k, a in (arrays | more).items()}, epoch=3)
    model = MODEL.clone(backbone=MODEL.backbone.clone(norm="frozen_statistics"))
    made = config.Config(model, training=config.Training(pretrained=str(path)))
    found = pretrained.start_variables(made, tmp_path / "run")
    kernel = found["params"]["backbone"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), arrays["backbone.conv1.weight"])
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: {len(arrays)} arrays of a backbone",
        "left: fc.bias, which is of classifiers of whole images",
        "left: head.\\x1b[2J and 1 more, which is of no backbone",
        "left: epoch, which stands beside state_dict",
    ]


def test_a_network_of_our_own_is_asked_for_as_a_run(tmp_path):
    (tmp_path / "x").write_bytes(safetensors.written({"params/a": np.ones(2)}))
    with pytest.raises(InputError, match="solojax convert .* --to RUN"):
        pretrained.read_weights(str(tmp_path / "x"))
