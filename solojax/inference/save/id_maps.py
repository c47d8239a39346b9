"""``<name>.ids.png``: the number of a detection in each pixel; ``.ids.tif`` where 16 bits end."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from solojax import writing
from solojax.config import Category
from solojax.data import rle
from solojax.inference.result import Result
from solojax.inference.save.files import encode
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin

MOST = np.iinfo(np.uint16).max  # detections that 16 bits number


class IdMaps:
    """A file for each image or frame."""

    NAMES: ClassVar[tuple[str, ...]] = ("*.ids.png", "*.ids.tif", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._out = out
        self._written = {self.NAMES[0]}

    def add(self, origin: Origin, result: Result) -> None:
        ids = id_map(result)
        paths = [self._out / f"{origin.path}{name[1:]}" for name in self.NAMES[:2]]
        if ids.dtype == np.uint16:
            path, other = paths
            writing.put(path, encode(".png", ids))
        else:
            other, path = paths
            stream = io.BytesIO()
            Image.fromarray(ids).save(stream, "TIFF", compression="tiff_adobe_deflate")
            writing.put(path, stream.getbuffer())
            self._written.add(self.NAMES[1])
        other.unlink(missing_ok=True)  # an earlier prediction's, which would be taken for this one

    def close(self, begun: bool) -> None:
        pass  # each is whole already

    def describe(self) -> str:
        return ", ".join(sorted(self._written))


def id_map(result: Result) -> np.ndarray:
    """``H W``: 0 where nothing is, ``k`` on the ``k``-th detection, better ones on top.

    uint16 as long as that holds their numbers, else int32.
    """
    kind = np.uint16 if len(result) <= MOST else np.int32
    ids = np.zeros(result.size, kind)
    for number in range(len(result), 0, -1):
        (patch,), ((top, left),) = rle.decode_patches([result.rles[number - 1]], len(ids))
        ids[top : top + patch.shape[0], left : left + patch.shape[1]][patch > 0] = number
    return ids
