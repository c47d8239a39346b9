"""The categories of a COCO file."""

from typing import Any, NamedTuple

from etils.epath import Path

from solojax.config import Category
from solojax.data import ids
from solojax.data.findings import Findings
from solojax.types import InputError


class Categories(NamedTuple):
    """Categories, sorted by id, and what annotations call them."""

    all: tuple[Category, ...]
    labels: dict[int | str, int]  # place among them, by the id as ``ids.read`` reads it


def read(entries: list[Any], used: set[Any], path: Path, findings: Findings) -> Categories:
    """Reads and checks the entries of the list.

    Args:
      entries: as the JSON has them.
      used: ids that annotations name, as ``ids.read`` reads them.
      path: of the JSON, for people.
      findings: what is told of them.

    Raises:
      InputError: there is none, or one has no id, or two share an id.
    """
    names: dict[int | str, str] = {}
    for number, entry in enumerate(entries):
        key = ids.read(entry.get("id")) if isinstance(entry, dict) else None
        if key is None:
            raise InputError(f"{path}: categories[{number}] has no id: {entry!r:.60}; give it one")
        if entry["id"] != key or isinstance(entry["id"], float):
            findings.add("repaired", "category ids that were no whole numbers", f"{entry['id']!r}")
        given = entry.get("name")
        if given is None:
            findings.add("told", "categories without a name, called by their id", f"{key}")
        # Text that JSON can hold and no file can.
        name = str(key if given is None else given).encode(errors="replace").decode()
        if key in names and names[key] != name:
            raise InputError(
                f"{path}: category id {key} occurs twice, as {names[key]!r} and as {name!r}; give "
                "each an id of its own"
            )
        if key in names:
            findings.add("repaired", "categories that are there twice", f"{key}: {name}")
        names[key] = name
    for key in _roots(entries, used) & names.keys():
        what = "classes left out: roots that are above others and have no instance"
        findings.add("told", what, f"{names.pop(key)} (category {key})")
    if not names:
        raise InputError(f"{path}: the list of categories is empty")
    order = sorted(names) if all(isinstance(key, int) for key in names) else sorted(names, key=str)
    numbers = ids.number(order)
    if any(isinstance(key, str) for key in names):
        what = "category ids that are text, numbered anew in their order"
        findings.add_all("repaired", what, [f"{key!r} is {numbers[key]}" for key in order])
    return Categories(
        tuple(Category(numbers[key], names[key]) for key in order),
        {key: label for label, key in enumerate(order)},
    )


def _roots(entries: list[Any], used: set[Any]) -> set[Any]:
    """Ids of what Roboflow puts above its classes."""
    texts = [
        (one["id"], one["name"], one["supercategory"])
        for one in entries
        if isinstance(one.get("supercategory"), str) and isinstance(one.get("name"), str)
    ]
    above = {supercategory for _, _, supercategory in texts}
    roots = {ids.read(i) for i, name, over in texts if over.lower() == "none" and name in above}
    return roots - used
