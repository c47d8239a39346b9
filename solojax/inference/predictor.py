"""A trained network for use: images in, results out."""

import contextlib
import copy
import itertools
import math
import numbers
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import PIL.Image
from numpy.typing import ArrayLike
from tqdm import tqdm

from solojax import config as config_lib
from solojax import device_memory, parallel
from solojax.data import fit
from solojax.data.images import files as image_files
from solojax.data.images import values as image_values
from solojax.data.windows import cut
from solojax.heads.selection import selection_of
from solojax.inference import predict, programs, room, sources, thresholds, tiles, trained
from solojax.inference.look import Look
from solojax.inference.result import Result
from solojax.training import hub, shared
from solojax.types import MASK_STRIDE, InputError

Image = str | os.PathLike | ArrayLike
"""A file; an image of Pillow, of any mode; or ``H W 3`` uint8 RGB, what NumPy makes one of."""

WINDOW = 4  # batches of images that are held, to find those that share a canvas


class Predictor:
    """Finds the instances of images of any size.

    Images are resized onto the canvases of the config as in an evaluation, so the numbers are the
    same. Each canvas compiles once, when the first image comes that needs it.

    Examples:
      >>> predictor = Predictor.from_run("runs/shapes")  # doctest: +SKIP
      >>> result = predictor("photo.jpg")  # doctest: +SKIP
      >>> result.names, result.scores, result.boxes, result.masks  # doctest: +SKIP

    Args:
      model: a Detector.
      variables: of the model.
      data: its categories, canvases and sizes are those of the results and of the network.
      batch_size: images that go through the network together; fewer are filled up. Where all local
        devices divide it, each takes its part.
      least_scores: what ``Result.above`` goes by where it is given no score.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: dict[str, Any],
        data: config_lib.Data,
        *,
        batch_size: int = 1,
        least_scores: thresholds.Thresholds | None = None,
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be a whole number of at least 1")
        all_devices = batch_size % jax.local_device_count() == 0
        self.categories = data.categories
        self.thresholds = least_scores or thresholds.Thresholds()
        self.value_range = image_values.range_of(data.value_range)
        self._data = data
        self._batch_size = batch_size
        self._selection = selection_of(model.head)
        self._variables = (parallel.replicate if all_devices else jax.device_put)(variables)
        self.mask_threshold = float(predict.mask_threshold(model))
        self._programs = programs.make_programs(model, all_devices=all_devices)

    @classmethod
    def from_run(
        cls, run: str | Path, checkpoint: str | int = "latest", *, batch_size: int = 1
    ) -> "Predictor":
        """That of a run folder.

        Args:
          run: the folder.
          checkpoint: ``latest``, ``best`` (by AP while training) or a step.
          batch_size: as of the class.

        Raises:
          InputError: it is no run folder, names no categories, or has no such checkpoint.
        """
        found = trained.read(Path(run), checkpoint)
        model, data = found.config.model, found.config.data
        # What is left of a head alone fits wherever it was trained.
        if batch_size > 1 or shared.is_one(Path(run)):
            images = max(batch_size // jax.local_device_count(), 1)
            room.check_room(model, data.canvases, images)
        return cls(
            model, found.variables, data, batch_size=batch_size, least_scores=found.least_scores
        )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, checkpoint: str | int = "latest", *, batch_size: int = 1
    ) -> "Predictor":
        """That of a model of the Hugging Face Hub, or of any run folder.

        Nothing of it runs, and its weights are compared with their check sum.

        Args:
          name: ``owner/name`` or ``owner/name@revision``, which needs the extra ``hub``; a folder
            that ``solojax push --to`` wrote, or that of a run.
          checkpoint: as of ``from_run``.
          batch_size: as of the class.

        Raises:
          InputError: as ``from_run``, or there is no such model, or none that solojax wrote.
        """
        return cls.from_run(hub.folder_of(name), checkpoint, batch_size=batch_size)

    def __call__(self, images: Any) -> Any:
        """One image -> its ``Result``; a list of them, or ``B H W 3``, -> a list."""
        one = isinstance(images, str | os.PathLike | bytes) or not isinstance(images, Iterable)
        if one or getattr(images, "ndim", 4) != 4:
            return next(self.stream([images]))
        return list(self.stream(images))

    def stream(self, images: Iterable[Image]) -> Iterator[Result]:
        """A result for each image, in their order; ``WINDOW`` batches are held at a time."""
        if isinstance(images, str | os.PathLike):
            raise InputError(f"stream takes several images and got {images}; give them in a list")
        coming = iter(images)
        while window := list(itertools.islice(coming, WINDOW * self._batch_size)):
            pictures = [self._read(image) for image in window]
            found = dict(self._find_each(pictures))
            for place, (picture, image) in enumerate(zip(pictures, window, strict=True)):
                yield self._result(picture, found[place], _name(image))

    def at(self, mask_threshold: float) -> "Predictor":
        """The same, of which a pixel is in a mask where its probability is above that.

        Which instances there are and how they score stays as it is. Nothing compiles again.

        Raises:
          InputError: it is no number in 0..1.
        """
        if not (isinstance(mask_threshold, numbers.Real) and 0 <= mask_threshold <= 1):
            raise InputError(f"mask_threshold={mask_threshold!r} must be a number in 0..1")
        other = copy.copy(self)
        other.mask_threshold = float(mask_threshold)
        return other

    def compile(self) -> None:
        """Compiles for every canvas now what else compiles when the first image needs it."""
        for canvas in tqdm(self._data.canvases, "compiling", unit="canvas", delay=1):
            self._programs.compile(self._variables, (self._batch_size, *canvas, 3))

    def look(self, image: Image) -> Look:
        """What is found in one image, with probabilities of masks in place of masks.

        They are of network size, so this takes as long whatever the size of the image.
        """
        picture = self._read(image)
        size = picture.shape[0], picture.shape[1]
        (canvas,) = fit.eval_canvases_of(np.array([size]), self._data).tolist()
        batch, sizes, _ = self._place([picture], canvas)
        with self._told():
            found, _ = self._programs.look(self._variables, batch, sizes)
        chosen = np.flatnonzero(found.valid[0])
        masks = found.masks[0, chosen]
        shape = batch.shape[1:3]
        frame = [sizes[0, axis] * masks.shape[1 + axis] / shape[axis] for axis in (0, 1)]
        return Look(
            picture,
            found.scores[0, chosen],
            found.labels[0, chosen],
            masks[:, : math.ceil(frame[0]), : math.ceil(frame[1])],
            (frame[0], frame[1]),
            (shape[0] / sizes[0, 0], shape[1] / sizes[0, 1]),
            None if found.cells is None else found.cells[0, chosen],
        )

    def tiled(self, image: Image, tile: int) -> Result:
        """The result of an image with more in it than one look can hold (``tiles``).

        Args:
          image: one image.
          tile: side of the overlapping squares that it is cut into, original pixels.
        """
        picture = self._read(image)
        size = picture.shape[0], picture.shape[1]
        windows = cut(size, tile)
        ((_, whole),) = self._find_each([picture])
        if len(windows) == 1:
            return self._result(picture, whole, _name(image))
        looks = [picture[y0:y1, x0:x1] for y0, x0, y1, x1 in windows]
        bar = tqdm(self._find_each(looks), "tiles", len(looks), leave=False, disable=None)
        found = dict(bar)
        extent = looks[0].shape[0], looks[0].shape[1]
        (canvas,) = fit.eval_canvases_of(np.array([extent]), self._data)
        seen = fit.size_on_canvas(extent, self._data, int(canvas))
        merged = tiles.merge(
            whole,
            [found[i] for i in range(len(looks))],
            windows,
            size,
            margin=MASK_STRIDE * max(extent[0] / seen[0], extent[1] / seen[1]),
            kernel=self._selection.nms_kernel,
            sigma=self._selection.nms_sigma,
            threshold=self._selection.final_threshold,
        )
        return self._result(picture, merged, _name(image))

    def _read(self, image: Image) -> np.ndarray:
        if isinstance(image, str | os.PathLike):
            return sources.read_image(image, value_range=self.value_range)
        if isinstance(image, PIL.Image.Image):
            return image_files.of_pillow(image, self.value_range)
        wanted = "give a file, an image of Pillow, or an array of height, width, 3 in uint8, RGB"
        if not (hasattr(image, "__array__") or hasattr(image, "__array_interface__")):
            raise InputError(f"an image is of type {type(image).__name__}; {wanted}")
        pixels = np.asarray(image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise InputError(f"an image is an array of {pixels.shape}, {pixels.dtype}; {wanted}")
        return pixels

    def _result(self, picture: np.ndarray, found: programs.Found, name: str) -> Result:
        result = Result(
            picture,
            found.scores,
            found.labels,
            found.rles,
            self.categories,
            name,
            found.boxes,
            self.thresholds.of(self.categories),
        )
        # What is finer than a pixel of the original has none there.
        return result.take(np.flatnonzero(result.areas))

    def _find_each(self, pictures: Sequence[np.ndarray]) -> Iterator[tuple[int, programs.Found]]:
        """What is found in each picture, by its place, in batches of those that share a canvas."""
        sizes = np.array([picture.shape[:2] for picture in pictures], np.int32)
        canvases = fit.eval_canvases_of(sizes, self._data)
        for canvas in np.unique(canvases).tolist():
            places = np.flatnonzero(canvases == canvas).tolist()
            for first in range(0, len(places), self._batch_size):
                chosen = places[first : first + self._batch_size]
                yield from zip(
                    chosen, self._find_batch([pictures[i] for i in chosen], canvas), strict=True
                )

    def _find_batch(self, pictures: Sequence[np.ndarray], canvas: int) -> list[programs.Found]:
        placed = self._place(pictures, canvas)
        with self._told():
            found = self._programs.find(self._variables, *placed, self.mask_threshold)
        return found[: len(pictures)]

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


def _name(image: Image) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""
