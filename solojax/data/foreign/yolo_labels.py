"""The text files of YOLO: which is of which image, and the polygons in it."""

from pathlib import Path
from typing import Any

import numpy as np

from solojax.data.findings import Findings
from solojax.data.foreign.contents import Picture, Size, from_polygons, skip
from solojax.data.foreign.files import files_in, size_of
from solojax.data.foreign.texts import lines_of
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.types import InputError

SLACK = 0.1  # beyond 0..1, where drawing and rounding may lead; further out it is pixels
NO_LABELS = ("classes.txt", "notes.txt", "readme.txt", "train.txt", "val.txt", "test.txt")


class Labels:
    """Reads the images of a set with their labels, and knows which label files were of use."""

    def __init__(self, root: Path, names: dict[int, str]) -> None:
        self._root = root
        self._names = names
        self._files: dict[Path, dict[str, list[Path]]] = {}  # folder -> lower-case name -> files
        self._used: set[Path] = set()

    def read(self, image: Path, findings: Findings) -> Picture:
        """An image and its instances.

        Raises:
          InputError: a line of its label file has an unknown class or coordinates that are not
            pairs in 0..1, or the image is damaged or lies outside of the set.
        """
        if not image.is_relative_to(self._root):
            raise InputError(
                f"{image} is not below {self._root}; set path in data.yaml to a folder of all"
            )
        encoded = image.read_bytes()
        size = size_of(encoded, image)
        parts, place = image.relative_to(self._root).parts, self._place(image)
        folder = _last(parts[:-1], "images")
        name = "/".join(parts if folder is None else (*parts[:folder], *parts[folder + 1 :]))
        path, instances = self._find(image, findings), []
        if path is None:
            findings.add("told", "images without a label file, read as empty ones", place)
        else:
            self._used.add(path)
            for number, line in enumerate(lines_of(path), 1):
                instances += self._read_line(line, path, number, size, findings)
        return Picture(name, image, image.read_bytes, size, instances, {})

    def report(self, findings: Findings) -> None:
        """Tells of label files beside those that were read of which no image has the name."""
        stems = {path.stem.lower() for path in files_in(self._root, IMAGE_ENDINGS)}
        for folder in list(self._files):
            for path in sorted(path for paths in self._files[folder].values() for path in paths):
                of_none = path not in self._used and path.stem.lower() not in stems
                if of_none and path.name.lower() not in NO_LABELS:
                    findings.add(
                        "lost",
                        "label files without an image",
                        self._place(path),
                        cure="give each the name of its image, or delete it",
                    )

    def _place(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _find(self, image: Path, findings: Findings) -> Path | None:
        """The label file of an image: in ``labels`` for ``images``, or beside it."""
        for folder in self._folders(image.parent):
            files = self._listing(folder)
            for stem in (image.stem, image.name):
                found = files.get(f"{stem.lower()}.txt", [])
                exact = [path for path in found if path.name == f"{stem}.txt"]
                if exact and stem == image.stem:
                    return exact[0]
                if len(found) == 1 and found[0] not in self._used:
                    what = "label files whose names differ from their images' by case or ending"
                    findings.add("repaired", what, self._place(found[0]))
                    return found[0]
        return None

    def _folders(self, folder: Path) -> list[Path]:
        """Where the labels of the images in a folder may lie, the likeliest first."""
        parts = folder.relative_to(self._root).parts
        place, found = _last(parts, "images"), []
        if place is not None:  # labels in place of the last images
            found.append(self._root.joinpath(*parts[:place], "labels", *parts[place + 1 :]))
        # Beside the images, then in a folder of labels beside their folder or one above it.
        found.append(folder)
        for depth in range(len(parts), -1, -1):
            found.append(self._root.joinpath(*parts[:depth], "labels", *parts[depth:]))
        return found

    def _listing(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._files:
            files: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.name.lower().endswith(".txt") and path.name[0] != ".":
                    files.setdefault(path.name.lower(), []).append(path)
            self._files[folder] = files
        return self._files[folder]

    def _read_line(
        self, line: str, path: Path, number: int, size: Size, findings: Findings
    ) -> list[dict[str, Any]]:
        where, place = f"{path}, line {number}", f"{self._place(path)}:{number}"
        if not line.strip():
            return []
        try:
            category, *polygon = map(float, line.split())
        except ValueError:
            raise InputError(f"{where} is not a class and numbers; correct it") from None
        if category not in self._names:
            raise InputError(f"{where}: class {category:g} is not among names; add it to data.yaml")
        wrong = [value for value in polygon if not -SLACK <= value <= 1 + SLACK]
        if set(wrong) == {2} and len(polygon) % 3 == 1:  # a box, and then points that are seen
            raise InputError(
                f"{where} seems to be a pose, not a polygon; export the set as segmentation"
            )
        if wrong:
            raise InputError(
                f"{where}: coordinates must be in 0..1, and {wrong[0]:g} is not; divide pixels by "
                f"the image's sides, {size[1]} and {size[0]}"
            )
        if len(polygon) % 2:
            raise InputError(f"{where}: {len(polygon)} numbers follow the class, not x y pairs")
        if len(polygon) == 4:
            cure = "export the set as segmentation, with polygons"
            skip(findings, "box without a mask", place, cure)
            return []
        points = np.reshape(polygon, (-1, 2))
        inside = points.clip(0, 1)
        if (points != inside).any():
            what = "polygons that leave their image a little, clipped to it"
            findings.add("repaired", what, place)
        pixels = (inside * size[::-1]).ravel().tolist()
        return from_polygons([pixels], int(category), size, findings, place)


def _last(parts: tuple[str, ...], name: str) -> int | None:
    """The place of the last folder of that name."""
    return max((i for i, part in enumerate(parts) if part.lower() == name), default=None)
