"""How operations and memory grow with what there is to do; counted, nothing is run."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from solojax import config as config_lib
from solojax import parallel
from solojax.bench import rows, synthetic
from solojax.inference import predict
from solojax.models import detector
from solojax.training import memory

BATCHES = 1, 2, 4, 8  # images on each device
BATCH = BATCHES[1]  # where something else grows
SIDES = 0.5, 2  # of the canvas, by those of the config's largest
INSTANCES = 1, 10  # that an image of a batch has room for
CLASSES = 1, 1203  # a single one, LVIS's


class Cost(NamedTuple):
    """On one device: of a training step, then of a prediction of as many images."""

    name: str
    step_operations: float
    step_memory: int  # bytes at its peak, parameters and batch included
    operations: float
    memory: int


HEADER = (
    "| on each device | step, GFLOP | step, MiB | prediction, GFLOP | prediction, MiB |\n"
    "|---|---|---|---|---|"
)


def costs(config: config_lib.Config) -> Iterator[Cost]:
    """One after the other, each as soon as its two programs are compiled."""
    whole = synthetic.largest(config)
    for images in BATCHES:
        yield _cost(f"{images} images", config, whole, images)
    multiple = config.model.canvas_multiple
    for share in SIDES:
        height, width = (round(side * share / multiple) * multiple for side in whole)
        canvas = max(height, multiple), max(width, multiple)
        yield _cost(f"{BATCH} images of {memory.name_of(canvas)}", config, canvas)
    for most in INSTANCES:
        changed = config_lib.override(config, f"data.max_instances={most}")
        yield _cost(f"{BATCH} images, room for {most} instances", changed, whole)
    for classes in CLASSES:
        changed = config_lib.override(config, f"model.head.num_classes={classes}")
        yield _cost(f"{BATCH} images, {classes} classes", changed, whole)


def _cost(
    name: str, config: config_lib.Config, canvas: tuple[int, int], images: int = BATCH
) -> Cost:
    size = images * jax.device_count()
    config = config_lib.override(
        config, f"training.batch_size={size}", "training.accumulate=1", f"data.canvases=({canvas},)"
    )
    step, _ = rows.count(memory.lower_step(config, *memory.arguments(config, canvas)))
    precision = parallel.resolve_precision(config.training.precision)
    given: Any = memory.abstract_batch(config, canvas, images)
    _, prediction = rows.compiled_predict(
        predict.make_detect(config.model, precision),
        detector.variable_shapes(config.model),
        (given.images, given.sizes),
    )
    need = memory.step_memory(config, canvas).peak
    return Cost(name, step, need, prediction["flops"], prediction["memory"])


def line(cost: Cost) -> str:
    """A row of the table below ``HEADER``."""
    name, step, need, operations, planned = cost
    return (
        f"| {name} | {step / 1e9:,.0f} | {need / 2**20:,.0f} "
        f"| {operations / 1e9:,.0f} | {planned / 2**20:,.0f} |"
    )
