"""A step of training, on batches that are on the device already."""

import dataclasses
import functools
from collections.abc import Iterator

from solojax import config as config_lib
from solojax import parallel
from solojax.bench import rows, synthetic
from solojax.bench.settings import Settings
from solojax.training import memory, step


def section(settings: Settings) -> Iterator[rows.Row]:
    """A row for each batch that divides over the devices."""
    for images in settings.batches:
        config = config_of(settings, images)
        measure = functools.partial(_measure, settings, config)
        yield rows.guarded(f"step, batch {images}", images, measure)


def config_of(settings: Settings, images: int) -> config_lib.Config:
    """The config with that batch, on the one canvas, in the precision that is measured."""
    config = settings.config
    training = dataclasses.replace(config.training, batch_size=images, precision=settings.precision)
    data = dataclasses.replace(config.data, canvases=(settings.canvas,))
    parallel.check_divisible(images, training.accumulate)
    return dataclasses.replace(config, training=training, data=data)


def _measure(settings: Settings, config: config_lib.Config, row: rows.Row) -> rows.Row:
    rule, ema = memory.rule_of(config), config.optimizer.ema_decay > 0
    update = parallel.pmap_update(step.update_of(config, rule))
    start = parallel.jit_once(functools.partial(step.start_state, tx=rule, ema=ema))
    state = parallel.replicate(start(synthetic.variables_of(config.model)))
    batch = parallel.shard(synthetic.batch(config, settings.canvas, row["images"]))
    program, columns = rows.compiled(update.lower(state, batch), parallel.compile_update)
    columns["flops"] *= config.training.accumulate

    def call() -> object:
        nonlocal state
        state, metrics = program(state, batch)
        return metrics

    return rows.timed({**row, **columns}, call, settings)
