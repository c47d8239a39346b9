"""Checks of dataclass fields: types by their hints, words by their literals, numbers by a range.

A mistyped word in a Python config must not train another model. Dataclasses and linen modules call
these in ``__post_init__``, so that an object that cannot work is never made.
"""

import dataclasses
import os
import types
import typing
from typing import Any, Literal

from solojax.types import InputError

MOST = 2**31 - 1  # of what counts: programs have 32 bits for a step, a side, a number of channels
MANY = 2**16  # of what makes arrays: channels, sides, images; more fit in no memory
STRONGEST = 1e6  # of what a loss, a rate or a size is multiplied by: float32 has seven digits
MOST_CANDIDATES = 2**23  # 3,872 cells of 1,203 classes are 4.7 million
DEEPEST = 100  # layers one after the other
SHOWN = 200  # characters of a value in an error
FLOAT32 = 3.4e38  # the greatest, nearly


def check_fields(owner: Any, room: str) -> None:
    """Refuses fields of a dataclass that do not fit their type hints; lists become tuples.

    Args:
      owner: a dataclass, frozen or not, a linen module included.
      room: what its fields are called after in a config, such as ``head``.
    """
    wanted = hints(type(owner))
    for name in field_names(owner):
        value = getattr(owner, name)
        if (checked := coerce(value, wanted[name], f"{room}.{name}")) is not value:
            object.__setattr__(owner, name, checked)


def check_range(
    owner: Any, room: str, *names: str, least: float = 0, most: float | None = None
) -> None:
    """Refuses numbers below ``least`` or above ``most``, in tuples as well.

    Without ``most`` integers may be up to MOST, and what has a point up to STRONGEST.
    """
    for name in names:
        value = getattr(owner, name)
        for number in value if isinstance(value, tuple) else (value,):
            usual = MOST if isinstance(number, int) else STRONGEST
            greatest = usual if most is None else most
            if not least <= number <= greatest:
                above = number > greatest or most is not None
                limits = f"in {least:.10g}..{greatest:.10g}" if above else f"at least {least:g}"
                raise InputError(f"{room}.{name}={shown(value)} must be {limits}")


def check_count(owner: Any, room: str, *names: str, most: int = MANY) -> None:
    """Refuses numbers of what makes arrays or layers that are below 1 or fit in no memory."""
    check_range(owner, room, *names, least=1)
    check_range(owner, room, *names, least=1, most=most)


def expand_home(owner: Any, *names: str) -> None:
    """Puts the home folder in place of ``~`` in paths; no shell does it behind an equals sign."""
    for name in names:
        object.__setattr__(owner, name, os.path.expanduser(getattr(owner, name)))


def hints(kind: Any) -> dict[str, Any]:
    """The type hints of a dataclass."""
    return typing.get_type_hints(kind)


def field_names(owner: Any) -> list[str]:
    """Names of the fields that belong to an experiment; linen adds parent and name to its own."""
    names = [field.name for field in dataclasses.fields(owner)]
    return (
        [name for name in names if name not in ("parent", "name")] if "parent" in names else names
    )


def coerce(value: Any, wanted: Any, where: str, text: str | None = None) -> Any:
    """Checks ``value`` against a type hint; turns lists into tuples and ints into floats.

    Numbers must be finite, and those with a point in the range of float32, in which they are used.
    Where text is wanted, ``text`` is taken as it stands: a folder may be called 2017. A truth value
    may be ``true`` or ``false`` in it.
    """
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return value
    if wanted is str and text is not None and not isinstance(value, str):
        return text
    if wanted is bool and text is not None and text.strip() in ("true", "false"):
        return text.strip() == "true"
    if origin is Literal:
        if value in args:
            return value
        raise InputError(f"{where}: {shown(value)} is none of {', '.join(map(repr, args))}")
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        choices = [choice for choice in args if choice is not type(None)]
        for choice in choices:
            try:
                return coerce(value, choice, where)
            except InputError:
                if len(choices) == 1:
                    raise
    elif origin is tuple and isinstance(value, tuple | list):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(coerce(item, args[0], where) for item in value)
        if len(args) == len(value):
            return tuple(coerce(item, arg, where) for item, arg in zip(value, args, strict=True))
    elif wanted is float and type(value) in (int, float):
        if not -FLOAT32 <= value <= FLOAT32:  # NaN is neither
            raise InputError(f"{where}: {shown(value)} is no finite number of 32 bits")
        return float(value)
    elif wanted is str and type(value) is str:
        if "\0" in value or not value.isascii() and value != value.encode(errors="ignore").decode():
            raise InputError(f"{where}: {shown(value)} has characters that no text may have")
        return value
    elif origin is None and (
        type(value) is wanted or (not _is_plain(wanted) and isinstance(value, wanted))
    ):
        return value
    raise InputError(f"{where}: {shown(value)} is not of type {_describe(wanted)}")


def shown(value: Any) -> str:
    """A value as an error shows it: in one line that has an end."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _is_plain(wanted: Any) -> bool:
    return wanted in (int, float, str, bool, type(None))


def _describe(wanted: Any) -> str:
    return (
        wanted.__name__ if isinstance(wanted, type) and not typing.get_args(wanted) else str(wanted)
    )
