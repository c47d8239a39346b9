"""``solojax bench memory``: what a training step needs on a device."""

import argparse

from solojax import config as config_lib
from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_config(parser)
    parser.add_argument(
        "--device-memory",
        type=float,
        metavar="GIB",
        help="of one GPU, all of it: find the largest batch for it instead of for the local device",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measures."""
    from solojax.training import memory_survey

    given = options.device_memory(arguments)
    config = config_lib.load(arguments.config, arguments.set)
    print(memory_survey.report(config, given))
