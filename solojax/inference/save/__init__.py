"""Predictions into files: pictures and films for people, JSON, XML and id maps for programs.

Each file takes its name when it is whole; what an interruption leaves has all rows up to it. A form
is a module of this folder with a class like ``files.Form``.
"""

import collections
import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.cvat import Cvat
from solojax.inference.save.detections import Detections
from solojax.inference.save.files import Form
from solojax.inference.save.id_maps import IdMaps
from solojax.inference.save.label_maps import LabelMaps
from solojax.inference.save.label_studio import LabelStudio
from solojax.inference.save.overlays import Overlays
from solojax.inference.save.panoptic import Panoptic
from solojax.inference.save.polygons import Polygons
from solojax.inference.save.results import Results
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from solojax.types import InputError

FORMS: dict[str, type[Form]] = {
    "json": Detections,
    "rle": Results,
    "polygons": Polygons,
    "png": IdMaps,
    "label-studio": LabelStudio,
    "cvat": Cvat,
    "labels": LabelMaps,
    "panoptic": Panoptic,
}
LONGEST_NAME = 200  # bytes; file systems allow 255, and endings are added


class Files:
    """The files of a prediction in one folder, made when there are none.

    The image ids are the same in all. Of a video every frame is an image.

    Args:
      out: the folder.
      inputs: all that there is to come.
      forms: those of ``FORMS`` to write.
      categories: that the network knows.
      overlays: whether to write pictures with the masks drawn, ``<name>.png`` and ``<name>.mp4``.
    """

    def __init__(
        self,
        out: Path,
        inputs: Inputs,
        forms: Sequence[str],
        categories: Sequence[Category],
        *,
        overlays: bool = True,
    ):
        out.mkdir(parents=True, exist_ok=True)
        self._begun = False
        self._before = _stamps(out)
        self._out = out
        self._overlays: list[Form] = [Overlays(out, inputs, categories)] if overlays else []
        self._forms = [
            form(out, inputs, categories) for name, form in FORMS.items() if name in forms
        ]

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:  # one that fails keeps no other from its end
            for form in [*self._forms, *self._overlays]:
                stack.callback(form.close, self._begun)

    def add(self, origin: Origin, result: Result) -> None:
        """Writes all of one image or frame; those of a video come one after the other."""
        self._begun = True
        for form in [*self._forms, *self._overlays]:
            form.add(origin, result)

    def left_over(self) -> list[Path]:
        """The files of such names that were there before and that this prediction did not write."""
        if not self._begun:
            return []
        now = _stamps(self._out)
        return [path for path, stamp in self._before.items() if now.get(path) == stamp]

    def describe(self) -> str:
        """What lies in the folder, in words."""
        return ", ".join(form.describe() for form in [*self._overlays, *self._forms])


def check_forms(text: str) -> tuple[str, ...]:
    """``json,png`` -> their names, each once.

    Raises:
      InputError: one is none of ``FORMS``.
    """
    forms = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for form in forms:
        if form not in FORMS:
            raise InputError(f"--save {form} is none of {', '.join(FORMS)}")
    return forms


def check_able(forms: Sequence[str], finds_instances: bool, labels_pixels: bool) -> None:
    """Raises InputError where a network makes nothing of what one of ``forms`` holds."""
    if "labels" in forms and not labels_pixels:
        raise InputError("--save labels needs a network that labels pixels; leave it out")
    if "panoptic" in forms and not (finds_instances and labels_pixels):
        raise InputError(
            "--save panoptic needs a network that finds instances and labels pixels; leave it out"
        )


def name_outputs(inputs: Inputs) -> list[str]:
    """A name for the files of each image, video and webcam: that of its file, told apart.

    The second of two ``1`` is called ``1-2``. No two names of files that come of them differ in
    upper and lower case alone.
    """
    stems = [path.stem for path in (*inputs.images, *inputs.videos)]
    stems += [f"webcam{number}" for number in inputs.webcams]
    forms: list[type[Form]] = [*FORMS.values(), Overlays]
    made = {name for form in forms for name in form.NAMES}
    taken = {name for name in made if "*" not in name}
    endings = {name.removeprefix("*") for name in made - taken}
    next_number: collections.Counter[str] = collections.Counter()
    names = []
    for stem in stems:
        stem = _shorten(stem)
        for number in itertools.count(next_number[stem.casefold()] + 1):
            name = f"{stem}-{number}" if number > 1 else stem
            files = {(name + ending).casefold() for ending in endings}
            if not files & taken:
                break
        next_number[stem.casefold()] = number
        taken |= files
        names.append(name)
    return names


def check_folder(out: Path, inputs: Inputs) -> None:
    """Raises InputError where ``out`` is a file, or an overlay could replace what it is of."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    for folder in {path.parent for path in (*inputs.images, *inputs.videos)}:
        if folder.resolve() == out.resolve():
            raise InputError(f"--out {out} is the folder of an input; choose another one")


def _stamps(out: Path) -> dict[Path, tuple[int, int]]:
    """The files in a folder that are named as those of a prediction; changed ones differ."""
    forms: list[type[Form]] = [*FORMS.values(), Overlays]
    endings = tuple(name.removeprefix("*") for form in forms for name in form.NAMES if name != "*")
    found = sorted(path for path in out.iterdir() if path.name.endswith(endings))
    about = {path: path.stat() for path in found if path.is_file()}
    return {path: (one.st_ino, one.st_mtime_ns) for path, one in about.items()}


def _shorten(stem: str) -> str:
    encoded = os.fsencode(stem)
    if len(encoded) <= LONGEST_NAME:
        return stem
    return encoded[:LONGEST_NAME].decode(errors="ignore")
