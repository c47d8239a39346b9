"""A trained network for use: images in, results out."""

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
from solojax.data.images import files as image_files
from solojax.data.images import values as image_values
from solojax.data.panoptic_ids import Segment
from solojax.data.windows import cut
from solojax.heads import protocol
from solojax.heads.merging import merging_of
from solojax.heads.selection import selection_of
from solojax.inference import (
    predict,
    programs,
    room,
    scenes,
    sources,
    thresholds,
    tiles,
    trained,
)
from solojax.inference.look import Look
from solojax.inference.network import Network
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
        self.categories, self.stuff = data.categories, data.stuff
        self.thresholds = least_scores or thresholds.Thresholds()
        self.value_range = image_values.range_of(data.value_range)
        self._batch_size = batch_size
        self._selection, self._merging = selection_of(model.head), merging_of(model.head)
        self.finds_instances = protocol.finds_instances(model.head)
        self.labels_pixels = protocol.labels_pixels(model.head)
        self.mask_threshold = float(predict.mask_threshold(model))
        self._network = Network(model, variables, data, batch_size)

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
            found = self._find(pictures)
            for picture, image, one in zip(pictures, window, found, strict=True):
                yield self._result(picture, one, _name(image))

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
        self._network.compile()

    def look(self, image: Image) -> Look:
        """What is found in one image, with probabilities of masks in place of masks.

        They are of network size, and the label map is of the size that is shown, so this takes as
        long whatever the size of the image.
        """
        picture = self._read(image)
        found, label_map = self._network.look(picture)
        seen, shape = self._network.size_on_canvas((picture.shape[0], picture.shape[1]))
        chosen = np.flatnonzero(found.valid[0])
        masks = found.masks[0, chosen]
        frame = [seen[axis] * masks.shape[1 + axis] / shape[axis] for axis in (0, 1)]
        return Look(
            picture,
            found.scores[0, chosen],
            found.labels[0, chosen],
            masks[:, : math.ceil(frame[0]), : math.ceil(frame[1])],
            (frame[0], frame[1]),
            (shape[0] / seen[0], shape[1] / seen[1]),
            None if found.cells is None else found.cells[0, chosen],
            label_map,
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
        several = len(windows) > 1  # of whose looks the label map is made
        (whole,) = self._find([picture], as_logits=several)
        if not several:
            return self._result(picture, whole, _name(image))
        looks = [picture[y0:y1, x0:x1] for y0, x0, y1, x1 in windows]
        extent = looks[0].shape[0], looks[0].shape[1]
        seen, _ = self._network.size_on_canvas(extent)
        bar = tqdm(desc="tiles", total=len(looks), leave=False, disable=None)
        found = self._find(looks, bar, as_logits=True)
        merged = tiles.merge(
            whole,
            found,
            windows,
            size,
            margin=MASK_STRIDE * max(extent[0] / seen[0], extent[1] / seen[1]),
            kernel=self._selection.nms_kernel,
            sigma=self._selection.nms_sigma,
            threshold=self._selection.final_threshold,
        )
        if whole.label_logits is not None:
            label_map = np.empty(size, np.uint8)
            for where, shares in self._network.average(found, windows, size):
                label_map[where] = np.argmax(shares, -1)
            merged = merged._replace(label_map=label_map)
        return self._result(picture, merged, _name(image))

    def probabilities(self, image: Image) -> np.ndarray:
        """Of each label at each pixel of an image, ``H W L`` float32, of a head that labels pixels.

        Raises:
          InputError: the head labels none.
        """
        picture = self._read(image)
        size = picture.shape[0], picture.shape[1]
        (whole,) = self._find([picture], as_logits=True)
        if whole.label_logits is None:
            raise InputError("probabilities are of labels, and this network labels no pixels")
        shares = np.empty((*size, whole.label_logits.shape[2]), np.float32)
        for where, some in self._network.average([whole], [(0, 0, *size)], size):
            shares[where] = some
        return shares

    def _find(
        self, pictures: Sequence[np.ndarray], bar: tqdm | None = None, as_logits: bool = False
    ) -> list[programs.Found]:
        """What is found in each picture; the bar goes on with each."""
        found: dict[int, programs.Found] = {}
        for place, one in self._network.find_each(pictures, self.mask_threshold, as_logits):
            found[place] = one
            if bar is not None:
                bar.update()
        return [found[place] for place in range(len(pictures))]

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
        ids, segments = None, tuple[Segment, ...]()
        if found.label_map is not None and self.finds_instances:
            ids, segments = scenes.segments_of(found, len(self.categories), self._merging)
        result = Result(
            picture,
            found.scores,
            found.labels,
            found.rles,
            self.categories,
            name,
            found.boxes,
            self.thresholds.of(self.categories),
            stuff=self.stuff,
            label_map=found.label_map,
            segment_ids=ids,
            segments=segments,
        )
        # What is finer than a pixel of the original has none there.
        return result.take(np.flatnonzero(result.areas))


def _name(image: Image) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""
