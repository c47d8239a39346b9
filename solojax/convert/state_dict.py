"""PyTorch state dicts, as mappings of names to arrays -> Flax variables.

Names are mmdetection's; torchvision's ResNets are the same names without ``backbone.``, and timm's
ResNet-D has a few of its own. Loading never unpickles anything: bring the arrays as NumPy.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from solojax.heads.grid import grid_of
from solojax.models import detector
from solojax.types import InputError

Path = tuple[str, ...]

# Counters and classifiers that have no place in a detector.
IGNORED = re.compile(
    r"(.*\.)?num_batches_tracked|(backbone\.)?fc\.(weight|bias)|data_preprocessor\..*"
)

# mmdetection's name, without the leaf -> path in our tree; {n} stands for the n-th group.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.\d", "backbone/layer{0}_{1}/downsample"),
    (r"backbone\.layer(\d)\.(\d+)\.(\w+)", "backbone/layer{0}_{1}/{2}"),
    (r"backbone\.(conv1|bn1)", "backbone/{0}"),
    # The stem of variant d is a sequence of convolution, norm, ReLU, and so on.
    (r"backbone\.conv1\.0", "backbone/conv1_0"),
    (r"backbone\.conv1\.1", "backbone/bn1_0"),
    (r"backbone\.conv1\.3", "backbone/conv1_1"),
    (r"backbone\.conv1\.4", "backbone/bn1_1"),
    (r"backbone\.conv1\.6", "backbone/conv1_2"),
    (r"neck\.lateral_convs\.(?P<c>\d)", "neck/lateral_{c}"),
    (r"neck\.fpn_convs\.(?P<p>\d)", "neck/output_{p}"),
    (r"mask_head\.cls_convs\.(\d+)", "head/category_trunk/conv_{0}"),
    (r"mask_head\.mask_convs\.(\d+)", "head/mask_trunk/conv_{0}"),
    (r"mask_head\.mask_convs_([xy])\.(\d+)", "head/{0}_trunk/conv_{1}"),
    (r"mask_head\.kernel_convs\.(\d+)", "head/kernel_trunk/conv_{0}"),
    (r"mask_head\.conv_cls", "head/category_predictor"),
    (r"mask_head\.conv_kernel", "head/kernel_predictor"),
    (r"mask_head\.conv_mask_list\.(?P<grid>\d)", "head/mask_predictor_{grid}"),
    (r"mask_head\.conv_mask_list_([xy])\.(?P<grid>\d)", "head/{0}_predictor_{grid}"),
    (r"mask_head\.mask_feature_head\.conv_pred", "head/mask_features/fuse"),
    (
        r"mask_head\.mask_feature_head\.convs_all_levels\.(?P<features>\d)\.conv(\d)",
        "head/mask_features/{features}_{1}",
    ),
)

# Beginnings of other programs' names -> mmdetection's beginnings.
_SYNONYMS: tuple[tuple[str, str], ...] = (
    # The authors' release.
    (r"mask_feat_head\.conv_pred\.0\.", "mask_head.mask_feature_head.conv_pred."),
    (r"mask_feat_head\.", "mask_head.mask_feature_head."),
    (r"bbox_head\.(?:d?solo)_cate\.", "mask_head.conv_cls."),
    (r"bbox_head\.solo_kernel\.", "mask_head.conv_kernel."),
    (r"bbox_head\.(?:d?solo)_ins_list(_[xy])?\.", r"mask_head.conv_mask_list\1."),
    (r"bbox_head\.ins_convs(_[xy])?\.", r"mask_head.mask_convs\1."),
    (r"bbox_head\.cate_convs\.", "mask_head.cls_convs."),
    (r"bbox_head\.", "mask_head."),
    # Its oldest files.
    (r"(backbone\.layer\d\.\d+\.conv2)_offset\.", r"\1.conv_offset."),
    # Where mmdetection has a name of its own for timm's stem of variant d.
    (r"backbone\.stem\.7\.", "backbone.bn1."),
    (r"backbone\.stem\.", "backbone.conv1."),
)


def load_state_dict(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """Turns a state dict of a whole detector into ``{"params", "batch_stats"}`` of ``model``.

    Args:
      state_dict: names -> arrays; convolutions are ``O I H W``.
      model: a ``Detector`` of the same architecture.

    Raises:
      InputError: a name is not consumed, a leaf not filled or a shape differs; all are listed.
    """
    return _fill(state_dict, detector.variable_shapes(model), model.head)


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


def _fill(
    state_dict: Mapping[str, np.ndarray], variables: dict[str, Any], head: Any = None
) -> dict[str, Any]:
    levels = _levels(head)
    wanted = traverse_util.flatten_dict(variables)
    filled: dict[Path, np.ndarray] = {}
    problems = []
    for name, array in state_dict.items():
        name = name.removeprefix("module.")  # of training on several GPUs
        if IGNORED.fullmatch(name):
            continue
        path = _path(name, array, levels)
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


def _levels(head: Any) -> dict[str, tuple[str, ...]]:
    """What a level's number in a name stands for, by the group that holds it."""
    return {
        "c": ("c2", "c3", "c4", "c5"),
        "p": ("p2", "p3", "p4", "p5"),
        "grid": grid.levels if (grid := grid_of(head)) else (),
        "features": getattr(head, "mask_levels", ()),
    }


def _path(name: str, array: np.ndarray, levels: dict[str, tuple[str, ...]]) -> Path | None:
    for pattern, replacement in _SYNONYMS:
        if match := re.match(pattern, name):
            name = match.expand(replacement) + name[match.end() :]
            break
    stem, _, leaf = name.rpartition(".")
    stem, offset = re.subn(r"\.conv_offset$", "", stem)
    owner, kind = stem, None
    if stem.endswith((".conv", ".gn")):  # inside a convolution block of the neck or head
        owner, _, kind = stem.rpartition(".")
    place = _module(owner, levels)
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


def _module(name: str, levels: dict[str, tuple[str, ...]]) -> str | None:
    for pattern, replacement in _RENAMES:
        if match := re.fullmatch(pattern, name):
            named = {}
            for group, number in match.groupdict().items():
                if int(number) >= len(levels[group]):
                    return None
                named[group] = levels[group][int(number)]
            return replacement.format(*match.groups(), **named)
    return None
