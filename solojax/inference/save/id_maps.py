"""``<name>.ids.png``: the number of a detection in each pixel."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from solojax.config import Category
from solojax.data import rle
from solojax.inference.result import Result
from solojax.inference.save.files import encode, put
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class IdMaps:
    """A file for each image or frame."""

    NAMES: ClassVar[tuple[str, ...]] = ("*.ids.png", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._out = out

    def add(self, origin: Origin, result: Result) -> None:
        put(self._out / f"{origin.path}.ids.png", encode(".png", id_map(result)))

    def close(self, begun: bool) -> None:
        pass  # each is whole already

    def describe(self) -> str:
        return self.NAMES[0]


def id_map(result: Result) -> np.ndarray:
    """``H W`` uint16: 0 where nothing is, ``k`` on the ``k``-th detection, better ones on top."""
    ids = np.zeros(result.size, np.uint16)
    for number in range(min(len(result), np.iinfo(np.uint16).max), 0, -1):
        (patch,), ((top, left),) = rle.decode_patches([result.rles[number - 1]], len(ids))
        ids[top : top + patch.shape[0], left : left + patch.shape[1]][patch > 0] = number
    return ids
