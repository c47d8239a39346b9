"""Overrides: fields of nested dataclasses, changed by ``field.path=value``."""

import ast
import dataclasses
import difflib
from typing import Any, TypeVar

from solojax import fields
from solojax.types import InputError

Owner = TypeVar("Owner")


def override(config: Owner, *texts: str) -> Owner:
    """Changes fields of a dataclass, each ``field.path=value``.

    Values are Python literals, or text for text. All at once: fields that go together need not fit
    one by one.

    Raises:
      InputError: an override that is none, or that fits no field.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        said = fields.shown(text)
        if not equals:
            raise InputError(f"override {said} has no '='; write field.path=value")
        *owners, name = path.strip().split(".")
        here = changes
        for owner in owners:
            here = here.setdefault(owner, {})
            if not isinstance(here, dict):
                raise InputError(f"override {said}: {owner} is given as a whole already")
        if isinstance(here.get(name), dict):
            raise InputError(f"override {said}: parts of {name} are given already")
        here[name] = (value, f"override {said}")
    return _replace(config, changes)


def _replace(owner: Any, changes: dict[str, Any]) -> Any:
    names = fields.field_names(owner) if dataclasses.is_dataclass(owner) else []
    values = {}
    for name, change in changes.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = f"; it has {', '.join(names)}" if names else ", which has no fields"
            raise InputError(
                f"{_where(change)}: no field {fields.shown(name)} in {type(owner).__name__}"
                f"{hint or known}"
            )
        if isinstance(change, dict):
            values[name] = _replace(getattr(owner, name), change)
        else:
            text, where = change
            values[name] = fields.coerce(
                _literal(text), fields.hints(type(owner))[name], where, text
            )
    return dataclasses.replace(owner, **values)


def _where(change: Any) -> str:
    """The override that asks for a change, the first of them where it asks for several."""
    while isinstance(change, dict):
        change = next(iter(change.values()))
    return change[1]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
