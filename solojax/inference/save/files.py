"""What all forms share: what they are asked for, pictures as bytes, lists written row by row."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol
from xml.etree import ElementTree

import cv2
import numpy as np

from solojax import writing
from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Form(Protocol):
    """What is written of each result, in one way."""

    NAMES: ClassVar[tuple[str, ...]]  # in the folder; * is the name of an input, or its folder

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        """Begins a prediction.

        Args:
          out: the folder, which is there.
          inputs: all that there is to come.
          categories: that the network knows.
        """

    def add(self, origin: Origin, result: Result) -> None:
        """Writes all of one image or frame; those of a video come one after the other."""

    def close(self, begun: bool) -> None:
        """Ends its files; where nothing was ``begun``, what an earlier prediction left stays."""

    def describe(self) -> str:
        """What it has written, in words."""


class ImageFiles:
    """The files that a set of what was found is of.

    Those of images are where they were; the frames of a video are written as
    ``<name>/<frame>.jpg``.
    """

    def __init__(self, out: Path, inputs: Inputs):
        self._out = out
        folders = {os.path.abspath(path.parent) for path in inputs.images}
        if inputs.videos or inputs.webcams:
            folders.add(os.path.abspath(out))
        self.root = Path(os.path.commonpath(folders)) if folders else Path.cwd()

    def name(self, origin: Origin, result: Result) -> str:
        """What the file of a result is called from ``root`` on; a frame is written."""
        path = Path(origin.file)
        if origin.frame is not None:
            path = self._out / f"{origin.path}.jpg"
            writing.put(path, encode(".jpg", cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR)))
        return Path(os.path.relpath(path, self.root)).as_posix()


class Rows:
    """A file with a list, as a rule in JSON, that is written row by row.

    Args:
      path: of the file.
      head: what stands before the first row, its opening bracket included.
    """

    def __init__(self, path: Path, head: str):
        self._path, self._part = path, writing.part_of(path)
        self._file = self._part.open("w")
        self._file.write(head)
        self._before = "\n"

    def add(self, row: dict[str, Any]) -> None:
        self.write(json.dumps(row, allow_nan=False), ",")

    def write(self, text: str, mark: str = "") -> None:
        """Writes a row of a file that is no JSON, with a mark between it and the next one."""
        with writing.told(self._path):
            self._file.write(self._before + text)
        self._before = f"{mark}\n"

    def close(self, tail: str, begun: bool) -> None:
        """Ends the file, with what stands behind the last row; drops it where not ``begun``."""
        try:
            with writing.told(self._path), self._file:
                if begun:
                    self._file.write(f"\n{tail}\n")
            if begun:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)


def xml(element: ElementTree.Element) -> str:
    """An element as text in ASCII, in lines; what XML has no way to write becomes U+FFFD."""
    ElementTree.indent(element)
    text = NOT_IN_XML.sub("\ufffd", ElementTree.tostring(element, "unicode"))
    return text.encode("ascii", "xmlcharrefreplace").decode()


def encode(ending: str, picture: np.ndarray) -> memoryview:
    """A picture, grey or BGR as OpenCV has it, as the bytes of a file."""
    return cv2.imencode(ending, picture)[1].data
