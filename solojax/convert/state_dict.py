"""PyTorch state dicts, as mappings of names to arrays -> Flax variables.

What a layer is called in published files its part knows: a backbone, neck or head may have
``state_dict_names``, pairs of a regular expression for the layer's name, without the last word, and
of its place in our tree, with ``{0}`` for the first group, or empty where we have no such layer and
need none. Loading never unpickles anything: bring the arrays as NumPy.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from solojax.fields import shown
from solojax.models import detector, resnet
from solojax.types import InputError

Path = tuple[str, ...]

# Counters, classifiers and statistics of pixels, which have no place in a detector.
IGNORED = re.compile(
    r"(.*\.)?num_batches_tracked|(backbone\.)?(stem\.)?fc\.(weight|bias)|data_preprocessor\..*"
    r"|pixel_(mean|std)"
)


def load_state_dict(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """Turns a state dict of a whole detector into ``{"params", "batch_stats"}`` of ``model``.

    Args:
      state_dict: names -> arrays; convolutions are ``O I H W``, linear layers ``O I``.
      model: a ``Detector`` of the same architecture.

    Raises:
      InputError: a name is not consumed, a leaf not filled or a shape differs; all are listed.
    """
    names = detector.state_dict_names(model)
    return _fill(state_dict, detector.variable_shapes(model), names)


def load_backbone(
    state_dict: Mapping[str, np.ndarray],
    variables: dict[str, Any],
    names: detector.Names = resnet.STATE_DICT_NAMES,
) -> dict[str, Any]:
    """Puts ImageNet weights, such as torchvision's or timm's, into the backbone of ``variables``.

    Classifiers are not deformable: without offsets in ``state_dict`` those of a deformable backbone
    stay as they are, which is zero when they are fresh.

    Args:
      state_dict: names -> arrays, with or without a classifier.
      variables: of a whole detector.
      names: of the backbone's layers, each after ``backbone.``; those of ResNets.

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
    filled = traverse_util.flatten_dict(_fill(named, traverse_util.unflatten_dict(wanted), names))
    loaded = traverse_util.unflatten_dict({**filled, **kept})
    return {kind: {**variables[kind], **tree} for kind, tree in loaded.items()}


def _fill(
    state_dict: Mapping[str, np.ndarray], variables: dict[str, Any], names: detector.Names
) -> dict[str, Any]:
    wanted = traverse_util.flatten_dict(variables)
    filled: dict[Path, np.ndarray] = {}
    problems = []
    for name, value in state_dict.items():
        if not isinstance(name, str):
            problems.append(f"{shown(name)} is no name of an array")
            continue
        name = name.removeprefix("module.")  # of training on several GPUs
        if IGNORED.fullmatch(name):
            continue
        array = _numbers(value)
        if array is None:
            problems.append(f"{shown(name)} is {shown(value)}, no array of numbers")
            continue
        found = _places(name, names)
        if ("",) in found:
            continue
        places = [path for path in found if path in wanted]
        # A convolution and its norm may share a name, as a kernel and a scale do.
        path = next((one for one in places if wanted[one].ndim == array.ndim), None)
        if path is None:
            shapes = " or ".join(str(wanted[one].shape) for one in places)
            problems.append(
                f"{name} gives {array.shape} where {shapes} is wanted"
                if places
                else f"{name} has no place in the model"
            )
            continue
        if path in filled:
            problems.append(f"{name} is there twice, under another name as well")
            continue
        if path[-1] == "kernel":  # O I H W -> H W I O, O I -> I O
            array = np.moveaxis(array, (1, 0), (-2, -1))
        if array.shape != wanted[path].shape:
            problems.append(f"{name} gives {array.shape} where {wanted[path].shape} is wanted")
            continue
        filled[path] = array
    problems += [f"{'/'.join(path)} is not filled" for path in wanted if path not in filled]
    if problems:
        raise InputError("state dict does not fit the model: " + "; ".join(problems))
    return traverse_util.unflatten_dict(filled)


def _numbers(value: Any) -> np.ndarray | None:
    """float32 of what can be read as an array of real numbers, whatever it is."""
    try:
        array = np.asarray(value)
        if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
            return None
        return array.astype(np.float32)
    except Exception:  # of another framework
        return None


def _places(name: str, names: detector.Names) -> list[Path]:
    """All paths that the name of an array may stand for; an empty one where it is left out."""
    layer, _, last = name.rpartition(".")
    # Inside of a deformable convolution.
    layer, offsets = re.subn(r"\.conv_offset(_mask)?$", "", layer)
    leaves = {
        "weight": [("params", "kernel"), ("params", "scale")],
        "running_mean": [("batch_stats", "mean")],
        "running_var": [("batch_stats", "var")],
    }.get(last, [("params", last)])
    found = []
    for pattern, place in names:
        if match := re.fullmatch(pattern, layer):
            if not place:
                return [("",)]
            path = (*place.format(*match.groups()).split("/"), *["offset"] * offsets)
            found += [(kind, *path, leaf) for kind, leaf in leaves]
    return found
