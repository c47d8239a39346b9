"""What all forms share: what they are asked for, pictures as bytes, lists written row by row."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from solojax import writing
from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


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


class Rows:
    """A JSON file with a list that is written row by row.

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
        encoded = json.dumps(row, allow_nan=False)
        with writing.told(self._path):
            self._file.write(self._before + encoded)
        self._before = ",\n"

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


def encode(ending: str, picture: np.ndarray) -> memoryview:
    """A picture, grey or BGR as OpenCV has it, as the bytes of a file."""
    return cv2.imencode(ending, picture)[1].data
