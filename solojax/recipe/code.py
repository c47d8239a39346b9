"""A config as a Python file that people can read, change and train again."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from solojax import config as config_lib
from solojax import fields

WIDTH = 88  # characters of a line


def write(config: config_lib.Config, about: Iterable[str]) -> str:
    """Python that defines an equal ``config``.

    Args:
      config: of dataclasses of this package.
      about: lines for its head.
    """
    classes = sorted({type(one) for one in _parts(config)}, key=lambda one: one.__qualname__)
    modules: dict[str, list[str]] = {}
    for one in classes:
        modules.setdefault(one.__module__, []).append(one.__qualname__)
    imports = [f"from {module} import {', '.join(modules[module])}" for module in sorted(modules)]
    text = "\n".join(about).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{text}\n"""\n\n' + "\n".join(imports) + f"\n\nconfig = {_expression(config, 0)}\n"


def _parts(value: Any) -> Iterator[Any]:
    """All dataclasses in a value that are written, itself included."""
    if dataclasses.is_dataclass(value):
        yield value
        for item in _changed(value).values():
            yield from _parts(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _parts(item)


def _changed(owner: Any) -> dict[str, Any]:
    """The fields that are not as they are where nothing is said."""
    defaults = {one.name: one.default for one in dataclasses.fields(owner)}
    values = {name: getattr(owner, name) for name in fields.field_names(owner)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _expression(value: Any, depth: int, taken: int = 0) -> str:
    """A value as Python, over several lines where it does not fit into one.

    Args:
      value: of a config.
      depth: how deep it is indented.
      taken: characters of its line before it.
    """
    if dataclasses.is_dataclass(value):
        opening, closing = f"{type(value).__qualname__}(", ")"
        items = [(f"{name}=", item) for name, item in _changed(value).items()]
    elif isinstance(value, tuple):
        opening, closing = "(", ")"
        items = [("", item) for item in value]
    else:
        return _flat(value)
    flat = ", ".join(key + _flat(item) for key, item in items)
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    if 4 * depth + taken + len(flat) + len(opening) + 3 <= WIDTH:
        return f"{opening}{flat}{comma}{closing}"
    indent = " " * 4 * (depth + 1)
    lines = [f"{indent}{key}{_expression(item, depth + 1, len(key))},\n" for key, item in items]
    return f"{opening}\n{''.join(lines)}{' ' * 4 * depth}{closing}"


def _flat(value: Any) -> str:
    """A value as Python in one line."""
    if dataclasses.is_dataclass(value):
        inside = ", ".join(f"{name}={_flat(item)}" for name, item in _changed(value).items())
        return f"{type(value).__qualname__}({inside})"
    if isinstance(value, tuple):
        inside = ", ".join(map(_flat, value))
        return f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
