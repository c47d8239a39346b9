"""Whether a device holds what a network finds in so many images at once."""

import os
from collections.abc import Iterable

import flax.linen as nn
import jax
import numpy as np

from solojax import device_memory
from solojax.inference.predict import make_answer
from solojax.models import detector
from solojax.types import InputError

AT_ONCE = "the most detections of the head (max_detections), or the images at once (the batch)"


def check_room(model: nn.Module, canvases: Iterable[tuple[int, int]], images: int) -> None:
    """Raises InputError where the masks of ``images`` images alone are more than a device holds.

    CPUs hold what the machine does, and end a process that asks for more without a word.
    """
    answer, variables = make_answer(model), detector.variable_shapes(model)
    room = device_memory.room() or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for canvas in canvases:
        batch = jax.ShapeDtypeStruct((images, *canvas, 3), np.uint8)
        sizes = jax.ShapeDtypeStruct((images, 2), np.int32)
        found = jax.eval_shape(answer, variables, batch, sizes).detections
        if (need := device_memory.size_of(found.masks)) > room:
            raise InputError(
                f"the masks of {found.masks.shape[1]:,} detections in each of {images} images on "
                f"canvas {canvas[0]}x{canvas[1]} take {need / 1e9:,.0f} GB of a device's "
                f"{room / 1e9:,.0f}; lower {AT_ONCE}"
            )
