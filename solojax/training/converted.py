"""Weights of elsewhere as a run folder, and a run as a file: what ``solojax convert`` writes."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from solojax import config as config_lib
from solojax import parallel, writing
from solojax.convert import containers, safetensors, weights
from solojax.models import detector
from solojax.training import checkpoint, guard, hub, optimizer, step
from solojax.training.checkpointer import Checkpoints
from solojax.types import InputError

FILE = ".safetensors"
OTHERS = {*containers.ENDINGS, ".json"} - {FILE}  # which nothing here writes


def convert(
    source: Path, to: Path, config: str = "", classes: str = "", ema: bool = False
) -> list[str]:
    """Writes a detector as what is wanted and returns what is to be said of it.

    Args:
      source: a file of weights, a run folder, or what ``hub.folder_of`` takes for one.
      to: the run folder to make, or a file that ends in ``.safetensors``.
      config: as of ``weights.read``, not for a run.
      classes: as of ``weights.read``, not for a run.
      ema: as of ``weights.read``, not for a run.

    Raises:
      InputError: as of ``weights.read``, or ``to`` is there already.
    """
    if to.exists() and (to.is_file() or any(to.iterdir())):
        raise InputError(f"{to} is there already; give another place by --to, or remove it")
    if to.suffix in OTHERS:
        raise InputError(f"--to {to}: give a run folder, or a file that ends in {FILE}")
    called, source = source, hub.folder_of(source)
    if source.is_dir():
        if config or classes or ema:
            raise InputError(
                f"{source} is a run, which has a config, classes and one set of weights"
            )
        found = _run(source, called)
    else:
        found = weights.read(source, config, classes, ema)
    if to.suffix == FILE:
        about = {"format": "solojax", weights.CONFIG: config_lib.to_json(found.config)}
        writing.put(to, safetensors.written(weights.named(found.variables), about))
        return [*found.said, f"next: solojax convert {to} --to RUN"]
    write_run(found.config, found.variables, to)
    return [*found.said, f"next: solojax predict PHOTO --run {to}"]


def write_run(config: config_lib.Config, variables: dict[str, Any], workdir: Path) -> None:
    """Makes the run folder of a training that has not begun, with these weights.

    Raises:
      InputError: it cannot be written.
    """
    # What the state is of the optimizer's does not follow from the rate.
    tx = optimizer.make_optimizer(config.optimizer, lambda _: 0.0, config.model)
    variables = jax.tree.map(np.ascontiguousarray, variables)

    def start(variables: dict[str, Any]) -> Any:
        return step.start_state(variables, tx, config.optimizer.ema_decay > 0)

    state = parallel.jit_once(start)(variables)
    with writing.told(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with guard.lock(workdir), Checkpoints(workdir) as checkpoints:
        checkpoints.save(0, state)
        checkpoints.check()
        writing.put(workdir / checkpoint.CONFIG, config_lib.to_json(config).encode())


def _run(workdir: Path, called: Path) -> weights.Weights:
    config = checkpoint.read_config(workdir)
    found, variables = checkpoint.read_variables(workdir, detector.variable_shapes(config.model))
    return weights.Weights(config, variables, [f"read: checkpoint {found} of {called}"])
