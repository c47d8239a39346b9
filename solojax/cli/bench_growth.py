"""``solojax bench growth``: how operations and memory grow with batch, canvas and classes."""

import argparse

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    """Counts."""
    from solojax import config as config_lib
    from solojax.bench import growth

    config = config_lib.load(arguments.config, arguments.set)
    print(growth.HEADER, flush=True)
    for cost in growth.costs(config):
        print(growth.line(cost), flush=True)
