"""``solojax train``: trains a config in a run folder, or goes on with it."""

import argparse
from pathlib import Path

from solojax import config as config_lib
from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_config(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="the run folder")
    options.add_processes(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains."""
    from solojax import processes
    from solojax.evaluation import watch
    from solojax.training import experiment

    workdir = arguments.workdir
    if ":" in str(workdir).split("/")[0]:
        raise InputError(
            f"--workdir {workdir} is no folder of this machine; process 0 needs one, which may be "
            "a bucket that is mounted"
        )
    processes.start(arguments.coordinator, arguments.process, arguments.processes)
    config = config_lib.load(arguments.config, arguments.set)
    experiment.train(config, workdir, watch.make_watch)
    processes.finish()
