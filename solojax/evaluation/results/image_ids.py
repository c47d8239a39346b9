"""Which image of a ground truth each result is of: by its file name where it carries one.

Ids are numbers that each program gives in its own way, often by place; names are the files' own.
"""

import os
from pathlib import Path
from typing import Any

from solojax.data.annotations import ids
from solojax.data.findings import Findings, shorten
from solojax.data.images.names import Names
from solojax.types import InputError


def match(
    entries: list[Any], truth: dict[str, Any], path: Path, truth_path: Path, findings: Findings
) -> None:
    """Gives entries that carry a ``file_name`` the id that its image has in the truth.

    Without names, an ``image_id`` that is a text is taken for one, or for one without its ending,
    and entries with a number keep it. What is no entry at all is left to be found faulty.

    Args:
      entries: results, changed in place.
      truth: with the names of its images, from ``truths.read``.
      path: of the results, for people.
      truth_path: of the truth, for people.
      findings: what is told of it.

    Raises:
      InputError: a name is not the truth's, or not of one image alone; both sides are shown.
    """
    called = {image["id"]: image.get("file_name", "") for image in truth["images"]}
    names = Names(called)
    objects = {n: entry for n, entry in enumerate(entries) if isinstance(entry, dict)}
    named = {
        n: entry["file_name"]
        for n, entry in objects.items()
        if isinstance(entry.get("file_name"), str) and entry["file_name"]
    }
    cure = "take file_name out of the results where image_id is right"
    if named and not names.of_id:
        findings.add(
            "told",
            f"images are matched by image_id alone: {truth_path} names no files",
            count=len(set(named.values())),
        )
        return
    if named and len(named) < len(objects):
        first, lacks = next(iter(named)), next(n for n in objects if n not in named)
        raise InputError(
            f"{path}: results[{first}] has a file_name and results[{lacks}] has none; give it to "
            "all of them, or to none to go by image_id"
        )
    if not named:
        _take_keys(objects, truth)
        cure = "give it as its image_id"
        named = {n: e["image_id"] for n, e in objects.items() if _is_name(e.get("image_id"))}
        if not all(name in called.values() for name in named.values()):
            names = Names({i: os.path.splitext(name)[0] for i, name in called.items()})
    found, faults = _find(named, entries, names, called, truth_path)
    if faults:
        raise InputError(
            f"{path}: {shorten(faults, len(faults))}; predict with --gt {truth_path}, or {cure}"
        )
    changed = {named[n]: entries[n].get("image_id") for n in named}
    for name, given in changed.items():
        image_id = found[name]
        if not (given == image_id or _is_name(given)):
            findings.add(
                "repaired",
                f"images have another image_id in {truth_path}; they are matched by file_name",
                f"{name}: {image_id}, not {given}",
            )
        if not names.agree(name, image_id):
            findings.add(
                "doubtful",
                "images are matched by their names though their folders differ",
                f"{name} as {called[image_id]}",
            )
    for number, name in named.items():
        entries[number]["image_id"] = found[name]


def _take_keys(objects: dict[int, dict[str, Any]], truth: dict[str, Any]) -> None:
    """Follows the images of a truth that were numbered anew, since ids of theirs are texts."""
    numbers = {image.get("key"): image["id"] for image in truth["images"]}
    if any(isinstance(key, str) for key in numbers):
        for entry in objects.values():
            key = ids.read(entry.get("image_id"))
            entry["image_id"] = numbers.get(key, entry.get("image_id"))


def _find(
    named: dict[int, str],
    entries: list[Any],
    names: Names,
    called: dict[int, str],
    truth_path: Path,
) -> tuple[dict[str, int], list[str]]:
    """The image of each name, and what is wrong with names, each once."""
    found: dict[str, int] = {}
    faults: dict[str, str] = {}
    firsts: dict[str, int] = {}
    owners: dict[int, str] = {}
    for number, name in named.items():
        given, first = entries[number].get("image_id"), firsts.setdefault(name, number)
        if name in faults:
            continue
        if entries[first].get("image_id") != given:
            faults[name] = (
                f"results[{first}] and results[{number}] are both of {name!r}, with the image_id "
                f"{entries[first].get('image_id')!r} and {given!r}"
            )
        if name in found or name in faults:
            continue
        try:
            image_id = names.find(name)
        except ValueError as error:
            faults[name] = f"results[{number}]: {error}"
            continue
        if image_id is None:
            known = isinstance(given, int) and called.get(given)
            calls = f"calls image {given} {known!r}" if known else "has no such image"
            faults[name] = f"results[{number}] is of {name!r}, and {truth_path} {calls}"
        elif owners.setdefault(image_id, name) != name:
            faults[name] = (
                f"{owners[image_id]!r} and {name!r} are both image {image_id} of {truth_path}, "
                f"{called[image_id]!r}"
            )
        else:
            found[name] = image_id
    return found, list(faults.values())


def _is_name(image_id: Any) -> bool:
    return isinstance(image_id, str) and not image_id.strip().isdecimal()
