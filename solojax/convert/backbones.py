"""The weights of a ResNet alone, of any file, under names that ``models.resnet_names`` has.

Here is what more than names must be changed: of a detector only its backbone is wanted; Caffe2's
have no statistics and see another order of colours; PaddleClas counts blocks over all stages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from solojax.ops import images

_CAFFE2 = re.compile(
    r"(?:res_)?conv1_(?:bn_)?[wbs]|res\d_\d+_branch(?:1|2[abc])_(?:bn_)?[wbs]|(?:fc1000|pred)_[wb]"
)
# Those that make batch norm with epsilon 1e-5 a scale and a shift.
_STATISTICS = {"running_mean": 0.0, "running_var": 1 - 1e-5}

_PADDLE_STEMS = {"conv": 0, "conv1_1": 0, "conv1_2": 1, "conv1_3": 2}
_PADDLE_STEMS |= {f"stem.{number}": number for number in range(3)}
_PADDLE_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}


class Backbone(NamedTuple):
    """Weights by the names of layers, without ``backbone`` before them."""

    arrays: dict[str, np.ndarray]
    # Caffe2's: in stages 2 to 4 the stride is in the first 1x1 convolution (variant a).
    is_caffe2: bool
    left_out: dict[str, str]  # name -> why it is none of them


def backbone_of(arrays: Mapping[str, np.ndarray], std: Sequence[float] = images.STD) -> Backbone:
    """Names that are known for those of a file, and its backbone where it holds a detector.

    Args:
      arrays: by the names of the file.
      std: what the network's images are divided by. Caffe2's weights are for BGR images that are
        not; their first convolution is changed to give the same of ours.
    """
    left_out = {}
    for prefix in ("backbone.bottom_up.", "backbone."):
        if any(name.startswith(prefix) for name in arrays):
            left_out = {k: "is of no backbone" for k in arrays if not k.startswith(prefix)}
            arrays = {k.removeprefix(prefix): a for k, a in arrays.items() if k not in left_out}
            break
    is_caffe2 = bool(arrays) and all(_CAFFE2.fullmatch(name) for name in arrays)
    if is_caffe2:
        arrays = _of_caffe2(arrays, std)
    elif any(re.match(r"(blocks\.\d+|bb_\d_\d+)\.conv0\.", name) for name in arrays):
        arrays = _of_paddleclas(arrays)
    return Backbone(dict(arrays), is_caffe2, left_out)


def _of_caffe2(arrays: Mapping[str, np.ndarray], std: Sequence[float]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        layer, _, last = name.rpartition("_")
        layer, norms = re.subn("_bn$", "", layer)
        if layer in ("fc1000", "pred"):
            continue
        place = re.fullmatch(r"res(\d)_(\d+)_branch(1|2[abc])", layer)
        if place is None:
            ours = "bn1" if norms else "conv1"
        elif place[3] == "1":
            ours = f"layer{int(place[1]) - 1}.{place[2]}.downsample.{norms}"
        else:
            kind = "bn" if norms else "conv"
            number = "abc".index(place[3][1]) + 1
            ours = f"layer{int(place[1]) - 1}.{place[2]}.{kind}{number}"
        found[f"{ours}.{'bias' if last == 'b' else 'weight'}"] = array
        if norms and last == "s":
            for leaf, value in _STATISTICS.items():
                found[f"{ours}.{leaf}"] = np.full(array.shape, value, np.float32)
    stem = found.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3:
        found["conv1.weight"] = stem[:, ::-1] * np.asarray(std, np.float32)[:, None, None]
    return found


def _of_paddleclas(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    is_deep = any(name.startswith(("stem.1.", "conv1_2.")) for name in arrays)
    # A stage begins where a block has a shortcut of its own.
    numbered = (re.match(r"blocks\.(\d+)\.short\.", name) for name in arrays)
    begins = sorted({int(match[1]) for match in numbered if match})
    found = {}
    for name, array in arrays.items():
        layer, _, last = name.rpartition(".")
        layer, _, kind = layer.rpartition(".")
        if layer == "" and kind in ("fc", "out"):
            continue
        is_norm = kind in ("bn", "_batch_norm")
        ours = f"{layer}.{kind}"
        if match := re.fullmatch(r"(?:blocks\.(\d+)|bb_(\d)_(\d+))\.(short|conv[012])", layer):
            if match[1]:
                stage = sum(begin <= int(match[1]) for begin in begins)
                block = int(match[1]) - (begins[stage - 1] if stage else 0)
            else:
                stage, block = int(match[2]) + 1, int(match[3])
            if match[4] == "short":
                which = f"downsample.{int(is_norm)}"
            else:
                which = f"{'bn' if is_norm else 'conv'}{int(match[4][-1]) + 1}"
            ours = f"layer{stage}.{block}.{which}"
        elif layer in _PADDLE_STEMS:
            ours, number = "bn1" if is_norm else "conv1", _PADDLE_STEMS[layer]
            if is_deep and not (is_norm and number == 2):
                ours = f"conv1.{3 * number + is_norm}"  # as timm has them
        found[f"{ours}.{_PADDLE_LEAVES.get(last, last)}"] = array
    return found
