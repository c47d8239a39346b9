"""What all forms share: files that are there whole or not at all, lists written row by row."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from solojax.types import InputError


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
        self._path, self._part = path, part_of(path)
        self._file = self._part.open("w")
        self._file.write(head)
        self._before = "\n"

    def add(self, row: dict[str, Any]) -> None:
        encoded = json.dumps(row, allow_nan=False)
        with writing(self._path):
            self._file.write(self._before + encoded)
        self._before = ",\n"

    def close(self, tail: str, begun: bool) -> None:
        """Ends the file, with what stands behind the last row; drops it where not ``begun``."""
        try:
            with writing(self._path), self._file:
                if begun:
                    self._file.write(f"\n{tail}\n")
            if begun:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError, which names the file, where a disk is full or a folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; make room, or choose another "
            "folder"
        ) from error


def encode(ending: str, picture: np.ndarray) -> memoryview:
    """A picture, grey or BGR as OpenCV has it, as the bytes of a file."""
    return cv2.imencode(ending, picture)[1].data


def put(path: Path, encoded: bytes | memoryview) -> None:
    """Writes a file that is there whole or not at all."""
    part = part_of(path)
    try:
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(encoded)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """What a file is called while it is being written."""
    return path.with_name(f".{path.name}.part")
