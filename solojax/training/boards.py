"""Programs with a page that trainings report to: Weights & Biases and MLflow.

The same run folder is the same run there, however often it was cut off.
"""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from solojax import config as config_lib
from solojax.types import InputError

MOST_PARAMETERS = 100  # that MLflow takes at once


class Board(Protocol):
    """What is written of a training for others to see; its calls may fail in any way."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Adds numbers of a step."""

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Adds an ``H W 3`` uint8 RGB picture."""

    def end(self, *, failed: bool) -> None:
        """Says that the training is over for now."""


def start(workdir: Path, config: config_lib.Config) -> list[Board]:
    """Those that a config asks for.

    Raises:
      InputError: one of their packages is missing, or MLflow does not answer.
    """
    boards: list[Board] = []
    if config.training.wandb:
        boards.append(WandB(config.training.wandb, workdir, config))
    if config.training.mlflow:
        boards.append(MLflow(config.training.mlflow, workdir, config))
    return boards


class WandB:
    """A run of a project of Weights & Biases."""

    def __init__(self, project: str, workdir: Path, config: config_lib.Config):
        try:
            import wandb
        except ImportError as error:
            raise InputError(
                f"training.wandb={project} needs wandb; `pip install wandb`, or leave the field "
                "empty"
            ) from error
        identity = workdir / "wandb_run"
        if not identity.is_file():
            identity.write_text(uuid.uuid4().hex)
        self._image = wandb.Image
        self._run = wandb.init(
            project=project,
            name=workdir.name,
            id=identity.read_text(),
            dir=str(workdir),
            resume="allow",
            config=json.loads(config_lib.to_json(config)),
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._run.log({name: self._image(pixels)}, step=step)

    def end(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of an experiment of MLflow, where MLFLOW_TRACKING_URI says; it does not wait there."""

    def __init__(self, experiment: str, workdir: Path, config: config_lib.Config):
        try:
            import mlflow
        except ImportError as error:
            raise InputError(
                f"training.mlflow={experiment} needs mlflow; `pip install mlflow`, or leave the "
                "field empty"
            ) from error
        self._mlflow = mlflow
        try:
            self._client = mlflow.MlflowClient()
            self._id = self._go_on(workdir / "mlflow_run") or self._begin(
                experiment, workdir, config
            )
        except (mlflow.exceptions.MlflowException, OSError) as error:
            about = str(error).partition("\n")[0][:200]
            raise InputError(
                f"training.mlflow={experiment}: {mlflow.get_tracking_uri()} does not take it: "
                f"{about}; see that MLFLOW_TRACKING_URI is right, or leave the field empty"
            ) from error

    def numbers(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._mlflow.entities.Metric(name, value, now, step) for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics, synchronous=False)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._client.log_image(self._id, pixels, key=name, step=step, synchronous=False)

    def end(self, *, failed: bool) -> None:
        self._mlflow.flush_async_logging()
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _go_on(self, identity: Path) -> str:
        """The run of this folder, or nothing where that is gone or of another server."""
        if not identity.is_file():
            return ""
        run = identity.read_text()
        try:
            self._client.update_run(run, status="RUNNING")
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""
        return run

    def _begin(self, experiment: str, workdir: Path, config: config_lib.Config) -> str:
        there = self._client.get_experiment_by_name(experiment)
        number = there.experiment_id if there else self._client.create_experiment(experiment)
        run = self._client.create_run(number, run_name=workdir.name).info.run_id
        parameters = [
            self._mlflow.entities.Param(name, value)
            for name, value in _flatten(json.loads(config_lib.to_json(config)))
        ]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            some = parameters[first : first + MOST_PARAMETERS]
            self._client.log_batch(run, params=some)
        (workdir / "mlflow_run").write_text(run)
        return str(run)


def _flatten(config: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """``{"data": {"root": "a"}}`` -> ``data.root``, ``a``."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value)
