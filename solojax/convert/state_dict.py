"""PyTorch state dicts, as mappings of names to arrays -> Flax variables.

Names are mmdetection's; torchvision's ResNets are the same names without ``backbone.``, and timm's
ResNet-D has a few of its own. Loading never unpickles anything: bring the arrays as NumPy.
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

# mmdetection's name, without the leaf -> path in our tree.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.\d", r"backbone/layer\1_\2/downsample"),
    (r"backbone\.layer(\d)\.(\d+)\.(\w+)", r"backbone/layer\1_\2/\3"),
    (r"backbone\.(conv1|bn1)", r"backbone/\1"),
    # The stem of variant d is a sequence of convolution, norm, ReLU, and so on.
    (r"backbone\.conv1\.0", r"backbone/conv1_0"),
    (r"backbone\.conv1\.1", r"backbone/bn1_0"),
    (r"backbone\.conv1\.3", r"backbone/conv1_1"),
    (r"backbone\.conv1\.4", r"backbone/bn1_1"),
    (r"backbone\.conv1\.6", r"backbone/conv1_2"),
    (r"mask_head\.cls_convs\.(\d)", r"head/category_trunk/conv_\1"),
    (r"mask_head\.mask_convs\.(\d)", r"head/mask_trunk/conv_\1"),
    (r"mask_head\.mask_convs_([xy])\.(\d)", r"head/\1_trunk/conv_\2"),
    (r"mask_head\.kernel_convs\.(\d)", r"head/kernel_trunk/conv_\1"),
    (r"mask_head\.conv_cls", r"head/category_predictor"),
    (r"mask_head\.conv_kernel", r"head/kernel_predictor"),
    (r"mask_head\.mask_feature_head\.conv_pred", r"head/mask_features/fuse"),
)

# The same for what each level has; levels are numbered from the finest, p2.
_LEVELS: tuple[tuple[str, str], ...] = (
    (r"neck\.lateral_convs\.(?P<level>\d)", "neck/lateral_c{level}"),
    (r"neck\.fpn_convs\.(?P<level>\d)", "neck/output_p{level}"),
    (r"mask_head\.conv_mask_list\.(?P<level>\d)", "head/mask_predictor_p{level}"),
    (r"mask_head\.conv_mask_list_([xy])\.(?P<level>\d)", "head/{0}_predictor_p{level}"),
    (
        r"mask_head\.mask_feature_head\.convs_all_levels\.(?P<level>\d)\.conv(\d)",
        "head/mask_features/p{level}_{1}",
    ),
)

# The authors' own names, where they differ -> mmdetection's.
_AUTHORS: tuple[tuple[str, str], ...] = (
    (r"mask_feat_head\.conv_pred\.0\.", "mask_head.mask_feature_head.conv_pred."),
    (r"mask_feat_head\.", "mask_head.mask_feature_head."),
    (r"bbox_head\.(?:d?solo)_cate\.", "mask_head.conv_cls."),
    (r"bbox_head\.solo_kernel\.", "mask_head.conv_kernel."),
    (r"bbox_head\.(?:d?solo)_ins_list(_[xy])?\.", r"mask_head.conv_mask_list\1."),
    (r"bbox_head\.ins_convs(_[xy])?\.", r"mask_head.mask_convs\1."),
    (r"bbox_head\.cate_convs\.", "mask_head.cls_convs."),
    (r"bbox_head\.", "mask_head."),
)


def load_state_dict(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """Turns a state dict of a whole detector into ``{"params", "batch_stats"}`` of ``model``.

    Args:
      state_dict: names -> arrays; convolutions are ``O I H W``.
      model: a ``Detector`` of the same architecture.

    Raises:
      InputError: a name is not consumed, a leaf not filled or a shape differs; all are listed.
    """
    shapes = jax.eval_shape(lambda: detector.init_variables(model, jax.random.key(0)))
    return _fill(state_dict, shapes)


def load_backbone(
    state_dict: Mapping[str, np.ndarray], variables: dict[str, Any]
) -> dict[str, Any]:
    """Puts torchvision's or timm's ImageNet weights into the backbone of ``variables``.

    Classifiers are not deformable: without offsets in ``state_dict`` those of a deformable backbone
    stay as they are, which is zero when they are fresh.

    Raises:
      InputError: as ``load_state_dict``, or the backbone has no batch norms to take statistics.
    """
    if "backbone" not in variables.get("batch_stats", {}):
        raise InputError(
            "pretrained weights need batch norms: set model.backbone.norm to frozen_statistics, "
            "frozen or sync"
        )
    named = {f"backbone.{name}": array for name, array in state_dict.items()}
    backbone = traverse_util.flatten_dict(
        {kind: {"backbone": tree["backbone"]} for kind, tree in variables.items()}
    )
    kept = {}
    if not any(".conv_offset." in name for name in named):
        kept = {path: leaf for path, leaf in backbone.items() if "offset" in path}
    wanted = {path: leaf for path, leaf in backbone.items() if path not in kept}
    filled = traverse_util.flatten_dict(_fill(named, traverse_util.unflatten_dict(wanted)))
    loaded = traverse_util.unflatten_dict({**filled, **kept})
    return {kind: {**variables[kind], **tree} for kind, tree in loaded.items()}


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
        if path in filled:
            problems.append(f"{name} is there twice, under another name as well")
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
    for pattern, replacement in _AUTHORS:
        if match := re.match(pattern, name):
            name = match.expand(replacement) + name[match.end() :]
            break
    stem, _, leaf = name.rpartition(".")
    stem, offset = re.subn(r"\.conv_offset$", "", stem)
    owner, kind = stem, None
    if stem.endswith((".conv", ".gn")):  # inside a convolution block of the neck or head
        owner, _, kind = stem.rpartition(".")
    place = _module(owner)
    if place is None:
        return None
    path = tuple(place.split("/"))
    if path[-1] == "downsample":  # the average pool of variant d moves both on by one place
        path = (*path[:-1], "downsample_conv" if array.ndim == 4 else "downsample_bn")
    if path[0] == "head" and kind is not None:
        path += ("norm" if kind == "gn" else "conv",)
    if offset:
        path += ("offset",)
    if leaf.startswith("running_"):
        return ("batch_stats", *path, leaf.removeprefix("running_"))
    if leaf == "weight":
        return ("params", *path, "kernel" if array.ndim == 4 else "scale")
    return ("params", *path, leaf)


def _module(name: str) -> str | None:
    for pattern, replacement in _RENAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    for pattern, replacement in _LEVELS:
        if match := re.fullmatch(pattern, name):
            level = int(match["level"]) + 2
            return replacement.format(*match.groups(), level=level)
    return None
