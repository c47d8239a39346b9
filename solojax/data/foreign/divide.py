"""Takes validation images from a set that has training images alone."""

import hashlib
import unicodedata
from pathlib import PurePosixPath

from solojax.data.findings import Findings
from solojax.data.foreign.contents import Import, Picture, Split
from solojax.types import InputError


def divide(found: Import, share: float) -> Import:
    """Makes a ``share`` of the training images the validation images.

    They are those whose file names, without folders, have the lowest hashes: the same names give
    the same split on every machine, and a few more images move few others. At least one image with
    instances goes to each side; those without any are divided by themselves.

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
    for filled in (True, False):
        group = [picture for picture in train.pictures if bool(picture.instances) == filled]
        if filled and len(group) < 2:
            raise InputError(
                f"{found.source} has {len(group)} images with instances, and --val needs two"
            )
        count = round(share * len(group))
        count = min(max(count, 1), len(group) - 1) if filled else count
        drawn |= {picture.name for picture in sorted(group, key=_lot)[:count]}
    parts = {
        split: [picture for picture in train.pictures if (picture.name in drawn) == is_val]
        for split, is_val in (("train", False), ("val", True))
    }
    told = Findings()
    told.add(
        "told",
        f"of {len(train.pictures)} images taken for val by a hash of their file names: the same "
        "names give the same split",
        count=len(drawn),
    )
    splits = {
        "train": train._replace(pictures=parts["train"]),
        "val": Split(train.categories, parts["val"], told, train.extra),
    }
    return found._replace(splits=splits)


def _lot(picture: Picture) -> tuple[str, str]:
    # File systems spell an accent as one character or as two.
    name = unicodedata.normalize("NFC", PurePosixPath(picture.name).name)
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), picture.name
