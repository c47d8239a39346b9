"""Dataclasses of this package as JSON and back; reading executes nothing and imports nothing else.

A dataclass is an object whose ``type`` names its class by module, so what is in the JSON of a run
keeps its module path.
"""

import dataclasses
import importlib
import re
from typing import Any

from solojax import fields
from solojax.types import InputError

MOVE = (
    "`pip install -U solojax` where that is newer; a new run begins with its weights by `solojax "
    "train --config CONFIG --workdir NEW --set training.pretrained=RUN`"
)
_ROOMS = re.compile(r"solojax\.(config|models|heads)(\.\w+)*")  # what a config is made of
_TYPE = "type"  # key under which JSON names a dataclass


def encode(value: Any) -> Any:
    """What ``json`` writes of dataclasses, tuples and plain values, within each other."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {
            _TYPE: kind,
            **{name: encode(getattr(value, name)) for name in fields.field_names(value)},
        }
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(value: Any, where: str) -> Any:
    """What ``encode`` was given, of what ``json`` read; lists become tuples.

    Args:
      value: the JSON.
      where: what it is called in errors.

    Raises:
      InputError: a class, a field or a value that this version does not have.
    """
    if isinstance(value, list):
        return tuple(decode(item, where) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_TYPE)
    known = _known(kind) if isinstance(kind, str) else None
    if known is None:
        raise InputError(
            f"{where}: {fields.shown(kind)} is not a config class of this version of solojax; "
            f"{MOVE}"
        )
    names, hints = fields.field_names(known), fields.hints(known)
    arguments = {key: decode(item, where) for key, item in value.items() if key != _TYPE}
    for key, item in arguments.items():
        if key not in names:
            raise InputError(
                f"{where}: {kind} of another version of solojax has {fields.shown(key)}; {MOVE}"
            )
        fields.coerce(item, hints[key], f"{where}: {kind}.{key}")
    try:
        return known(**arguments)
    except Exception as error:  # whatever a class says of what does not fit it
        said = " ".join(str(error).split())
        raise InputError(
            f"{where}: {kind}: {said}; correct it, or, if another version of solojax wrote it, "
            f"{MOVE}"
        ) from error


def _known(kind: str) -> type | None:
    """The dataclass of this package that bears the name; nothing else is made from a file."""
    module, _, name = kind.rpartition(".")
    if not _ROOMS.fullmatch(module):
        return None
    try:
        known = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return known if isinstance(known, type) and dataclasses.is_dataclass(known) else None
