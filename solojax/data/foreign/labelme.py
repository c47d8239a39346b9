"""labelme: a JSON beside each image, with polygons, rectangles, circles and masks."""

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import STRICT, Import, OtherFormError
from solojax.data.foreign.files import (
    check_name,
    file_called,
    files_in,
    folder_called,
    folder_of,
    from_base64,
    split_folders,
)
from solojax.data.foreign.labelme_shapes import read_shape
from solojax.data.foreign.regions import Drawing, assemble
from solojax.data.foreign.texts import load
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.types import InputError


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the labelme JSONs below ``source``: polygons, boxes, circles and masks.

    Shapes of one label that share a ``group_id`` are one instance. All is train, unless ``source``
    has both folders ``train`` and ``val``. Classes are numbered from 1 in the order of their names.
    An image is looked for where ``imagePath`` says, then beside the JSON, then embedded in it, in
    ``images`` beside its folder, and is at last one beside it that is called as the JSON is. Its
    own size counts, not the one that the JSON states, unless the sides are exchanged by EXIF.
    Images without a JSON are left out.

    Raises:
      InputError: a JSON is not labelme's, a coordinate is no number, an image is missing.
    """
    source = folder_of(source)
    folders = split_folders(source) or {"train": source}
    findings = {split: Findings() for split in folders}
    drawings: dict[str, list[Drawing]] = {split: [] for split in folders}
    for split, folder in folders.items():
        files = tqdm(files_in(folder, (".json",)), f"reading {split}", unit="file")
        for path in files:
            with faults.one_image(path.relative_to(source).as_posix()):
                drawings[split].append(_read_drawing(path, source, findings[split]))
    return assemble("labelme", source, drawings, findings, faults)


def _read_drawing(path: Path, source: Path, findings: Findings) -> Drawing:
    content = load(path, json.loads)
    shapes, named = content.get("shapes"), content.get("imagePath")
    if (
        not isinstance(shapes, list)
        or not isinstance(named, str | None)
        or "imagePath" not in content
    ):
        raise OtherFormError(
            f"{path} is not labelme's: no 'shapes' or no 'imagePath'; move it away"
        )
    place = path.relative_to(source).as_posix()
    flags = content.get("flags")
    if isinstance(flags, dict) and any(flags.values()):
        findings.add("told", "images with a flag set; flags are not kept", place)
    read = [
        read_shape(shape, path, f"{place}: shapes[{number}]", findings)
        for number, shape in enumerate(shapes)
    ]
    image, load_image = _find_image(
        path, (named or "").replace("\\", "/"), bool(content.get("imageData")), source, findings
    )
    stated = content.get("imageHeight"), content.get("imageWidth")
    return Drawing(path, image, load_image, stated, [region for region in read if region])


def _find_image(
    path: Path, named: str, embedded: bool, source: Path, findings: Findings
) -> tuple[Path, Callable[[], bytes]]:
    """The place of the image of a labelme file, within ``source``, and what loads it."""
    if named:
        beside = path.parent / check_name(PurePosixPath(named).name, path)
        for place in (Path(os.path.abspath(path.parent / named)), beside):
            if place.is_relative_to(source) and (file := file_called(place)):
                return file, file.read_bytes
        if embedded:
            return beside, functools.partial(_embedded, path)
        for place in _among_images(beside, source):
            if file := file_called(place):
                return file, file.read_bytes
    for ending in IMAGE_ENDINGS:
        if file := file_called(path.with_suffix(ending)):
            what = "images that are not where imagePath says, taken from beside their JSON"
            findings.add("repaired", what, file.relative_to(source).as_posix())
            return file, file.read_bytes
    raise InputError(f"{path}: the image {named!r} is missing; put it beside the JSON")


def _among_images(path: Path, source: Path) -> Iterator[Path]:
    """What a path is in a folder of images beside its own, or beside one above it."""
    for folder in path.parents:
        if folder == source or not folder.is_relative_to(source):
            return
        if images := folder_called(folder.parent, ("images", "image", "imgs", "img")):
            yield images / path.relative_to(folder)


def _embedded(path: Path) -> bytes:
    return from_base64(load(path, json.loads).get("imageData"), f"{path}: imageData")
