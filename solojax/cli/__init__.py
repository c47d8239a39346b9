"""The command line: ``solojax train | eval | predict | ...``, ``train.py``, ``eval.py``.

What a user got wrong ends with one line and exit code 2; a training that was cut off and can go on
with ``types.RESTART``.

A command is a module of this folder: ``add`` declares its arguments, and ``run`` reads them and
calls what does the work, which lives below. Only ``run`` imports that: TensorFlow and JAX take
seconds, ``--help`` should not.
"""

import argparse
import importlib
import io
import os
import select
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from solojax import __version__, allocator, compilation
from solojax.types import RESTART, InputError, Terminated

UNREAD = 128 + 13  # exit code of what SIGPIPE ended, which is how others end that nobody reads

COMMANDS = {  # as it is typed, which names its module: "data import" is data_import.py
    "train": "train on a folder, or a config",
    "plan": "say what train would do with a folder, and why",
    "eval": "score a run on its validation images",
    "predict": "find the instances in images and videos",
    "export": "make files of a run that run without solojax",
    "demo": "a page to drop images on, for a browser",
    "convert": "make a run, or a file to share, of published weights",
    "push": "share a run, as a folder or on the Hugging Face Hub",
    "data shapes": "draw the shapes set as a COCO folder",
    "data prepare": "check a COCO folder and write its records",
    "data check": "say all that is wrong with a COCO folder, and what cures it",
    "data stats": "count what is there and, of a head with a grid, who gets a cell",
    "data show": "draw what a training sees",
    "data import": "turn a set of another form into a COCO folder",
    "bench": "measure training, prediction and what is around them",
    "bench memory": "what a training step needs on a device",
    "bench growth": "how operations and memory grow with batch, canvas, instances and classes",
    "bench data": "how fast images come, and what takes the time",
    "info": "versions, devices, and the parameters and operations of a config",
}
GROUPS = {"data": "make and look at data sets"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be what no encoding knows
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not _end_unread_streams():
            raise
        _leave(UNREAD, f"nobody reads its output any more: {error}")
        return UNREAD


def _end_unread_streams() -> bool:
    """Turns output that nobody reads (``| head``) to nowhere; whether there was any."""
    unread = False
    for stream in (1, 2):
        ends = select.poll()
        ends.register(stream, 0)
        if any(event & select.POLLERR for _, event in ends.poll(0)):
            unread = True
            with open(os.devnull, "w") as nowhere:  # else Python complains of it at its end
                os.dup2(nowhere.fileno(), stream)
    return unread


def _run(argv: Sequence[str] | None) -> int:
    # TensorFlow only reads data here: its greetings are not about the user's work.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    arguments = _parser().parse_args(argv)
    arguments.typed = shlex.join(["solojax", *(sys.argv[1:] if argv is None else argv)])
    compilation.keep()
    allocator.keep()
    code, failure = 0, ""
    try:
        _check_text(arguments)
        code = arguments.run(arguments) or 0  # a number where it is an answer, as of data check
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        code, failure = 2, f"error: {error}"
    except Terminated:
        code, failure = RESTART, "ended by SIGTERM; the same command goes on"
    except KeyboardInterrupt:
        code, failure = 130, "stopped"
    except Exception as error:
        traceback.print_exc()
        _leave(1, f"{type(error).__name__}: {error}")
        return 1
    if failure:  # said here, when the progress bars of what failed are closed
        print(f"solojax: {failure}", file=sys.stderr, flush=True)
        _leave(code, failure)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("solojax", description="Instance segmentation in JAX.")
    parser.add_argument("--version", action="version", version=f"solojax {__version__}")
    places = {"": parser.add_subparsers(required=True)}
    commands: dict[str, argparse.ArgumentParser] = {}
    for typed, purpose in COMMANDS.items():
        group, _, name = typed.rpartition(" ")
        if group not in places:  # one that is a command itself may be followed by none
            above = commands.get(group) or places[""].add_parser(group, help=GROUPS[group])
            places[group] = above.add_subparsers(required=group not in commands)
        command = importlib.import_module(f"{__name__}.{typed.replace(' ', '_')}")
        arguments = places[group].add_parser(name, help=purpose)
        command.add(arguments)
        arguments.set_defaults(run=command.run)
        commands[typed] = arguments
    return parser


def _check_text(arguments: argparse.Namespace) -> None:
    """Refuses what nothing can be called; a shell hands none of it over, another program may."""
    for name, given in vars(arguments).items():
        for one in given if isinstance(given, list) else [given]:
            if not isinstance(one, str | Path):
                continue
            try:
                sound = b"\0" not in os.fsencode(one)
            except UnicodeEncodeError:
                sound = False
            if not sound:
                raise InputError(f"{name} {str(one)!r} has characters that no path and no text has")


def _leave(code: int, message: str) -> None:
    """Ends the process where it is one of several, which would wait for it."""
    if processes := sys.modules.get("solojax.processes"):
        processes.leave(code, message)
