"""A prediction by stages, each with those before it, of images that fill every cap of the head."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solojax import parallel
from solojax.bench import rows, synthetic
from solojax.bench.settings import Settings
from solojax.inference import predict, programs
from solojax.ops.precision import whole_products


def section(settings: Settings) -> Iterator[rows.Row]:
    """A row for each stage of each batch, which is all on one device.

    The network; with the detections; with their masks at original size, packed, on the device; and
    from pixels on the host to run lengths on the host.
    """
    model = synthetic.finds_all(settings.config.model)
    variables = jax.device_put(synthetic.variables_of(model))
    for images in settings.batches:
        for name, call in _stages(settings, model, variables, images):
            yield rows.guarded(f"{name}, batch {images}", images, call)


def images_of(canvas: tuple[int, int], images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise, its sizes and those of its files, as ``predict.make_predict`` takes them."""
    rng = np.random.default_rng(0)
    sizes = np.array([canvas, synthetic.original_size(canvas)], np.int32)
    pixels = rng.integers(0, 256, (images, *canvas, 3), np.uint8)
    return pixels, np.tile(sizes[:1], (images, 1)), np.tile(sizes[1:], (images, 1))


def network(model: Any, precision: parallel.Precision) -> Callable:
    """``(variables, images, sizes) -> outputs``: all before detection."""

    def run(variables: dict[str, Any], images: Any, sizes: Any) -> Any:
        inputs = model.normalize(images, sizes, jnp.dtype(precision))
        with whole_products(inputs.dtype):
            return model.apply(variables, inputs)

    return run


def _stages(
    settings: Settings, model: Any, variables: dict[str, Any], images: int
) -> Iterator[tuple[str, Callable[[rows.Row], rows.Row]]]:
    host = images_of(settings.canvas, images)
    original, precision = synthetic.original_size(settings.canvas), settings.precision

    def on_device(function: Callable, given: tuple, row: rows.Row) -> rows.Row:
        placed = jax.device_put(given)
        program, columns = rows.compiled_predict(function, variables, placed)
        return rows.timed({**row, **columns}, lambda: program(variables, placed), settings)

    stages: dict[str, tuple[Callable, tuple]] = {
        "network": (network(model, precision), host[:2]),
        "detections": (predict.make_detect(model, precision), host[:2]),
        "masks": (predict.make_predict(model, original, precision), host),
    }
    for name, stage in stages.items():
        if name in settings.stages:
            yield name, functools.partial(on_device, *stage)

    def to_run_lengths(row: rows.Row) -> rows.Row:
        find = programs.make_find(model, all_devices=False, precision=precision)
        timing = rows.time_calls(lambda: _ended(find(variables, *host)), **settings.limits)
        row = {**row, "compile_seconds": timing.first - timing.median}
        return rows.with_times(row, timing, settings.peak)

    if "run lengths" in settings.stages:
        yield "run lengths", to_run_lengths


def _ended(found: list[programs.Found]) -> np.ndarray:
    """How many were found: what ``jax.block_until_ready`` can look at."""
    return np.array([len(one.scores) for one in found])
