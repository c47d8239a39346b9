"""How fast this machine trains a config: measured, as no table knows what else it does."""

import dataclasses
import math
import statistics
import time
from typing import NamedTuple

from solojax import config as config_lib
from solojax import parallel, timing
from solojax.data.records import coco
from solojax.training import memory, step
from solojax.training.batches import batches_of

STEPS = 6  # that are timed, after one that compiles and one that warms up
WITHIN = 20.0  # seconds after which no further step is timed


class Speed(NamedTuple):
    """Of a step on the largest canvas."""

    compiling: float  # seconds until the first step has ended
    seconds: float  # of a later one, with its images


def measure(config: config_lib.Config, records: coco.Records) -> Speed:
    """Trains a few steps of a config with the classes of ``records``; keeps nothing of it."""
    canvas = max(config.data.canvases, key=math.prod)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, canvases=(canvas,)))
    parallel.check_divisible(config.training.batch_size, config.training.accumulate)
    begun = time.monotonic()
    update = parallel.pmap_update(step.update_of(config, memory.rule_of(config)))
    state = parallel.replicate(parallel.jit_once(lambda: memory.fresh_state(config))())
    stream = batches_of(config, records, 0, 2 + STEPS)

    def one_step() -> step.Metrics:
        nonlocal state
        state, metrics = update(state, parallel.shard(next(stream)))
        return metrics

    prepared = time.monotonic() - begun
    timed = timing.time_calls(one_step, repeats=STEPS, within=WITHIN, least=0)
    return Speed(prepared + timed.first, statistics.fmean(timed.seconds))
