"""A file of weights of a whole detector -> a config and variables, and what is said of it."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from solojax import config as config_lib
from solojax.convert import architecture, choice, class_names, containers, state_dict
from solojax.types import InputError

CONFIG = "config"  # under which our own safetensors hold it, as JSON
OWN = ("params/", "batch_stats/")  # what all names of our own begin with


class Weights(NamedTuple):
    """A detector for use."""

    config: config_lib.Config  # with classes
    variables: dict[str, Any]
    said: list[str]  # lines for people


def read(path: Path, config: str = "", classes: str = "", ema: bool = False) -> Weights:
    """Reads a detector of any project that is known here.

    Args:
      path: the file.
      config: which its preprocessing is of; chosen by names and shapes where empty.
      classes: of ``class_names.given``; what is known of them where empty.
      ema: take the second set of weights, where the file has one.

    Raises:
      InputError: it cannot be read, or is of no network that is known here.
      state_dict.Misfit: of one that is, arrays are missing, or there are others.
    """
    container = containers.read(path)
    found = containers.state_dict_of(container, ema)
    if all(name.startswith(OWN) for name in found.arrays):
        return _own(container, found.arrays, config, classes)
    network = architecture.recognise(found.arrays)
    if config:
        adapted, changed = choice.adapt(config_lib.load(config), network)
        chosen = choice.Choice(config, adapted, [], changed)
    else:
        chosen = choice.choose(network, path.stem)
    categories, why = (
        (class_names.given(classes, network.classes), "by --classes")
        if classes
        else class_names.told(container.content, network.classes)
    )
    whole = config_lib.with_categories(chosen.config, categories)
    placed = state_dict.place(found.arrays, whole.model)
    variables = _finite(placed.variables)
    said = [
        f"read: {len(found.arrays)} arrays ({container.form}"
        f"{', of ' + found.place if found.place else ''}), {network.describe()}",
        f"config: {chosen.name}, which says sizes of images and thresholds"
        + (f"; as good: {', '.join(chosen.alike)}" if chosen.alike else ""),
        *(f"not as in the config: {field}" for field in chosen.changed),
    ]
    if network.source == "AdelaiDet":
        whole, variables = of_caffe(whole, variables)
        said.append(
            "its images are BGR of standard deviation 1: the stem's channels are turned round to "
            "RGB, and model.std is 1"
        )
    said += [
        f"classes: {len(categories)}, {why}",
        f"taken: {len(placed.taken)} arrays, {_size(variables):,} numbers, all of the network",
        *(
            f"skipped: {len(names)} {reason} ({names[0]}{', ...' if len(names) > 1 else ''})"
            for reason, names in placed.skipped.items()
        ),
        *left(found.left_out),
    ]
    return Weights(whole, variables, said)


def of_caffe(
    config: config_lib.Config, variables: dict[str, Any]
) -> tuple[config_lib.Config, dict[str, Any]]:
    """What reads BGR less its mean alone, as RGB: the stem turned round, the deviation 1.

    Both are exact; the means of the three are the usual ones.
    """
    model = dataclasses.replace(config.model, std=(1.0, 1.0, 1.0))
    flat = traverse_util.flatten_dict(variables)
    stem = ("params", "backbone", "conv1", "kernel")
    flat[stem] = flat[stem][:, :, ::-1]
    return dataclasses.replace(config, model=model), traverse_util.unflatten_dict(flat)


def named(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by path, as our own files hold them."""
    return traverse_util.flatten_dict(variables, sep="/")


def _own(
    container: containers.Container, arrays: dict[str, np.ndarray], config: str, classes: str
) -> Weights:
    """Of a file that ``solojax convert`` wrote."""
    if config:
        whole = config_lib.load(config)
    elif CONFIG in container.about:
        whole = config_lib.from_json(container.about[CONFIG], f"the config in {container.path}")
    else:
        raise InputError(f"{container.path} has no config beside its arrays; give one as --config")
    count = whole.model.head.num_classes
    if classes:
        whole = config_lib.with_categories(whole, class_names.given(classes, count))
    elif len(whole.data.categories) != count:
        whole = config_lib.with_categories(whole, class_names.told(None, count)[0])
    variables = _finite(state_dict.place_own(arrays, whole.model))
    said = [
        f"read: {len(arrays)} arrays of solojax, of {type(whole.model.head).__name__} and {count} "
        "classes",
        f"taken: all {len(arrays)}, {_size(variables):,} numbers",
    ]
    return Weights(whole, variables, said)


def _finite(variables: dict[str, Any]) -> dict[str, Any]:
    for name, array in named(variables).items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} has numbers that are not finite; the file is of no use")
    return variables


def _size(variables: dict[str, Any]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def left(left_out: dict[str, str]) -> list[str]:
    """Lines of what stands in the file beside its weights."""
    reasons = Counter(left_out.values())
    first = {why: name for name, why in reversed(left_out.items())}
    return [
        f"left: {first[why]}{f' and {count - 1} more' if count > 1 else ''}, which {why}"
        for why, count in reasons.items()
    ]
