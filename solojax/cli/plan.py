"""``solojax plan``: what would be trained on a folder, and why; trains nothing."""

import argparse
from pathlib import Path

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument("folder", type=Path, help="a COCO folder, or any that data import reads")
    options.add_plan(parser)
    options.add_set(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the config there, as Python"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it there, as SVG")


def run(arguments: argparse.Namespace) -> None:
    """Plans."""
    from solojax import writing
    from solojax.recipe import plan, run

    folder = arguments.folder
    planned = plan.make(folder, run.workdir_of(folder), options.wishes_of(arguments))
    print(planned)
    if arguments.out:
        writing.put(arguments.out, planned.code(arguments.typed).encode())
    if arguments.picture:
        writing.put(arguments.picture, planned.picture.encode())
    print(f"next: solojax train {folder}")
