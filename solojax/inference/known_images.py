"""The ids that a ground truth has for images that are predicted on, by the names of their files."""

import os
from pathlib import Path
from typing import NamedTuple

from etils import epath

from solojax.data import annotations
from solojax.data.findings import shorten
from solojax.data.images.names import Names
from solojax.inference.sources import Inputs
from solojax.types import InputError


class Known(NamedTuple):
    """An image as a ground truth has it."""

    id: int
    name: str


def find(inputs: Inputs, path: Path) -> tuple[Inputs, list[Known], list[str]]:
    """The inputs that a COCO JSON knows, and how; the others are left out.

    Args:
      inputs: images alone.
      path: of the JSON, of which the list of images is read.

    Returns:
      The inputs that are left, what each of their images is in the JSON, and lines for people.

    Raises:
      InputError: the JSON is faulty or names none of the images, a name is one of several, two
        files are the same image, or there are videos.
    """
    if inputs.videos or inputs.webcams:
        raise InputError(f"--gt {path} has ids of images; leave videos and webcams out")
    if not path.is_file():
        raise InputError(f"--gt {path}: no such file")
    names = Names({image.id: image.name for image in annotations.read_images(epath.Path(path))})
    if not names.of_id:
        raise InputError(f"--gt {path} names no image files, so none can be found in it")
    owners: dict[int, Path] = {}
    for image in inputs.images:
        try:
            image_id = names.find(os.path.abspath(image))
        except ValueError as error:
            raise InputError(f"--gt {path}: {error}") from None
        if image_id is None:
            continue
        if image_id in owners:
            raise InputError(
                f"--gt {path}: {owners[image_id]} and {image} are both its image {image_id}, "
                f"{names.of_id[image_id]!r}; predict on one of them"
            )
        owners[image_id] = image
    others = [str(image) for image in inputs.images if image not in set(owners.values())]
    if not owners:
        first = next(iter(names.of_id.values()))
        raise InputError(
            f"--gt {path} has none of the {len(others)} images: its names are such as {first!r}, "
            f"not {others[0]!r}"
        )
    told = []
    if others:
        told.append(
            f"{len(others)} images are left out, which {path} does not have: "
            f"{shorten(others, len(others), ', ')}"
        )
    if absent := [name for image_id, name in names.of_id.items() if image_id not in owners]:
        told.append(
            f"{len(absent)} images of {path} are not predicted on, and score as if nothing were "
            f"found: {shorten(absent, len(absent), ', ')}"
        )
    known = [Known(image_id, names.of_id[image_id]) for image_id in owners]
    return inputs._replace(images=list(owners.values())), known, told
