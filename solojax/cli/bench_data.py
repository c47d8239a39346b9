"""``solojax bench data``: how fast images come, and what takes the time."""

import argparse

from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_root(parser)
    options.add_config(parser)
    parser.add_argument("--images", type=int, default=5000)


def run(arguments: argparse.Namespace) -> None:
    """Measures."""
    from solojax.data import throughput
    from solojax.data.records import coco
    from solojax.models import detector

    config = options.load_data(arguments)
    if arguments.images < 1:
        raise InputError("--images must be at least 1")
    records = coco.prepare(config.data, "train")
    measured = throughput.measure(
        records,
        config.data,
        mask_strides=config.model.head.mask_strides,
        label_strides=detector.label_strides(config.model),
        batch_size=config.training.batch_size,
        images=arguments.images,
    )
    print(throughput.table(measured))
