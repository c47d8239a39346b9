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
    head, data = config.model.head, config.data
    named = len(data.categories), len(data.categories) + len(data.stuff)
    known = getattr(head, "num_classes", named[0]), getattr(head, "num_labels", named[1])
    for of, there, wanted in zip(("categories", "labels"), named, known, strict=True):
        if there != wanted:
            raise InputError(
                f"{run} names {there} {of} and its network knows {wanted}; give them as "
                "data.categories and data.stuff in its config.json"
            )
    like = detector.variable_shapes(config.model)
    step, variables = checkpoints.read_variables(run, like, str(checkpoint))
    return Trained(config, step, variables, thresholds.read(run, step))
