"""The images of a COCO file: their ids, where their files lie, and their sides."""

import collections
import operator
import os
from typing import Any, NamedTuple

from etils.epath import Path

from solojax import config, progress
from solojax.data.annotations import ids
from solojax.data.annotations.instances import Image
from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import search as image_search
from solojax.types import InputError

MOST_PIXELS = 2**31  # run lengths are counted in 32 bits
UNREADABLE = "images that cannot be read"
SIDES = ("height", "width")
EXCHANGED = 5  # and above: EXIF orientations that exchange the sides


class Images(NamedTuple):
    """What annotations name, by the id as ``ids.read`` reads it."""

    images: dict[int | str, Image]
    scales: dict[int, tuple[float, float]]  # of images made larger or smaller: (x, y), by id
    gone: dict[int | str, list[Any]]  # of those left out, for the ids of their annotations


class _Entry(NamedTuple):
    key: int | str
    name: str
    height: int  # 0 where the JSON has none
    width: int
    about: dict[str, Any]


def read(
    entries: list[Any],
    path: Path,
    root: Path | None,
    data: config.Data,
    findings: Findings,
    faults: Faults,
) -> Images:
    """Reads and checks the entries of the list.

    Args:
      entries: as the JSON has them.
      path: of the JSON, for people.
      root: the folder of images; where None, there need be none, nor names.
      data: what is done with faults.
      findings: what is told.
      faults: what is refused or left out.

    Raises:
      InputError: nothing tells how large an image is.
    """
    read = Images({}, {}, {})
    found = _check(entries, findings, faults, read.gone)
    numbers = ids.number([one.key for one in found])
    if any(isinstance(one.key, str) for one in found):
        what = "image ids that are text, numbered anew: results name their images by file_name"
        findings.add_all("repaired", what, [f"{one.key!r} is {numbers[one.key]}" for one in found])
    first: dict[str, int | str] = {}
    places: dict[int | str, image_search.Place] = {}
    if root is not None:
        names = {one.key: one.about.get("file_name") for one in found}
        places = image_search.find(names, root, data.follow_links, findings)
    for one in progress.bar(found, "looking at images", unit="image"):
        image_id, where, sides = numbers[one.key], Path(), (one.height, one.width)
        fault, value, cure = "", "", ""
        if root is not None:
            where, fault, value, cure = places[one.key]
            asked = data.faults == "repair" or data.stretched
            if not fault and (max(sides) <= 1 or not min(sides) or asked):
                try:
                    sides, scale = _measure(one, where, data, findings)
                except InputError as error:
                    fault, value = UNREADABLE, str(error)
                except ValueError as error:
                    fault, value = "images with one side, which is not the file's", str(error)
                    cure = "give both"
                else:
                    if scale != (1, 1):
                        read.scales[image_id] = scale
        elif not min(sides):
            raise InputError(
                f"{path}: image {one.key} ({one.name}) has no height and width above 0; give both"
            )
        if not fault and sides[0] * sides[1] >= MOST_PIXELS:
            fault, value = f"images of {MOST_PIXELS} pixels or more", f"{sides[1]}x{sides[0]}"
        if fault:
            read.gone[one.key] = []
            faults.add_image(fault, one.about["id"], one.name, read.gone[one.key], value, cure)
        else:
            file = os.fspath(where) if root is not None else one.name
            if (other := first.setdefault(file, one.key)) != one.key and file:
                cure = "make one of them, or give each its own file, with its folder"
                shown = f"images {other} and {one.key} ({one.name})"
                findings.add(
                    "doubtful", "image files are named by several images", shown, cure=cure
                )
            read.images[one.key] = Image(image_id, where, *sides, [], one.name)
    return read


