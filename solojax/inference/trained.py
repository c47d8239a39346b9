"""What a run folder has for whoever finds things by it."""

from pathlib import Path
from typing import Any, NamedTuple

from solojax import config as config_lib
from solojax.inference import thresholds
from solojax.models import detector
from solojax.training import checkpoint as checkpoints
from solojax.types import InputError


class Trained(NamedTuple):
    """A network with all that its use asks for."""

    config: config_lib.Config
    step: int  # of the checkpoint
    variables: dict[str, Any]  # of the model
    least_scores: thresholds.Thresholds


def read(run: Path, checkpoint: str | int = "latest") -> Trained:
    """Reads a run folder.

    Args:
      run: the folder.
      checkpoint: ``latest``, ``best`` (by AP while training) or a step.

    Raises:
      InputError: it is no run folder, names not as many categories as its network knows, or has no
        such checkpoint.
    """
    config = checkpoints.read_config(run)
    known, wanted = len(config.data.categories), config.model.head.num_classes
    if known != wanted:
        raise InputError(
            f"{run} names {known} categories and its network knows {wanted}; give them as "
            "data.categories in its config.json"
        )
    like = detector.variable_shapes(config.model)
    step, variables = checkpoints.read_variables(run, like, str(checkpoint))
    return Trained(config, step, variables, thresholds.read(run, step))
