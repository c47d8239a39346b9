"""``solojax train``: trains a config, or what a folder asks for, or goes on with either."""

import argparse
from pathlib import Path

from solojax import config as config_lib
from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="a COCO folder, or any that data import reads, for which a config is made",
    )
    options.add_config(parser, required=False)
    parser.add_argument(
        "--workdir", type=Path, help="the run folder; of a FOLDER, runs/ and its name by default"
    )
    options.add_plan(parser)
    options.add_processes(parser)
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace) -> None:
    """Trains."""
    if (arguments.folder is None) == (arguments.config is None):
        arguments.refuse("give the folder to learn from, or a --config; one of the two")
    if arguments.folder is None and arguments.workdir is None:
        arguments.refuse("give the run folder as --workdir")

    from solojax import processes
    from solojax.evaluation import watch
    from solojax.recipe import run as recipe
    from solojax.training import experiment

    if arguments.workdir and ":" in str(arguments.workdir).split("/")[0]:
        raise InputError(
            f"--workdir {arguments.workdir} is no folder of this machine; process 0 needs one, "
            "which may be a bucket that is mounted"
        )
    processes.start(arguments.coordinator, arguments.process, arguments.processes)
    if folder := arguments.folder:
        workdir = arguments.workdir or recipe.workdir_of(folder)
        print(recipe.run(folder, workdir, options.wishes_of(arguments), arguments.typed))
    else:
        config = config_lib.load(arguments.config, arguments.set)
        experiment.train(config, arguments.workdir, watch.make_watch)
    processes.finish()
