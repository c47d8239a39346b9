"""What to measure by: noise with rectangles, and a network that finds as many as it may."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np

from solojax import config as config_lib
from solojax.models import detector
from solojax.training import memory
from solojax.types import Batch

INSTANCES = 8  # an image, where the config has room for them: COCO has 7.3


def batch(
    config: config_lib.Config, canvas: tuple[int, int], images: int, instances: int = INSTANCES
) -> Batch:
    """A batch of a training on the host, as the pipeline would deliver it: noise with rectangles.

    Args:
      config: whose caps and strides of masks it has.
      canvas: (height, width), network pixels.
      images: how many.
      instances: in each image, at most ``data.max_instances``.
    """
    rng = np.random.default_rng(0)
    height, width = canvas
    shapes = memory.abstract_batch(config, canvas, images)
    most, head = config.data.max_instances, config.model.head
    sides = (rng.uniform(0.1, 0.5, (images, most, 2)) * (width, height)).astype(np.float32)
    corners = (rng.random((images, most, 2)) * ((width, height) - sides)).astype(np.float32)
    boxes = np.concatenate([corners, corners + sides], -1)
    numbers = np.arange(most)
    return Batch(
        images=rng.integers(0, 256, shapes.images.shape, np.uint8),
        sizes=np.tile(np.array(canvas, np.int32), (images, 1)),
        original_sizes=np.tile(np.array(canvas, np.int32), (images, 1)),
        indices=np.arange(images, dtype=np.int32),
        valid=np.ones(images, bool),
        instances=shapes.instances._replace(
            masks={
                stride: _packed(boxes / stride, canvas, stride) for stride in shapes.instances.masks
            },
            boxes=boxes,
            centers=corners + sides / 2,
            labels=rng.integers(0, getattr(head, "num_classes", 1), (images, most), np.int32),
            label_maps={
                stride: rng.integers(0, head.num_labels, one.shape, np.uint8)
                for stride, one in shapes.instances.label_maps.items()
            },
            valid=np.tile(numbers < min(instances, most), (images, 1)),
            crowd=np.zeros((images, most), bool),
        ),
        dropped=np.zeros(images, np.int32),
    )


def _packed(boxes: np.ndarray, canvas: tuple[int, int], stride: int) -> np.ndarray:
    """Rectangles ``B N 4`` in pixels of masks -> their bits, packed along the width."""
    y, x = (np.arange(side // stride) + 0.5 for side in canvas)
    left, top, right, bottom = (boxes[..., i, None] for i in range(4))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return np.packbits(rows[..., :, None] & columns[..., None, :], axis=-1)


def original_size(canvas: tuple[int, int]) -> tuple[int, int]:
    """That of the files whose masks are made: .6 of the canvas, as of COCO's at 800 x 1344."""
    height, width = (side * 3 // 5 for side in canvas)
    return max(height, 8), max(width // 8, 1) * 8


def finds_all(model: Any) -> Any:
    """The model with thresholds of nothing, so that a fresh one fills every cap.

    Of the SOLO family as many candidates are measured as enter the NMS.
    """
    return model.clone(head=_finds_all(model.head))


def _finds_all(head: Any) -> Any:
    if (inner := getattr(head, "things", None)) is not None:
        return head.clone(things=_finds_all(inner))
    if hasattr(head, "selection"):
        lower = {
            field.name: 0.0
            for field in dataclasses.fields(head.selection)
            if field.name in ("score_threshold", "final_threshold")
        }
        if hasattr(head.selection, "max_candidates"):
            lower["max_candidates"] = head.selection.nms_candidates
        return head.clone(selection=dataclasses.replace(head.selection, **lower))
    if hasattr(head, "score_threshold"):
        return head.clone(score_threshold=0.0)
    return head


@functools.cache
def variables_of(model: Any) -> dict[str, Any]:
    """Variables of about the sizes of fresh ones, on the host; do not write into them.

    To compile what draws them takes an accelerator longer than many a measurement.
    """
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: Any) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            fan_in = leaf.size // leaf.shape[-1]
            spread = 0.01 if path[1].key == "head" else math.sqrt(2 / fan_in)
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)
        return np.full(leaf.shape, name in ("scale", "var"), leaf.dtype)

    return dict(jax.tree.map_with_path(fill, detector.variable_shapes(model)))


def largest(config: config_lib.Config) -> tuple[int, int]:
    """The canvas (height, width) of a config with the most pixels."""
    return max(config.data.canvases, key=math.prod)
