"""Which file of a folder each image of a JSON is, also where its name is not quite the file's."""

import collections
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from etils.epath import Path

from solojax.data.findings import Findings
from solojax.data.images import places as image_places
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.data.images.names import folded

SEVERAL = "images whose file_name is found in several folders"
OTHER_FOLDER = "images found in a folder that their file_name does not name"
OTHER_NAME = "images found by a name that differs from their file_name in spelling or ending"


class Place(NamedTuple):
    """Where an image is; where there is a fault, the value that is at fault, and the cure."""

    path: Path
    fault: str
    value: str
    cure: str


def find(
    names: Mapping[int | str, Any], root: Path, follow_links: bool, findings: Findings
) -> dict[int | str, Place]:
    """The file of each image.

    Args:
      names: what the JSON has for its file_name, by id.
      root: the folder of images.
      follow_links: whether links may lead out of it.
      findings: takes those that are found elsewhere.
    """
    faulty = {key: image_places.fault_of_name(name) for key, name in names.items()}
    paths = {
        key: root / PurePosixPath(names[key].replace("\\", "/"))
        for key, fault in faulty.items()
        if not fault
    }
    places = image_places.look(paths.values(), root, follow_links)
    lost = {path for path in paths.values() if places[path].fault == image_places.MISSING}
    near = _near(lost, {*paths.values()} - lost, root) if lost else {}
    cures = {
        image_places.MISSING: f"none is in {root}; set data.train_images or data.val_images",
        image_places.LINK: "put the files there, or allow it by data.follow_links=true",
    }
    if len(lost) < len({*paths.values()}) or any(near.values()):
        cures[image_places.MISSING] = f"others are in {root}; put these there"
    read: dict[int | str, Place] = {}
    for key, name in names.items():
        if faulty[key]:
            cure = "write its path from the folder of images on"
            read[key] = Place(root, faulty[key], f"{name!r:.60}", cure)
            continue
        path = paths[key]
        fault, value = places[path].fault, ""
        elsewhere = near.get(path, [])
        if len(elsewhere) == 1:
            what = OTHER_FOLDER if PurePosixPath(elsewhere[0]).name == path.name else OTHER_NAME
            findings.add("repaired", what, f"image {key}: {elsewhere[0]}")
            path = root / elsewhere[0]
            fault = image_places.look([path], root, follow_links)[path].fault
        elif elsewhere:
            fault, value = SEVERAL, ", ".join(elsewhere[:3])
            cures[SEVERAL] = "write the folder into the file_name of each"
        read[key] = Place(path, fault, value, cures.get(fault, ""))
    return read


def _near(lost: set[Path], taken: set[Path], root: Path) -> dict[Path, list[str]]:
    """The files, from ``root`` on, that may be meant by paths where nothing is.

    They are those that are nearest, of which no other image has one. A file that two of the paths
    may mean is none of theirs.
    """
    free = [one for one in image_places.below(root) if root / one not in taken]
    found: dict[Path, list[str]] = {}
    for form in (_spelling, _base, _base_spelling, _stem):
        files = collections.defaultdict(list)
        for one in free:
            files[form(one)].append(one)
        for path in lost - found.keys():
            if there := files.get(form(path.relative_to(root).as_posix())):
                found[path] = there
    claims = collections.Counter(one for there in found.values() for one in there)
    return {path: there for path, there in found.items() if max(map(claims.get, there)) == 1}  # type: ignore[type-var]


# What a name and its file have in common, from what is nearest on.
def _spelling(path: str) -> str:
    return folded(unquote(path))  # addresses write blanks as %20


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _base_spelling(path: str) -> str:
    return _spelling(_base(path))


def _stem(path: str) -> str:
    """In the same folder, for masks are called as their images are."""
    name = _spelling(path)
    ending = PurePosixPath(name).suffix
    return name.removesuffix(ending).rstrip() if ending in IMAGE_ENDINGS else name
