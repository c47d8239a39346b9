"""The batches of a training, and how long the devices wait for them."""

import collections
import time
from collections.abc import Iterator

import jax

from solojax import config as config_lib
from solojax.data import pipeline
from solojax.data.records import coco
from solojax.models import detector
from solojax.training import goodput, step
from solojax.types import Batch


def batches_of(
    config: config_lib.Config, records: coco.Records, first: int, last: int, whole: bool = False
) -> Iterator[Batch]:
    """The batches of some steps: this process's part of each, or the whole."""
    return pipeline.train_batches(
        records,
        config.data,
        mask_strides=config.model.head.mask_strides,
        label_strides=detector.label_strides(config.model),
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        first=first,
        last=last,
        process=0 if whole else jax.process_index(),
        processes=1 if whole else jax.process_count(),
    )


def next_of(
    batches: Iterator[Batch],
    in_flight: collections.deque[step.Metrics],
    clock: goodput.Clock,
) -> Batch:
    """The next batch; a wait counts where the devices had nothing to do at its end.

    Where the last step ended in the meantime all of the wait counts: rather too much than too
    little.
    """
    start = time.perf_counter()
    batch = next(batches)
    if not in_flight or in_flight[-1]["loss"].is_ready():
        clock.wait(time.perf_counter() - start)
    return batch
