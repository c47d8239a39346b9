"""``solojax data stats``: counts what is in a data set and, with a grid, who gets a cell."""

import argparse

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_root(parser)
    options.add_config(parser)
    parser.add_argument("--split", choices=("train", "val"), default="train")


def run(arguments: argparse.Namespace) -> None:
    """Counts."""
    from solojax.evaluation.dataset import statistics

    print(statistics.report(options.load_data(arguments), arguments.split))
