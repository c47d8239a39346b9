"""Where the JSONs and the images of a folder lie, when a config leaves it open."""

import fnmatch
import functools
import itertools
import os
import shlex
from collections.abc import Callable, Iterator
from typing import Literal

from etils.epath import Path

from solojax import config
from solojax.data.annotations import json_lists
from solojax.data.findings import shorten
from solojax.data.images import places as image_places
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.types import InputError

Split = Literal["train", "val"]
WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}  # names of folders
LOOKED_FOR = 10  # images, by which their folder is found; where none is, as many more
MOST_LOOKED_FOR = 1000
# Where COCO has it, beside the images (Roboflow), in a folder, in the root; all that fits counts.
JSONS = (
    ("annotations/instances_{}*.json",),
    ("{}/_annotations.coco.json", "{}/annotations.json", "{}/{}.json", "{}/labels.json"),
    ("annotations/{}*.json",),
    ("{}.json", "instances_{}*.json", "{}[-_.]*.json", "*[-_]{}.json"),
    ("annotations/panoptic_{}*.json",),  # whose things are the instances
)
IMAGES = ("{}2017", "{}", "images/{}2017", "images/{}", "{}/images", "{}/data")  # folders
# Of sets that are not split.
WHOLE = (
    ("annotations/instances_default.json", "annotations/instances.json"),
    ("_annotations.coco.json", "annotations.json", "instances.json", "coco.json"),
    ("result.json", "labels.json", "annotations/annotations.json"),
)


def locate(data: config.Data, split: Split) -> tuple[Path, Path]:
    """The JSON of a split, and the folder that its file names start from.

    Raises:
      InputError: there is no such folder, or ``data`` leaves the JSON open and there is not exactly
        one in its usual place.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.root")
    json, images = given(data, split)
    if json:
        json_path = root / json
    else:
        found = _usual_jsons(root, split)
        if len(found) != 1:
            names = ", ".join(str(path.relative_to(root)) for path in found)
            what = f"{len(found)} files for {split}, {names}" if found else "no file"
            other = ""
            if not found:
                other = f" annotations/instances_{split}*.json, {WORDS[split][-1]}.json"
                if others := (
                    _fitting(root, "*.json", _inside) + _fitting(root, "*/*.json", _inside)
                ):
                    there = [str(path.relative_to(root)) for path in others]
                    other += f", but {shorten(there, len(there), ', ')}"
            cure = f"set data.root or data.{split}_json"
            if split == "val" and not found and has_split(data, "train"):
                given_json = os.path.join(root, data.train_json) if data.train_json else root
                command = f"solojax data import coco {shlex.quote(os.fspath(given_json))} OUT"
                cure += f", or take some images of train by {command} --val 0.2"
            raise InputError(f"{root} has {what}{other}; {cure}")
        (json_path,) = found
    if images:
        return json_path, root / images
    return json_path, _images_of(root, json_path, split)


def has_split(data: config.Data, split: Split) -> bool:
    """Whether ``data`` names the annotations of a split, or the folder has any in their place."""
    if given(data, split)[0]:
        return True
    found = _usual_jsons(Path(data.root), split)
    return bool(found) and (split == "train" or found != _usual_jsons(Path(data.root), "train"))


def given(data: config.Data, split: Split) -> tuple[str, str]:
    """What the config says of a split: its JSON and its folder of images, empty where open."""
    if split == "train":
        return data.train_json, data.train_images
    return data.val_json, data.val_images


def _usual_jsons(root: Path, split: Split) -> list[Path]:
    """The JSONs in the first of the usual places that has any."""
    groups = [[one.format(word, word) for one in group for word in WORDS[split]] for group in JSONS]
    inside = functools.cache(_inside)
    for patterns in [*groups, *(WHOLE if split == "train" else ())]:
        if found := {path for pattern in patterns for path in _fitting(root, pattern, inside)}:
            # Those of this case, where there are such.
            plain = {path for path in found if any(path.match(one) for one in patterns)}
            return sorted(plain or found)
    return []


def _fitting(root: Path, pattern: str, inside: Callable[[Path], list[str]]) -> list[Path]:
    """What is below a folder, whose own name is no pattern, and fits one in upper or lower case."""
    found = [root]
    for part in pattern.lower().split("/"):
        found = [
            folder / name
            for folder in found
            for name in inside(folder)
            if fnmatch.fnmatchcase(name.lower(), part)
        ]
    return sorted(found)


def _inside(folder: Path) -> list[str]:
    """The names in a folder but for images and hidden ones; none where it is none."""
    if "://" not in os.fspath(folder):
        names = [*image_places.list_folder(os.fspath(folder))]
    else:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [one for one in names if one[0] != "." and not one.lower().endswith(IMAGE_ENDINGS)]


def _images_of(root: Path, json_path: Path, split: Split) -> Path:
    """The folder in which most of the first images are; where none is, the first usual one."""
    usual = [place.format(word) for place in IMAGES for word in WORDS[split]]
    inside = functools.cache(_inside)
    folders = [one for place in [*usual, "images", "data"] for one in _fitting(root, place, inside)]
    places = [*folders, root]
    beside = json_path.parent
    # Beside the images, and not in a folder of its own.
    if beside not in (root, root / "annotations"):
        places.insert(0, beside)
        folders.insert(0, beside)
    else:
        places.append(beside)
    names = itertools.islice(_names(json_path), MOST_LOOKED_FOR)
    while some := [*itertools.islice(names, LOOKED_FOR)]:
        count, _, place = max(
            (sum((place / name).exists() for name in some), -number, place)
            for number, place in enumerate(places)
        )
        if count:
            return place
    return next((one for one in folders if one.is_dir()), root)


def _names(json_path: Path) -> Iterator[str]:
    """The file names of the images that have one."""
    for _, _, entry in json_lists.elements(json_path, ("images",), "looking for images"):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if name and not image_places.fault_of_name(name):
            yield name.replace("\\", "/")
