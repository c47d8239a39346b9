"""Takes validation images from a set that has training images alone."""

import collections
import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from tqdm import tqdm

from solojax.data.findings import Findings
from solojax.data.foreign.contents import Import, Picture
from solojax.types import InputError

ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.\w+$)")  # a.rf.<hash>.jpg: one of several of a.jpg


def divide(found: Import, share: float) -> Import:
    """Makes a ``share`` of the training images the validation images.

    They are those whose file names, without folders, have the lowest hashes: the same names give
    the same split on every machine, and a few more images move few others. At least one image with
    instances goes to each side; those without any are divided by themselves. Images of the same
    bytes, and the versions of one that Roboflow makes, go to one side, by the lowest hash of them.

    Raises:
      InputError: the share is not between 0 and 1, the set has validation images already, or has
        fewer than two images with instances.
    """
    if not 0 < share < 1:
        raise InputError(f"--val {share:g} must lie between 0 and 1, as in --val 0.2")
    if list(found.splits) != ["train"]:
        raise InputError(f"{found.source} has a val of its own; leave --val out")
    train = found.splits["train"]
    drawn: set[str] = set()
    families = _families(train.pictures)
    for filled in (True, False):
        group = [one for one in families if any(map(_is_labelled, one)) == filled]
        if filled and len(group) < 2:
            raise InputError(
                f"{found.source} has {len(group)} images with instances, and to divide them into "
                "train and val takes two that are not the same; label more"
            )
        whole = sum(map(len, group))
        count = max(round(share * whole), int(filled))
        for place, family in enumerate(sorted(group, key=lambda one: min(map(_lot, one)))):
            last = filled and place == len(group) - 1
            if count <= 0 or last:
                break
            drawn |= {picture.name for picture in family}
            count -= len(family)
    parts = {
        split: [picture for picture in train.pictures if (picture.name in drawn) == is_val]
        for split, is_val in (("train", False), ("val", True))
    }
    told = Findings()
    told.add(
        "told",
        f"of {len(train.pictures)} images taken for val by a hash of their file names: the same "
        "names give the same split",
        count=len(parts["val"]),
    )
    splits = {
        "train": train._replace(pictures=parts["train"]),
        "val": train._replace(pictures=parts["val"], findings=told),
    }
    return found._replace(splits=splits)


def _is_labelled(picture: Picture) -> bool:
    return bool(picture.instances or picture.label_map)


def _families(pictures: list[Picture]) -> list[list[Picture]]:
    """Images that are the same byte for byte, or were one before Roboflow made several of it."""
    parent = list(range(len(pictures)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    first: dict[str | bytes, int] = {}
    for number, picture in enumerate(tqdm(pictures, "comparing", unit="image")):
        for key in (hashlib.sha256(picture.load()).digest(), ROBOFLOW.sub("", picture.name)):
            parent[root(number)] = root(first.setdefault(key, number))
    families = collections.defaultdict(list)
    for number, picture in enumerate(pictures):
        families[root(number)].append(picture)
    return list(families.values())


def _lot(picture: Picture) -> tuple[str, str]:
    # File systems spell an accent as one character or as two.
    name = unicodedata.normalize("NFC", PurePosixPath(picture.name).name)
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), picture.name
