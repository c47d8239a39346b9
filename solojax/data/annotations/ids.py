"""Ids as people write them: whole numbers, also as fractions or in a text, and other text."""

import re
from collections.abc import Collection
from typing import Any

_WHOLE = re.compile(r"(-?[0-9]{1,19})(\.0*)?")


def read(value: Any) -> int | str | None:
    """The whole number that a value stands for, other text as it is; None where it is no id."""
    if type(value) is int:
        return value if abs(value) < 2**63 else None
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if type(value) is str:
        if whole := _WHOLE.fullmatch(value.strip()):
            return read(int(whole[1]))
        return value or None
    return None


def number(keys: list[int | str]) -> dict[int | str, int]:
    """The id to go by for each: its own, or its place from 1 on where one of them is a text."""
    if any(isinstance(key, str) for key in keys):
        return {key: place for place, key in enumerate(keys, 1)}
    return {key: int(key) for key in keys}


def shift(used: Collection[int | str], known: Collection[int | str]) -> int:
    """1 or -1 where all ids that are used are known with that added to each; else 0.

    It is 0 as well where they are known as they are.
    """
    if all(one in known for one in used):
        return 0
    fits = [d for d in (1, -1) if all(isinstance(u, int) and u + d in known for u in used)]
    return fits[0] if fits else 0
