"""``solojax push``: a run goes to the Hugging Face Hub, or into a folder to share."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import escaped


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument(
        "workdir", type=Path, metavar="RUN", help="the run folder, or a folder that --to made"
    )
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="OWNER/NAME",
        help="on the Hugging Face Hub, for which `hf auth login` logs in",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="write the folder here; without OWNER/NAME nothing leaves this machine",
    )
    options.add_checkpoint(parser)
    parser.add_argument(
        "--data", default="", metavar="TEXT", help="what it was trained on, in words"
    )
    parser.add_argument(
        "--license", default="", metavar="ID", help="of the weights, such as apache-2.0"
    )
    parser.add_argument("--no-picture", action="store_true", help="show no validation image")
    parser.add_argument("--private", action="store_true", help="for the owner's eyes alone")


def run(arguments: argparse.Namespace) -> None:
    """Pushes."""
    from solojax.sharing import share

    wishes = share.Wishes(
        arguments.checkpoint, arguments.data, arguments.license, not arguments.no_picture
    )
    for line in share.push(
        arguments.workdir, arguments.name, arguments.to, arguments.private, wishes
    ):
        print(escaped(line))
