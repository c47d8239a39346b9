"""PyTorch state dicts, as mappings of names to arrays -> Flax variables.

Names are mmdetection's; torchvision's ResNets are the same names without ``backbone.``. Loading
never unpickles anything: bring the arrays as NumPy.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from solojax.models import detector
from solojax.types import InputError

Path = tuple[str, ...]

# Counters and classifiers that have no place in a detector.
IGNORED = re.compile(r"(.*\.)?num_batches_tracked|(backbone\.)?fc\.(weight|bias)")

# mmdetection name, without the leaf -> path in our tree.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.0", r"backbone/layer\1_\2/downsample_conv"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.1", r"backbone/layer\1_\2/downsample_bn"),
    (r"backbone\.layer(\d)\.(\d+)\.(\w+)", r"backbone/layer\1_\2/\3"),
    (r"backbone\.(conv1|bn1)", r"backbone/\1"),
    (r"mask_head\.cls_convs\.(\d)", r"head/category_trunk_\1"),
    (r"mask_head\.kernel_convs\.(\d)", r"head/kernel_trunk_\1"),
    (r"mask_head\.conv_cls", r"head/category_predictor"),
    (r"mask_head\.conv_kernel", r"head/kernel_predictor"),
    (r"mask_head\.mask_feature_head\.conv_pred", r"head/mask_features/fuse"),
)


def load_state_dict(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """Turns a state dict of a whole detector into ``{"params", "batch_stats"}`` of ``model``.

    Args:
      state_dict: mmdetection's names -> arrays; convolutions are ``O I H W``.
      model: a ``Detector`` of the same architecture.

    Raises:
      InputError: a name is not consumed, a leaf not filled or a shape differs; all are listed.
    """
    shapes = jax.eval_shape(lambda: detector.init_variables(model, jax.random.key(0)))
    return _fill(state_dict, shapes)


def load_backbone(
    state_dict: Mapping[str, np.ndarray], variables: dict[str, Any]
) -> dict[str, Any]:
    """Puts torchvision's ImageNet weights into the backbone of a detector's ``variables``.

    Raises:
      InputError: as ``load_state_dict``, or the backbone has no batch norms to take statistics.
    """
    if "backbone" not in variables.get("batch_stats", {}):
        raise InputError("pretrained weights need model.backbone.norm=frozen_batch")
    named = {f"backbone.{name}": array for name, array in state_dict.items()}
    backbone = {kind: {"backbone": tree["backbone"]} for kind, tree in variables.items()}
    filled = _fill(named, backbone)
    return {kind: {**variables[kind], **tree} for kind, tree in filled.items()}


def _fill(state_dict: Mapping[str, np.ndarray], variables: dict[str, Any]) -> dict[str, Any]:
    wanted = traverse_util.flatten_dict(variables)
    filled: dict[Path, np.ndarray] = {}
    problems = []
    for name, array in state_dict.items():
        if IGNORED.fullmatch(name):
            continue
        path = _path(name, array)
        if path is None or path not in wanted:
            problems.append(f"{name} has no place in the model")
            continue
        array = np.asarray(array, np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)  # O I H W -> H W I O
        if array.shape != wanted[path].shape:
            problems.append(f"{name} gives {array.shape} where {wanted[path].shape} is wanted")
            continue
        filled[path] = array
    problems += [f"{'/'.join(path)} is not filled" for path in wanted if path not in filled]
    if problems:
        raise InputError("state dict does not fit the model: " + "; ".join(problems))
    return traverse_util.unflatten_dict(filled)


def _path(name: str, array: np.ndarray) -> Path | None:
    stem, _, leaf = name.rpartition(".")
    owner, kind = stem, None
    if stem.endswith((".conv", ".gn")):  # inside a convolution block of the neck or head
        owner, _, kind = stem.rpartition(".")
    place = _module(owner)
    if place is None:
        return None
    path = tuple(place.split("/"))
    if path[0] == "head" and kind is not None:
        path += ("norm" if kind == "gn" else "conv",)
    if leaf.startswith("running_"):
        return ("batch_stats", *path, leaf.removeprefix("running_"))
    if leaf == "weight":
        return ("params", *path, "kernel" if array.ndim == 4 else "scale")
    return ("params", *path, leaf)


def _module(name: str) -> str | None:
    for pattern, replacement in _RENAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    if match := re.fullmatch(r"neck\.(lateral|fpn)_convs\.(\d)", name):
        level = int(match[2]) + 2
        return f"neck/lateral_c{level}" if match[1] == "lateral" else f"neck/output_p{level}"
    pattern = r"mask_head\.mask_feature_head\.convs_all_levels\.(\d)\.conv(\d)"
    if match := re.fullmatch(pattern, name):
        return f"head/mask_features/p{int(match[1]) + 2}_{match[2]}"
    return None
