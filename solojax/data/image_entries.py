"""The images of a COCO file: their ids, where their files lie, and their sides."""

import os
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from etils.epath import Path
from tqdm import tqdm

from solojax import config
from solojax.data import ids, image_files, image_headers, image_places
from solojax.data.findings import Findings
from solojax.data.instances import Image
from solojax.data.json_lists import BAR_DELAY
from solojax.data.left_out import Faults
from solojax.types import InputError

MOST_PIXELS = 2**31  # run lengths are counted in 32 bits
UNREADABLE = "images that cannot be read"
SEVERAL = "images whose file_name is found in several folders"
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
      InputError: an entry is no image, two share an id, or nothing tells how large one is.
    """
    found = _check(entries, path, root, findings)
    numbers = ids.number([one.key for one in found])
    if any(isinstance(one.key, str) for one in found):
        what = "image ids that are text, numbered anew: results name their images by file_name"
        findings.add_all("repaired", what, [f"{one.key!r} is {numbers[one.key]}" for one in found])
    places = _find(found, root, data, findings) if root is not None else {}
    read = Images({}, {}, {})
    first: dict[str, int | str] = {}
    for one in tqdm(found, "looking at images", unit="image", delay=BAR_DELAY):
        image_id, where, sides = numbers[one.key], Path(), (one.height, one.width)
        fault, value, cure = "", "", ""
        if root is not None:
            where, fault, value, cure = places[one.key]
            if not fault and (not min(sides) or data.faults == "repair"):
                try:
                    sides, scale = _measure(one, where, findings)
                except InputError as error:
                    fault, value = UNREADABLE, str(error)
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


def _check(entries: list[Any], path: Path, root: Path | None, findings: Findings) -> list[_Entry]:
    """What the entries say, each image once."""
    found: dict[int | str, _Entry] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: images[{number}] is not an object: {entry!r:.60}")
        key = ids.read(entry.get("id"))
        name = entry["file_name"] if isinstance(entry.get("file_name"), str) else ""
        if key is None:
            raise InputError(
                f"{path}: images[{number}] ({name}) has the id {entry.get('id')!r:.60}; give it a "
                "whole number, which the image_id of its annotations names"
            )
        if type(entry["id"]) is not int and isinstance(key, int):
            what = "image ids read as whole numbers"
            findings.add("repaired", what, repr(entry["id"]))
        where = f"{path}: image {key} ({name})"
        height, width = (_side(entry.get(side), side, where) for side in SIDES)
        if key in found and found[key].about != entry:
            raise InputError(
                f"{path}: image id {key} occurs twice, as {found[key].name!r} and as {name!r}; "
                "give each an id of its own"
            )
        if key in found:
            findings.add("repaired", "images that are listed twice", f"image {key} ({name})")
        else:
            found[key] = _Entry(key, name, height, width, entry)
    return list(found.values())


def _side(value: Any, side: str, where: str) -> int:
    """A side in pixels; 0 where there is none."""
    if value is None or value == 0 or value in ("", "0"):
        return 0
    read = ids.read(value)
    if not isinstance(read, int) or read < 1:
        raise InputError(f"{where} has the {side} {value!r:.40}; give pixels, 1 or more")
    return read


def _find(
    found: list[_Entry], root: Path, data: config.Data, findings: Findings
) -> dict[int | str, tuple[Path, str, str, str]]:
    """The file of each image, what is wrong with it, the value that is, and the cure."""
    faulty = {one.key: image_places.fault_of_name(one.about.get("file_name")) for one in found}
    paths = {
        one.key: root / PurePosixPath(one.name.replace("\\", "/"))
        for one in found
        if not faulty[one.key]
    }
    places = image_places.look(paths.values(), root, data.follow_links)
    lost = [key for key, path in paths.items() if places[path].fault == image_places.MISSING]
    names = image_places.below(root) if lost else {}
    cures = {
        image_places.MISSING: f"none is in {root}; set data.train_images or data.val_images",
        image_places.LINK: "put the files there, or allow it by data.follow_links=true",
    }
    read: dict[int | str, tuple[Path, str, str, str]] = {}
    for one in found:
        if faulty[one.key]:
            cure = "write its path from the folder of images on"
            shown = f"{one.about.get('file_name')!r:.60}"
            read[one.key] = root, faulty[one.key], shown, cure
            continue
        path = paths[one.key]
        fault = places[path].fault
        if fault == image_places.MISSING:
            elsewhere = names.get(path.name, [])
            if len(elsewhere) == 1:
                path = root / elsewhere[0]
                fault = image_places.look([path], root, data.follow_links)[path].fault
                what = "images found in a folder that their file_name does not name"
                findings.add("repaired", what, f"image {one.key}: {elsewhere[0]}")
            elif elsewhere:
                fault, shown = SEVERAL, ", ".join(elsewhere[:3])
                read[one.key] = path, fault, shown, "write the folder into the file_name of each"
                continue
        read[one.key] = path, fault, "", cures.get(fault, "")
    return read


def _measure(
    one: _Entry, path: Path, findings: Findings
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The (height, width) that masks are to have, and the scale (x, y) of their coordinates.

    Raises:
      InputError: the file is no image.
    """
    shown = f"image {one.key} ({one.name})"
    stated, (sides, turned) = (one.height, one.width), _sides_of(path)
    if not min(stated):
        findings.add("repaired", "images without sides, taken from their files", shown)
        return sides, (1, 1)
    shown += f": {sides[1]}x{sides[0]}, not {stated[1]}x{stated[0]}"
    if stated == sides[::-1] and stated != sides:
        if turned:  # annotated as stored, maybe
            return stated, (1, 1)
        findings.add("repaired", "images whose sides were exchanged (width x height)", shown)
        return sides, (1, 1)
    y, x = sides[0] / stated[0], sides[1] / stated[1]
    if not is_scaled(stated, sides):  # told of when it is decoded
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
