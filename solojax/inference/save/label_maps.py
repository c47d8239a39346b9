"""``<name>.labels.png``: the label of each pixel, of a network that labels pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from solojax import writing
from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.files import encode
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class LabelMaps:
    """A file for each image or frame, 8 bits a pixel: places of things, then of stuff."""

    NAMES: ClassVar[tuple[str, ...]] = ("*.labels.png", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._out = out

    def add(self, origin: Origin, result: Result) -> None:
        assert result.label_map is not None  # ``check_able``
        path = self._out / f"{origin.path}{self.NAMES[0][1:]}"
        writing.put(path, encode(".png", result.label_map))

    def close(self, begun: bool) -> None:
        pass  # each is whole already

    def describe(self) -> str:
        return self.NAMES[0]
