"""YOLO segmentation: a ``data.yaml``, and a text file of polygons for each image."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from solojax.data.foreign.contents import (
    SPLITS,
    Import,
    Picture,
    Skipped,
    Split,
    categories_of,
    from_polygons,
)
from solojax.data.foreign.files import files_in, lines_of, load, size_of
from solojax.data.image_files import IMAGE_ENDINGS
from solojax.types import InputError

SLACK = 0.01  # beyond 0..1, where rounding may lead; further out it is pixels


def read(source: Path) -> Import:
    """Reads the YOLO segmentation set of a ``data.yaml``, or of the folder that holds one.

    ``train`` and ``val`` are folders, lists of folders or ``.txt`` lists of images, below ``path``.
    The polygons of ``images/a.jpg`` are in ``labels/a.txt``; without that file it has none. Class
    ``i`` gets the category id ``i``. Lines of five numbers are boxes: skipped, they have no mask.

    Raises:
      InputError: ``data.yaml`` has no names or names missing images, or a line of a label file has
        an unknown class or coordinates that are not pairs in 0..1.
    """
    path = Path(os.path.abspath(source))
    path = path / "data.yaml" if path.is_dir() else path
    about = load(path, yaml.safe_load)
    # A path that leads nowhere is one of the machine that the set was made on.
    root = Path(os.path.abspath(path.parent / str(about.get("path") or "")))
    root = root if root.is_dir() else path.parent
    names = about.get("names")
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if (
        not names
        or not isinstance(names, dict)
        or not all(type(i) is int and i >= 0 for i in names)
    ):
        raise InputError(f"{path} has no names of classes; add them, as in names: [cat, dog]")
    categories = categories_of({index: str(names[index]) for index in sorted(names)})
    splits = {}
    for split in SPLITS:
        if entries := about.get(split):
            entries = entries if isinstance(entries, list) else [entries]
            images = [image for entry in entries for image in _listed(str(entry), root, path)]
            bar = tqdm(list(dict.fromkeys(images)), f"reading {split}", unit="image")
            skipped = Skipped()
            pictures = [_read_image(image, root, names, skipped) for image in bar]
            splits[split] = Split(categories, pictures, skipped, {})
    if not splits:
        raise InputError(f"{path} has neither train nor val; add the folders of the images")
    return Import("yolo", root, splits)


def _listed(entry: str, root: Path, yaml_path: Path) -> list[Path]:
    """The images of an entry of train or val."""
    entry = entry.replace("\\", "/")
    path = root / entry
    if not path.exists() and entry.startswith("../"):  # Roboflow's, meant from a folder further in
        path = root / entry[3:]
    path = Path(os.path.abspath(path))
    if path.is_dir():
        return files_in(path, IMAGE_ENDINGS)
    if path.suffix != ".txt" or not path.is_file():
        raise InputError(f"{yaml_path}: {path} is no folder or .txt list; correct path, train, val")
    images = []
    for name in filter(None, map(str.strip, lines_of(path))):
        places = [os.path.abspath(base / name.replace("\\", "/")) for base in (path.parent, root)]
        image = next(filter(os.path.isfile, places), None)
        if image is None:
            raise InputError(f"{path}: the image {name!r} is missing; correct the list")
        images.append(Path(image))
    return images


def _read_image(image: Path, root: Path, names: dict[int, Any], skipped: Skipped) -> Picture:
    if not image.is_relative_to(root):
        raise InputError(f"{image} is not below {root}; set path in data.yaml to a folder of all")
    parts = image.relative_to(root).parts
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    name, labels = parts, parts  # labels lie beside the images where no folder is called so
    if folders:
        head, tail = parts[: folders[-1]], parts[folders[-1] + 1 :]
        name, labels = (*head, *tail), (*head, "labels", *tail)
    path = root.joinpath(*labels).with_suffix(".txt")
    size, instances = size_of(image.read_bytes(), image), []
    for number, line in enumerate(lines_of(path), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            category, *polygon = map(float, line.split())
        except ValueError:
            raise InputError(f"{where} is not a class and numbers; correct it") from None
        if category not in names:
            raise InputError(f"{where}: class {category:g} is not among names; add it to data.yaml")
        if not all(-SLACK <= value <= 1 + SLACK for value in polygon):
            raise InputError(f"{where}: coordinates must be in 0..1, divided by the image's sides")
        if len(polygon) % 2:
            raise InputError(f"{where}: {len(polygon)} numbers follow the class, not x y pairs")
        if len(polygon) == 4:
            skipped["box without a mask"] += 1
            continue
        pixels = (np.reshape(polygon, (-1, 2)) * size[::-1]).ravel().tolist()
        instances += from_polygons([pixels], int(category), size, skipped)
    return Picture("/".join(name), image, image.read_bytes, size, instances, {})
