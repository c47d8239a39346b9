"""``<name>.png`` and ``<name>.mp4``: images and videos with the masks drawn, for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from solojax import writing
from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.files import encode
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin

if TYPE_CHECKING:
    from solojax.inference.save.film import Film


AT_ONCE = 2**24  # bytes


class Overlays:
    """A picture for each image, a film for each video."""

    NAMES: ClassVar[tuple[str, ...]] = ("*.png", "*.mp4")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._out = out
        self._film: tuple[str, Film] | None = None

    def add(self, origin: Origin, result: Result) -> None:
        picture = result.plot()
        if origin.time is None:
            for rows in np.array_split(picture, -(-picture.size // AT_ONCE)):  # no second picture
                rows[...] = cv2.cvtColor(rows, cv2.COLOR_RGB2BGR)
            writing.put(self._out / f"{origin.path}.png", encode(".png", picture))
            return
        if self._film is None or self._film[0] != origin.name:
            from solojax.inference.save.film import Film  # an image waits for no PyAV

            self._end_film()
            self._film = origin.name, Film(self._out / f"{origin.name}.mp4")
        self._film[1].add(picture, origin.time)

    def close(self, begun: bool) -> None:
        self._end_film()

    def describe(self) -> str:
        return "overlays"

    def _end_film(self) -> None:
        film, self._film = self._film, None
        if film:
            film[1].close()
