"""What the classes of converted weights are called."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solojax.config import Category
from solojax.convert.coco_classes import CATEGORIES
from solojax.types import InputError

_META = (("dataset_meta", "classes"), ("dataset_meta", "CLASSES"), ("CLASSES",))  # mmdetection's


def given(text: str, count: int) -> tuple[Category, ...]:
    """Those that a user gives: a file, or names with commas between.

    Args:
      text: of ``--classes``: COCO JSON with ``categories``, a JSON list, or a name a line.
      count: how many the weights have.

    Raises:
      InputError: there are others than that many, or two are the same.
    """
    if Path(text).is_file():
        categories = _of_file(Path(text))
    else:
        categories = _numbered([name.strip() for name in text.split(",")])
    if len(categories) != count:
        raise InputError(f"--classes {text} gives {len(categories)} names for {count} classes")
    names = [one.name for one in categories]
    if twice := next((name for name in names if names.count(name) > 1 or not name), None):
        raise InputError(f"--classes {text} has the name {twice!r} twice, or an empty one")
    return categories


def told(content: Any, count: int) -> tuple[tuple[Category, ...], str]:
    """Those that a file of weights itself names, or of which there are as many, and what that is.

    Args:
      content: of the file, as plain data.
      count: how many the weights have.
    """
    for path in _META:
        found: Any = content.get("meta") if isinstance(content, dict) else None
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if _are_names(found, count):
            return _numbered([str(name) for name in found]), "named in the file"
    if count == len(CATEGORIES):
        return CATEGORIES, "taken for COCO's, as there are 80; --classes names others"
    return _numbered([f"class {n}" for n in range(1, count + 1)]), "numbered; --classes names them"


def _are_names(found: Any, count: int) -> bool:
    return (
        isinstance(found, list | tuple)
        and len(found) == count == len({*map(str, found)})
        and all(
            isinstance(name, str) and re.fullmatch(r"[^\x00-\x1f]{1,100}", name) for name in found
        )
    )


def _of_file(path: Path) -> tuple[Category, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return _numbered([line.strip() for line in text.splitlines() if line.strip()])
        content = json.loads(text)
        if isinstance(content, dict):
            rows = sorted((int(one["id"]), one["name"]) for one in content["categories"])
            return tuple(Category(number, name) for number, name in rows)
        return _numbered(list(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"--classes {path} holds no names: give a name a line, a JSON list, or COCO JSON"
        ) from error


def _numbered(names: Sequence[str]) -> tuple[Category, ...]:
    """With COCO's ids where they are COCO's, else from 1 on."""
    if list(names) == [one.name for one in CATEGORIES]:
        return CATEGORIES
    return tuple(Category(number, name) for number, name in enumerate(names, start=1))
