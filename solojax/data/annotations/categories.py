"""The categories of a COCO file."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from etils.epath import Path

from solojax.config import Category
from solojax.data.annotations import ids
from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.images.names import folded
from solojax.types import InputError


class Categories(NamedTuple):
    """Categories, sorted by id, and what annotations call them."""

    all: tuple[Category, ...]
    labels: dict[int | str, int]  # place among them, by the id as ``ids.read`` reads it


def read(
    entries: list[Any], used: set[Any], path: Path, findings: Findings, faults: Faults
) -> Categories:
    """Reads and checks the entries of the list.

    Args:
      entries: as the JSON has them.
      used: ids that annotations name, as ``ids.read`` reads them.
      path: of the JSON, for people.
      findings: what is told of them.
      faults: takes those without an id and those that share one.

    Raises:
      InputError: there is none.
    """
    names: dict[int | str, str] = {}
    several: set[int | str] = set()
    for number, entry in enumerate(entries):
        key = ids.read(entry.get("id")) if isinstance(entry, dict) else None
        if key is None:
            what = "categories without an id that is a text or a whole number below 2**63"
            faults.add_class(what, f"categories[{number}]: {entry!r:.60}", "give each one")
            continue
        if entry["id"] != key or isinstance(entry["id"], float):
            findings.add("repaired", "category ids that were no whole numbers", f"{entry['id']!r}")
        given = entry.get("name")
        if given is None:
            findings.add("told", "categories without a name, called by their id", f"{key}")
        # Text that JSON can hold and no file can.
        name = str(key if given is None else given).encode(errors="replace").decode()
        if key in names and names[key] != name:
            place = f"category {key}: {names[key]!r} and {name!r}"
            faults.add_class("category ids that several have", place, "give each its own")
            several.add(key)
            continue
        if key in names:
            findings.add("repaired", "categories that are there twice", f"{key}: {name}")
        names[key] = name
    for key in several:
        del names[key]
    sound = [one for one in entries if isinstance(one, dict)]
    for key in _roots(sound, used) & names.keys():
        what = "classes left out: roots that are above others and have no instance"
        findings.add("told", what, f"{names.pop(key)} (category {key})")
    if not names:
        why = f"has none with an id of its own: {entries[0]!r:.60}" if entries else "is empty"
        cure = "list each class with its id and name"
        raise InputError(f"{path}: the list of categories {why}; {cure}")
    order = sorted(names) if all(isinstance(key, int) for key in names) else sorted(names, key=str)
    numbers = ids.number(order)
    if any(isinstance(key, str) for key in names):
        what = "category ids that are text, numbered anew in their order"
        findings.add_all("repaired", what, [f"{key!r} is {numbers[key]}" for key in order])
    return Categories(
        tuple(Category(numbers[key], names[key]) for key in order),
        {key: label for label, key in enumerate(order)},
    )


def compare(train: Sequence[Category], val: Sequence[Category], findings: Findings) -> None:
    """Adds ids and names of classes that differ between the splits."""
    by_id = {one.id: one.name for one in train}
    by_name = {folded(one.name): one for one in train}
    differ = []
    for one in val:
        near = by_name.get(folded(one.name))
        if by_id.get(one.id, one.name) != one.name:
            text = f"{one.id} is {by_id[one.id]!r} in train, {one.name!r} in val"
        elif one.id not in by_id and near:
            text = f"{near.name!r} is {near.id} in train, {one.name!r} is {one.id} in val"
        else:
            continue
        if near and near.name != one.name and near.name.casefold() != one.name.casefold():
            text += f", {near.name!a} and {one.name!a} in ASCII"  # they look the same
        differ.append(text)
    cure = "give each class one id and one name in both JSONs"
    findings.add_all("doubtful", "classes differ between train and val", differ, cure=cure)


def _roots(entries: list[Any], used: set[Any]) -> set[Any]:
    """Ids of what Roboflow puts above its classes."""
    texts = [
        (one.get("id"), one["name"], one["supercategory"])
        for one in entries
        if isinstance(one.get("supercategory"), str) and isinstance(one.get("name"), str)
    ]
    above = {supercategory for _, _, supercategory in texts}
    roots = {ids.read(i) for i, name, over in texts if over.lower() == "none" and name in above}
    return roots - used
