"""Which config a network is of: preprocessing, test size and thresholds are not in its weights."""

import dataclasses
import re
from typing import Any, NamedTuple

from solojax import config as config_lib
from solojax.convert.architecture import Architecture
from solojax.types import InputError

ALIASES = {"yolact_r101_550": "base"}  # what files of a config are called, where not as it is


class Choice(NamedTuple):
    """A config whose network has the names and shapes of a file."""

    name: str
    config: config_lib.Config
    alike: list[str]  # configs that find the same with these weights
    changed: list[str]  # fields that the file has otherwise than the config of that name


def choose(found: Architecture, called: str) -> Choice:
    """Takes the config that comes along and is most like a network.

    Args:
      found: the network.
      called: the name of its file, which decides between configs of the same network.

    Raises:
      InputError: there is none like it, or several that would find other things.
    """
    fits: dict[str, tuple[config_lib.Config, list[str]]] = {}
    for name in config_lib.names():
        config = config_lib.load(name)
        try:
            fits[name] = adapt(config, found)
        except InputError:
            continue
    if not fits:
        raise InputError(f"no config is like it; give one as --config ({found.describe()})")
    least = min(len(changed) for _, changed in fits.values())
    names = [name for name, (_, changed) in fits.items() if len(changed) == least]
    closest = max(_likeness(name, names, called) for name in names)
    best = [name for name in names if _likeness(name, names, called) == closest]
    if len({_what_it_finds(fits[name][0]) for name in best}) > 1:
        raise InputError(
            f"its weights are those of {', '.join(best)}, which differ in sizes of images or "
            "anchors; say which by --config"
        )
    name = best[-1]  # 3x rather than 1x
    config, changed = fits[name]
    same = _what_it_finds(config)
    alike = [one for one in names if one != name and _what_it_finds(fits[one][0]) == same]
    return Choice(name, config, alike, changed)


def adapt(config: config_lib.Config, found: Architecture) -> tuple[config_lib.Config, list[str]]:
    """Gives the model of a config the fields of a network, and says which were others.

    Raises:
      InputError: it is of another kind.
    """
    model = config.model
    kinds = {"head": found.head, "neck": found.neck}
    for name, kind in kinds.items():
        ours = type(getattr(model, name))
        if ours is not kind:
            raise InputError(
                f"model.{name} is {ours.__name__}, and that of the file {kind.__name__}"
            )
    changes: dict[str, dict[str, Any]] = {"head": {"num_classes": found.classes}}
    changed = []
    for path, value in found.fields.items():
        *above, name = path.split(".")
        part: Any = model
        for step in above:
            part = getattr(part, step)
        if (here := getattr(part, name, None)) == value:
            continue
        if path == "head.anchors.per_cell":
            raise InputError(f"its anchors are {here} in a cell, and those of the file {value}")
        changes.setdefault(".".join(above), {})[name] = value
        changed.append(f"{path}={value} (in the config {here})")
    if grid := changes.pop("head.grid", None):
        changes["head"]["grid"] = dataclasses.replace(model.head.grid, **grid)
    parts = {
        name: dataclasses.replace(getattr(model, name), **fields)
        for name, fields in changes.items()
    }
    return dataclasses.replace(config, model=dataclasses.replace(model, **parts)), changed


def _what_it_finds(config: config_lib.Config) -> tuple[Any, ...]:
    """All that predictions follow from, but the weights."""
    data, model = config.data, config.model
    sizes = (data.canvases, data.resize, data.test_short_side, data.long_side)
    head = [
        getattr(model.head, name, None)
        for name in ("grid", "anchors", "selection", "score_threshold", "mask_threshold")
    ]
    return (*sizes, model.mean, model.std, *head)


def _likeness(name: str, names: list[str], called: str) -> int:
    """How many of the words that tell a config from the others the name of a file has, or lacks."""
    words = {one: {*one.split("_"), ALIASES.get(one, one)} for one in names}
    common = set.intersection(*words.values())
    text = re.sub(r"[^a-z0-9]", "", called.lower())
    return sum(1 if word.replace("_", "") in text else -1 for word in words[name] - common)
