"""``solojax export``: a run becomes files that run without solojax."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError

ENDINGS = {"stablehlo": ".stablehlo.zip"}


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_run(parser)
    parser.add_argument(
        "--to", required=True, choices=ENDINGS, help="what kind of file (docs/export.md)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="by default called as the run folder is"
    )
    options.add_checkpoint(parser)
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images at a time; without it any number of them"
    )


def run(arguments: argparse.Namespace) -> None:
    """Exports."""
    from solojax.export import stablehlo
    from solojax.inference import trained
    from solojax.training import hub

    if arguments.batch is not None and arguments.batch < 1:
        raise InputError(f"--batch {arguments.batch} must be at least 1")
    name = arguments.workdir.resolve().name + ENDINGS[arguments.to]
    found = trained.read(hub.folder_of(arguments.workdir), arguments.checkpoint)
    for path in stablehlo.write(found, arguments.out or Path(name), arguments.batch):
        print(f"{path}: {path.stat().st_size:,} bytes")
