"""``solojax info``: versions, devices, and what a config takes."""

import argparse

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_config(parser, required=False)


def run(arguments: argparse.Namespace) -> None:
    """Says it."""
    from solojax import config as config_lib
    from solojax.bench import machine, parts

    config = arguments.config and config_lib.load(arguments.config, arguments.set)
    print("\n".join(machine.lines()), flush=True)
    if config:
        print(parts.table(config))
