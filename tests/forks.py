"""Processes that begin at once: forks of a server that has imported all they need."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax
import tensorflow  # noqa: F401  # it and the rest for the server
from tqdm import tqdm

from solojax import cli  # noqa: F401
from solojax.evaluation import score_run, watch  # noqa: F401
from solojax.training import experiment  # noqa: F401
from tests import examples, quick  # noqa: F401

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def start(output: Path, devices: int, function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Runs a function, which may return an exit code, and appends what it prints to a file."""
    process = _CONTEXT.Process(target=_run, args=(output, devices, function, arguments))
    process.start()
    return process


def _run(output: Path, devices: int, function: Callable[..., Any], arguments: tuple) -> None:
    with output.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    tqdm.set_lock(threading.RLock())  # one for processes would be told of as leaked by a kill
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    sys.exit(function(*arguments))
