import pickle

import numpy as np
import pytest

from solojax.convert import safetensors
from solojax.training import pretrained
from tests.convert.pickled import save

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
