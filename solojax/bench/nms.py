"""Matrix NMS of so many packed masks at a quarter of the canvas."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from solojax.bench import rows
from solojax.bench.settings import Settings
from solojax.ops import nms

MASKS = (100, 500, 1000)


def section(settings: Settings) -> Iterator[rows.Row]:
    """A row for each number of masks, of one image."""
    if jax.default_backend() == "cpu":  # where bits are counted, and no product is made of them
        settings = dataclasses.replace(settings, peak=None)
    for masks in MASKS:
        measure = functools.partial(_measure, settings, masks)
        yield rows.guarded(f"matrix, {masks} masks", 1, measure)


def _measure(settings: Settings, masks: int, row: rows.Row) -> rows.Row:
    rng = np.random.default_rng(0)
    height, width = (side // 4 for side in settings.canvas)
    packed = rng.integers(0, 256, (masks, height, -(-width // 8)), np.uint8)
    labels, scores = rng.integers(0, 80, masks, np.int32), rng.random(masks, np.float32)
    given = jax.device_put((packed, labels, scores))

    def suppress(_: None, *given: jax.Array) -> jax.Array:
        return nms.matrix_nms(*given)

    program, columns = rows.compiled_predict(suppress, None, given)
    return rows.timed({**row, **columns}, lambda: program(None, given), settings)
