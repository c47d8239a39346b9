"""``solojax data shapes``: draws the shapes set as a COCO folder."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument("root", type=Path, help="the folder to make")
    parser.add_argument("--train", type=int, default=6000, help="training images")
    parser.add_argument("--val", type=int, default=200, help="validation images")
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> None:
    """Draws."""
    from solojax.data import synthetic

    synthetic.draw_shapes(
        arguments.root, train=arguments.train, val=arguments.val, seed=arguments.seed
    )
