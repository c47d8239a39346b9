"""Small made-up experiments that several tests share."""

import json
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from solojax.config import Config, Data, Optimizer, Training
from solojax.data import rle, transforms
from solojax.heads.grid import Grid
from solojax.heads.selection import Selection
from solojax.heads.solov2 import SOLOv2
from solojax.models import detector
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.training import checkpoint, manager
from solojax.types import Batch, Instances

MODEL = Detector(
    backbone=ResNet(10, width=8, norm="group", norm_groups=4, frozen_stages=0),
    neck=FPN(8),
    head=SOLOv2(
        num_classes=3,
        grid=Grid(
            levels=("p2", "p3"), strides=(8, 8), sizes=(6, 4), scale_ranges=((1, 32), (16, 128))
        ),
        width=8,
        depth=1,
        kernel_width=8,
        mask_feature_width=8,
        mask_levels=("p2", "p3"),
        groups=4,
        max_positives=40,
        selection=Selection(max_candidates=60, nms_candidates=40, max_detections=20),
    ),
)


def make_config(folder: Path, **training: Any) -> Config:
    """Trains MODEL on the shapes drawn in ``folder / "shapes"``; ``training`` are fields of it."""
    return Config(
        model=MODEL,
        data=Data(
            root=str(folder / "shapes"),
            records=str(folder / "records"),
            canvases=((64, 64),),
            train_short_sides=(64, 48),
            test_short_side=64,
            long_side=64,
            max_instances=6,
        ),
        optimizer=Optimizer(base_batch_size=8, warmup_steps=2, ema_decay=0.9),
        training=Training(**{"batch_size": 8, "log_every": 1, "checkpoint_every": 2, **training}),
    )


def rows_of(workdir: Path) -> list[dict[str, float]]:
    """What a run has logged, a row each time."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def arrays_of(workdir: Path, which: str = "latest") -> tuple[int, dict[str, np.ndarray]]:
    """What there is to evaluate in a checkpoint, of whatever model."""
    newest = workdir / manager.FOLDER / str(checkpoint.steps_in(workdir)[-1])
    _, like = checkpoint._evaluated(manager.claims_in(newest / manager.STATE))
    return checkpoint.read_arrays(workdir, like, which)


def make_variables(spread: float, model: Detector = MODEL) -> dict[str, Any]:
    """Variables of a model with kernels ~ N(0, spread): compiling ``init`` takes seconds."""
    shapes = detector.variable_shapes(model)
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            return rng.normal(0, spread, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, path[-1].key == "scale", np.float32)

    return jax.tree.map_with_path(fill, shapes)


def place_shapes(
    masks: np.ndarray, boxes: np.ndarray, labels: np.ndarray, placement: transforms.Placement
) -> transforms.Shapes:
    """``transforms.place_shapes`` of whole masks, ``n H W`` uint8."""
    patches, corners = [], []
    for mask in masks:
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
        patches.append(mask[y : y + height, x : x + width])
        corners.append((y, x))
    cut = rle.Masks(patches, np.array(corners, np.int64).reshape(-1, 2))
    return transforms.place_shapes(cut, boxes, labels, placement)


def place_instances(
    masks: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    placement: transforms.Placement,
    canvas: tuple[int, int],
    max_instances: int,
    mask_strides: tuple[int, ...],
) -> tuple[Instances, int]:
    """Ground truth as the pipeline makes it of one image, its targets unpacked."""
    shapes = place_shapes(masks, boxes, labels, placement)
    placed, dropped = transforms.make_instances(shapes, canvas, max_instances, mask_strides)
    return placed._replace(masks=unpack(placed.masks, canvas[1])), dropped


def unpack(masks: dict[int, np.ndarray], width: int) -> dict[int, np.ndarray]:
    """Packed targets for a canvas of that width -> one byte a pixel."""
    return {s: np.unpackbits(bits, axis=-1, count=width // s) for s, bits in masks.items()}


def make_batch(size: int, seed: int = 0) -> Batch:
    """Noise with rectangles, 0 to 3 of them an image: counts differ between devices."""
    rng = np.random.default_rng(seed)
    side, most = 64, 3
    images = rng.integers(0, 255, (size, side, side, 3)).astype(np.uint8)
    masks = np.zeros((size, most, side // 4, side // 4), np.uint8)
    boxes = np.zeros((size, most, 4), np.float32)
    for b in range(size):
        for n in range(most):
            x, y = rng.integers(0, 8, 2)
            width, height = rng.integers(2, 8, 2)
            masks[b, n, y : y + height, x : x + width] = 1
            boxes[b, n] = np.array([x, y, x + width, y + height]) * 4
    return Batch(
        images=images,
        sizes=np.full((size, 2), side, np.int32),
        original_sizes=np.full((size, 2), side, np.int32),
        indices=np.arange(size, dtype=np.int32),
        valid=np.ones(size, bool),
        instances=Instances(
            masks={4: np.packbits(masks, axis=-1)},
            boxes=boxes,
            centers=(boxes[..., :2] + boxes[..., 2:]) / 2,
            labels=rng.integers(0, 3, (size, most)).astype(np.int32),
            valid=np.arange(most)[None] < (np.arange(size) % (most + 1))[:, None],
            crowd=np.arange(most)[None] == (np.arange(size) % (most + 1))[:, None],
        ),
        dropped=np.zeros(size, np.int32),
    )


def make_instances(size: int) -> Instances:
    """Those of ``make_batch``, as a head sees them."""
    instances = make_batch(size).instances
    return instances._replace(masks=unpack(instances.masks, width=64))


def instances_for(head: Any, size: int) -> Instances:
    """Those of ``make_batch`` with noise for masks and label maps, at the strides of a head."""
    rng = np.random.default_rng(1)
    masks = {
        stride: rng.integers(0, 2, (size, 3, 64 // stride, 64 // stride)).astype(np.uint8)
        for stride in head.mask_strides
    }
    maps = {
        stride: rng.integers(0, 3, (size, 64 // stride, 64 // stride)).astype(np.uint8)
        for stride in getattr(head, "label_strides", ())
    }
    return make_instances(size)._replace(masks=masks, label_maps=maps)


def empty_instances(batch: Batch) -> Batch:
    """The same images without anything in them."""
    nothing = batch.instances._replace(valid=jnp.zeros_like(batch.instances.valid))
    return batch._replace(instances=nothing)
