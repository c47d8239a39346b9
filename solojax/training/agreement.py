"""Whether all mean the same training: a run folder and its config, one process and the others."""

from pathlib import Path
from typing import Any

import jax

from solojax import config as config_lib
from solojax import processes
from solojax.data.records import coco
from solojax.models import detector
from solojax.training import checkpoint
from solojax.types import InputError


def check_processes(config: config_lib.Config, records: coco.Records, scores: bool) -> None:
    """Raises InputError where processes were given different trainings; all must call it.

    Args:
      config: the experiment.
      records: the images of a split; they, their sizes and their annotations must be the same.
      scores: whether it is scored.
    """
    # Where the files lie may differ between hosts; what is in them may not.
    here = ["data.root=", "data.records=", "data.workers=0", "training.pretrained="]
    shared = config_lib.to_json(config_lib.override(config, *here))
    seen = records.fingerprint, records.image_ids, records.sizes.tolist()
    processes.check_agreement(shared, seen, scores, jax.__version__)


def check_run(config: config_lib.Config, workdir: Path) -> None:
    """Raises InputError where a folder holds a run that was another experiment."""
    path = workdir / checkpoint.CONFIG
    if not processes.is_first() or not path.is_file() or not checkpoint.steps_in(workdir):
        return
    before = config_lib.from_json(path.read_bytes(), str(path))
    for name, ours, theirs in (
        ("model", _without_remat(config), _without_remat(before)),
        ("data.categories", config.data.categories, before.data.categories),
        ("training.batch_size", config.training.batch_size, before.training.batch_size),
        ("training.seed", config.training.seed, before.training.seed),
    ):
        if ours != theirs:
            raise InputError(
                f"{workdir} holds a run whose {name} is not that of the config; take another "
                "workdir, or remove that one"
            )


def _without_remat(config: config_lib.Config) -> Any:
    """The model but for what changes its memory, not its numbers."""
    kept = [
        f"{place}.{field}={type(most)()}"
        for place, part in detector.modules(config.model)
        for field, most in detector.REMAT.items()
        if hasattr(part, field)
    ]
    return config_lib.override(config, *kept).model
