"""Other frameworks' state dicts, as mappings of names to arrays -> Flax variables.

What a layer is called in published files its part knows: a backbone, neck or head may have
``state_dict_names``, pairs of a regular expression for the layer's name, without the last word, and
of its place in our tree, with ``{0}`` for the first group, or empty where we have no such layer and
need none. Loading never unpickles anything: bring the arrays as NumPy.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from solojax.fields import shown
from solojax.models import detector, resnet
from solojax.types import InputError

Path = tuple[str, ...]

# What has no place in a detector, by its reason.
IGNORED = {
    "counters of batches": re.compile(r"(.*\.)?num_batches_tracked"),
    "classifiers of whole images": re.compile(r"(backbone\.)?(stem\.)?fc\.(weight|bias)"),
    "statistics of pixels": re.compile(r"data_preprocessor\..*|pixel_(mean|std)"),
}
NO_PLACE = "layers that no network reads"
MOST_TOLD = 20  # differences of a file and a model


class Misfit(InputError):
    """A state dict is of another model; ``problems`` says where they differ, each in a line."""

    def __init__(self, problems: list[str]):
        self.problems = problems[:MOST_TOLD]
        if more := len(problems) - MOST_TOLD:
            self.problems += [f"and {more} more"] if more > 0 else []
        super().__init__(f"state dict does not fit the model: {'; '.join(self.problems)}")


class Placed(NamedTuple):
    """What became of the arrays of a state dict."""

    variables: dict[str, Any]  # {"params", "batch_stats"}
    taken: tuple[str, ...]  # names
    skipped: dict[str, list[str]]  # reason -> names


def load_state_dict(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """The variables of ``place``."""
    return place(state_dict, model).variables


def place(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> Placed:
    """Turns a state dict of a whole detector into ``{"params", "batch_stats"}`` of ``model``.

    Biases of a backbone's convolutions, which here have none, go into the means of the batch norms
    behind them, where they come to the same.

    Args:
      state_dict: names -> arrays; convolutions are ``O I H W``, linear layers ``O I``.
      model: a ``Detector`` of the same architecture.

    Raises:
      InputError: a name is not consumed, a leaf not filled or a shape differs; the first are
        listed.
    """
    names = detector.state_dict_names(model)
    return _fill(state_dict, detector.variable_shapes(model), names)


def place_own(arrays: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
    """Variables of ``model`` of arrays that bear our own paths, ``params/backbone/...``.

    Raises:
      Misfit: one is missing, is of another shape or has no place.
    """
    wanted = traverse_util.flatten_dict(detector.variable_shapes(model), sep="/")
    problems = [f"{said(name)} is not filled" for name in wanted if name not in arrays]
    for name, array in arrays.items():
        if name not in wanted:
            problems.append(f"{said(name)} has no place in the model")
        elif array.shape != wanted[name].shape:
            problems.append(f"{said(name)} is {array.shape} where {wanted[name].shape} is wanted")
        elif _numbers(array) is None:
            problems.append(f"{said(name)} is of {array.dtype}, no numbers")
    if problems:
        raise Misfit(problems)
    numbers = {tuple(name.split("/")): _numbers(array) for name, array in arrays.items()}
    return traverse_util.unflatten_dict(numbers)


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
      InputError: as ``place``, or the backbone has no batch norms to take statistics.
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
    placed = _fill(named, traverse_util.unflatten_dict(wanted), names)
    filled = traverse_util.flatten_dict(placed.variables)
    loaded = traverse_util.unflatten_dict({**filled, **kept})
    return {kind: {**variables[kind], **tree} for kind, tree in loaded.items()}


def _fill(
    state_dict: Mapping[str, np.ndarray], variables: dict[str, Any], names: detector.Names
) -> Placed:
    wanted = traverse_util.flatten_dict(variables)
    filled: dict[Path, np.ndarray] = {}
    biases: dict[Path, np.ndarray] = {}  # by the means that they are to be taken from
    problems, taken = [], []
    skipped: dict[str, list[str]] = {}
    for name, value in state_dict.items():
        if not isinstance(name, str):
            problems.append(f"{shown(name)} is no name of an array")
            continue
        if why := reason_to_skip(name, names):
            skipped.setdefault(why, []).append(name)
            continue
        array = _numbers(value)
        if array is None:
            problems.append(f"{said(name)} is {shown(value)}, no array of numbers")
            continue
        found = places_of(name, names)
        places = [path for path in found if path in wanted]
        # A convolution and its norm may share a name, as a kernel and a scale do.
        path = next((one for one in places if wanted[one].ndim == array.ndim), None)
        if path is None:
            mean = next((mean for one in found if (mean := _mean_after(one)) in wanted), None)
            if mean and array.shape == wanted[mean].shape:
                biases[mean] = array
                taken.append(name)
                continue
            shapes = " or ".join(str(wanted[one].shape) for one in places)
            problems.append(
                f"{said(name)} gives {array.shape} where {shapes} is wanted"
                if places
                else f"{said(name)} has no place in the model"
            )
            continue
        if path in filled:
            problems.append(f"{said(name)} is there twice, under another name as well")
            continue
        if path[-1] == "kernel":
            array = our_axes(array)
        if array.shape != wanted[path].shape:
            problems.append(
                f"{said(name)} gives {array.shape} where {wanted[path].shape} is wanted"
            )
            continue
        filled[path] = array
        taken.append(name)
    problems += [f"{'/'.join(path)} is not filled" for path in wanted if path not in filled]
    if problems:
        raise Misfit(problems)
    for path, bias in biases.items():
        filled[path] = filled[path] - bias
    return Placed(traverse_util.unflatten_dict(filled), tuple(taken), skipped)


def said(name: str) -> str:
    """A name as an error shows it."""
    return name if re.fullmatch(r"[\w./-]{1,200}", name) else shown(name)


def our_axes(kernel: np.ndarray) -> np.ndarray:
    """``O I H W`` -> ``H W I O``, and ``O I`` -> ``I O``, without a copy."""
    return np.moveaxis(kernel, (1, 0), (-2, -1))


def reason_to_skip(name: str, names: detector.Names) -> str:
    """Why an array has no place in a detector; empty where it should have one."""
    for reason, pattern in IGNORED.items():
        if pattern.fullmatch(name.removeprefix("module.")):
            return reason
    return NO_PLACE if ("",) in places_of(name, names) else ""


def _mean_after(path: Path) -> Path:
    """Where the norm behind a bias has its mean: params conv2 bias -> batch_stats bn2 mean."""
    kind, *above, layer, leaf = path if len(path) > 2 else ("", "", "", "")
    if leaf != "bias" or "conv" not in layer:
        return ()
    return ("batch_stats", *above, layer.replace("conv", "bn"), "mean")


def _numbers(value: Any) -> np.ndarray | None:
    """float32 of what can be read as an array of real numbers, whatever it is."""
    try:
        array = np.asarray(value)
        if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
            return None
        return array.astype(np.float32, copy=False)
    except Exception:  # of another framework
        return None


LEAVES = {  # the last word of a name -> kinds and leaves here; any other is a parameter's
    "weight": [("params", "kernel"), ("params", "scale")],
    "running_mean": [("batch_stats", "mean")],
    "running_var": [("batch_stats", "var")],
    "_mean": [("batch_stats", "mean")],  # PaddlePaddle's
    "_variance": [("batch_stats", "var")],
}


def places_of(name: str, names: detector.Names) -> list[Path]:
    """All paths that the name of an array may stand for; an empty one where it is left out."""
    layer, _, last = name.removeprefix("module.").rpartition(".")  # of training on several GPUs
    # Inside of a deformable convolution.
    layer, offsets = re.subn(r"\.conv_offset(_mask)?$", "", layer)
    found: list[Path] = []
    for pattern, place in names:
        if match := _compiled(pattern).fullmatch(layer):
            if not place:
                return [("",)]
            where = place.format(*match.groups()) if isinstance(place, str) else place(match)
            path = (*where.split("/"), *["offset"] * offsets)
            found += [(kind, *path, leaf) for kind, leaf in LEAVES.get(last, [("params", last)])]
    return found


@functools.lru_cache(4096)  # Python's own cache is too small for all names of a model
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
