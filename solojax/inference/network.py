"""A network over pictures of any size, in batches of those that share a canvas."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax import device_memory, parallel
from solojax.data import fit
from solojax.data.windows import Window
from solojax.inference import averages, predict, programs, room
from solojax.inference.look import shown_size
from solojax.inference.programs import Found
from solojax.types import Detections


class Network:
    """What is placed on devices and compiled once per canvas.

    Args:
      model: a Detector.
      variables: of the model.
      data: its canvases and sizes.
      batch_size: images that go through it together; fewer are filled up. Where all local devices
        divide it, each takes its part.
    """

    def __init__(
        self, model: nn.Module, variables: dict[str, Any], data: config_lib.Data, batch_size: int
    ):
        all_devices = batch_size % jax.local_device_count() == 0
        self._data, self._batch_size = data, batch_size
        self._variables = (parallel.replicate if all_devices else jax.device_put)(variables)
        self._programs = programs.make_programs(model, all_devices=all_devices)

    def compile(self) -> None:
        """Compiles for every canvas what else compiles when the first picture needs it."""
        for canvas in tqdm(self._data.canvases, "compiling", unit="canvas", delay=1):
            self._programs.compile(self._variables, (self._batch_size, *canvas, 3))

    def size_on_canvas(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Network pixels, (height, width): of a picture of that size, and of its canvas."""
        number = self._canvas_of(size)
        return fit.size_on_canvas(size, self._data, number), self._data.canvases[number]

    def look(self, picture: np.ndarray) -> tuple[Detections, np.ndarray | None]:
        """What the network finds in one picture, and its label map at ``shown_size``, if any."""
        size = picture.shape[0], picture.shape[1]
        batch, sizes, label_sizes = self._place([picture], self._canvas_of(size))
        label_sizes[0] = shown_size(size)
        with self._told():
            found, maps = self._programs.look(self._variables, batch, sizes, label_sizes)
        return found, maps[0]

    def _canvas_of(self, size: tuple[int, int]) -> int:
        (number,) = fit.eval_canvases_of(np.array([size]), self._data).tolist()
        return int(number)

    def find_each(
        self, pictures: Sequence[np.ndarray], threshold: float, as_logits: bool = False
    ) -> Iterator[tuple[int, Found]]:
        """What is found in each picture, by its place, in batches of those that share a canvas."""
        sizes = np.array([picture.shape[:2] for picture in pictures], np.int32)
        canvases = fit.eval_canvases_of(sizes, self._data)
        for canvas in np.unique(canvases).tolist():
            places = np.flatnonzero(canvases == canvas).tolist()
            for first in range(0, len(places), self._batch_size):
                chosen = places[first : first + self._batch_size]
                placed = self._place([pictures[i] for i in chosen], canvas)
                with self._told():
                    found = self._programs.find(self._variables, *placed, threshold, as_logits)
                yield from zip(chosen, found, strict=False)

    def average(
        self, found: Sequence[Found], windows: Sequence[Window], size: tuple[int, int]
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """``averages.blocks`` of what was found as logits at windows of one size, original pixels.

        Args:
          found: of each window.
          windows: which are all of an image.
          size: (height, width) of it.
        """
        y0, x0, y1, x1 = windows[0]
        seen, canvas = self.size_on_canvas((y1 - y0, x1 - x0))
        logits = [one.label_logits for one in found if one.label_logits is not None]
        probabilities = functools.partial(self._programs.probabilities, canvas=canvas)
        side = predict.tile_side(canvas)
        return averages.blocks(logits, windows, seen, size, side, probabilities)

    def _place(self, pictures: Sequence[np.ndarray], canvas: int) -> tuple[np.ndarray, ...]:
        """A batch of at most so many pictures, their sizes in it and their own."""
        shape = self._batch_size, *self._data.canvases[canvas]
        batch = np.zeros((*shape, 3), np.uint8)
        sizes, original_sizes = np.ones((2, self._batch_size, 2), np.int32)
        for place, picture in enumerate(pictures):
            batch[place], sizes[place] = fit.on_canvas(picture, self._data, canvas)
            original_sizes[place] = picture.shape[:2]
        return batch, sizes, original_sizes

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return device_memory.out_of_memory_told(
            lambda: f"a device has too little memory; lower {room.AT_ONCE}"
        )
