"""Arguments that several commands take, and the config that they lead to."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from solojax import config as config_lib
from solojax.types import InputError

BUDGET = "30m"  # of a training whose config is made for it


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """``--config`` and ``--set``."""
    known = ", ".join(config_lib.names())
    parser.add_argument(
        "--config", required=required, help=f"a file such as my/own.py, or one of {known}"
    )
    add_set(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """``--set``, any number of times."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of the config, as in --set training.steps=500 data.root=my/folder",
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """What a config for a folder is made from beside the folder."""
    planned = parser.add_argument_group("a config for a folder")
    planned.add_argument(
        "--budget", metavar="TIME", help=f"such as 2h or steps=2000; {BUDGET} where not given"
    )
    planned.add_argument(
        "--weights",
        metavar="FILE",
        help="of an ImageNet ResNet to start from, or a run or owner/name of the Hugging Face Hub "
        "whose network is taken; else from scratch",
    )
    planned.add_argument(
        "--device-memory", type=float, metavar="GIB", help="of one device, where it does not say"
    )


def device_memory(arguments: argparse.Namespace) -> float | None:
    """GiB that ``--device-memory`` was given."""
    given = arguments.device_memory
    if given is not None and not 0 < given < float("inf"):
        raise InputError(f"--device-memory {given:g} must be above 0: GiB of one device")
    return given


def wishes_of(arguments: argparse.Namespace) -> Any:
    """What ``add_plan`` and ``add_set`` were given, as ``recipe.plan.Wishes``."""
    from solojax.recipe import plan, schedule

    given = device_memory(arguments)
    budget = schedule.read_budget(arguments.budget or BUDGET)
    return plan.Wishes(budget, arguments.weights or "", given, arguments.set)


def add_root(parser: argparse.ArgumentParser) -> None:
    """``ROOT``, for ``load_data``."""
    parser.add_argument("root", nargs="?", help="the COCO folder, in place of the config's")


def add_run(parser: argparse.ArgumentParser) -> None:
    """``--run``, for what ``hub.folder_of`` takes."""
    parser.add_argument(
        "--run",
        dest="workdir",
        required=True,
        type=Path,
        help="the run folder, or owner/name of the Hugging Face Hub",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """``--checkpoint`` of a run."""
    parser.add_argument(
        "--checkpoint", default="latest", help="latest, best (by AP while training) or a step"
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """What ``processes.start`` asks for."""
    several = parser.add_argument_group(
        "several processes", "found out by themselves under SLURM's srun and on TPU pods"
    )
    several.add_argument("--coordinator", default="", help="host:port of process 0")
    several.add_argument("--process", type=int, help="number of this one, from 0")
    several.add_argument("--processes", type=int, help="how many there are")


@dataclasses.dataclass(frozen=True)
class _DataOnly:
    """What takes the place of a config where no model is needed."""

    data: config_lib.Data = config_lib.Data()


def load_data(arguments: argparse.Namespace) -> Any:
    """The config of a command on data, its folder taken from the command line.

    Raises:
      InputError: neither a folder nor a config is given, or what is given is wrong.
    """
    root = [f"data.root={arguments.root}"] if arguments.root else []
    if not (root or arguments.set) and arguments.config is None:
        raise InputError("no folder given; give ROOT or --config")
    if arguments.config is not None:
        return config_lib.load(arguments.config, [*root, *arguments.set])
    return config_lib.override(_DataOnly(), *root, *arguments.set)