def _check(entries: list[Any], findings: Findings, faults: Faults, gone: dict) -> list[_Entry]:
    """What the entries say, each image once; those that say nothing of use are faults."""
    read = collections.defaultdict[int | str, list[_Entry]](list)
    for number, entry in enumerate(entries):
        place = f"[{number}]"
        if not isinstance(entry, dict):
            what, cure = "entries of images that are no objects", "write id, file_name and sides"
            faults.add_image(what, place, "", [], f"{entry!r:.60}", cure)
            continue
        given: Any = entry.get("id")
        key = ids.read(given)
        name = entry["file_name"] if isinstance(entry.get("file_name"), str) else ""
        if key is None:
            what = "images without an id"
            if type(given) in (int, float) and abs(given) >= 2**53:
                what = "images whose id is too large"
            cure = "give it a whole number below 2**63, which the image_id of its annotations names"
            faults.add_image(what, place, name, [], f"{given!r:.60}", cure)
            continue
        if type(given) is not int and isinstance(key, int):
            findings.add("repaired", "image ids read as whole numbers", repr(given))
        sides = [_side(entry.get(side)) for side in SIDES]
        if None in sides:
            side = SIDES[sides.index(None)]
            gone.setdefault(key, [])
            what, value = "images with a side that is none", f"{side} {entry[side]!r:.40}"
            faults.add_image(what, given, name, gone[key], value, "give pixels, 1 or more")
        else:
            height, width = (side or 0 for side in sides)
            read[key].append(_Entry(key, name, height, width, entry))
    found = []
    for key, same in read.items():
        first = same[0]
        others = [one for one in same if one[:-1] != first[:-1]]
        if key in gone or others:
            gone.setdefault(key, [])
            other = others[0] if others else first
            value = f"as {first.name!r} and as {other.name!r}"
            if first.about["id"] != other.about["id"]:
                value += f", {first.about['id']!r} and {other.about['id']!r} being one number"
            for one in (first, *others):
                what, cure = "images with an id that others have", "give each an id of its own"
                faults.add_image(what, key, one.name, gone[key], value, cure)
            continue
        found.append(first)
        for one in same[1:]:
            findings.add("repaired", "images that are listed twice", f"image {key} ({one.name})")
    return found


def _side(value: Any) -> int | None:
    """A side in pixels; 0 where there is none, None where it can be none."""
    if value is None or value == 0 or value in ("", "0"):
        return 0
    read = ids.read(value)
    return read if isinstance(read, int) and read >= 1 else None


def _measure(
    one: _Entry, path: Path, data: config.Data, findings: Findings
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The (height, width) that masks are to have, and the scale (x, y) of their coordinates.

    Raises:
      InputError: the file is no image.
      ValueError: it has not the one side that is stated.
    """
    shown = f"image {one.key} ({one.name})"
    stated, (sides, turned) = (one.height, one.width), _sides_of(path)
    if max(stated) <= 1 or not min(stated):  # exporters write 1 as well
        frames = [sides, sides[::-1]] if turned else [sides]
        for frame in frames:
            if max(stated) <= 1 or any(map(operator.eq, stated, frame)):
                findings.add("repaired", "images without sides, taken from their files", shown)
                return frame, (1, 1)
        raise ValueError(f"{path} is {sides[1]}x{sides[0]}, not {stated[1]}x{stated[0]}")
    shown += f": {sides[1]}x{sides[0]}, not {stated[1]}x{stated[0]}"
    if stated == sides[::-1] and stated != sides:
        if turned and data.stretched:
            what = "photos that EXIF turns, whose masks are shares of them stretched to the file"
            findings.add("repaired", what, shown)
            return sides, (sides[1] / stated[1], sides[0] / stated[0])
        if turned or data.faults != "repair":  # annotated as stored, maybe
            return stated, (1, 1)
        findings.add("repaired", "images whose sides were exchanged (width x height)", shown)
        return sides, (1, 1)
    y, x = sides[0] / stated[0], sides[1] / stated[1]
    if data.faults != "repair" or not is_scaled(stated, sides):  # told of when it is decoded
        return stated, (1, 1)
    what = "images of another size than annotated, whose masks are scaled (width x height)"
    findings.add("repaired", what, shown)
    return sides, (x, y)


def is_scaled(stated: tuple[int, int], sides: tuple[int, int]) -> bool:
    """Whether an image of those sides has the shape that is stated, but another size."""
    y, x = sides[0] / stated[0], sides[1] / stated[1]
    return (x - 1) * (y - 1) > 0 and abs(x - y) * max(stated) <= 1


def _sides_of(path: Path) -> tuple[tuple[int, int], bool]:
    """The (height, width) of an image as it is shown, and whether EXIF has exchanged them.

    Raises:
      InputError: it is none.
    """
    encoded = image_files.read_file(path)
    header = image_headers.read(encoded)
    if header is None:
        raise InputError(f"{path} {image_files.describe_fault(encoded)}")
    turned = header.orientation >= EXCHANGED
    sides = header.height, header.width
    return (sides[::-1] if turned else sides), turned
