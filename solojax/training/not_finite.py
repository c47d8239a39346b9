"""What is kept and told where a loss was not finite."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.data.records import coco
from solojax.training.batches import batches_of
from solojax.training.checkpointer import Checkpoints
from solojax.types import Batch, InputError, TrainState


def failure(
    config: config_lib.Config,
    records: coco.Records,
    workdir: Path,
    checkpoints: Checkpoints,
    update: Any,
    state: TrainState,
) -> InputError:
    """Saves the last good state and the batch that spoiled it; the error to raise.

    The state has stood still since. What it was given then is made again, as all data can be, and
    so are its losses.
    """
    good = jax.device_get(state)._replace(finite=np.ones((), bool))
    done = int(good.step)
    if done:
        checkpoints.save(done, good)
    batch = next(batches_of(config, records, done, done + 1))
    _, metrics = update(parallel.replicate(good), parallel.shard(batch))
    terms = ", ".join(f"{name} {float(value):g}" for name, value in metrics.items())
    batch = next(batches_of(config, records, done, done + 1, whole=True))
    image_ids = [records.image_ids[i] for i in batch.indices]
    path = workdir / f"not_finite_step_{done + 1}.npz"
    if processes.is_first():
        try:
            _dump(path, batch, image_ids)
        except OSError as error:
            print(f"solojax: warning: {path}: {error}", file=sys.stderr, flush=True)
    return InputError(
        f"the loss is not finite at step {done + 1} ({terms}); its images {image_ids} lie as the "
        f"network saw them in {path}, and the checkpoint of step {done} is sound; lower "
        "optimizer.learning_rate, or look at those images, and the same command goes on"
    )


def _dump(path: Path, batch: Batch, image_ids: list[int]) -> None:
    """Writes a batch as ``np.load`` reads it; masks are packed bits, as in ``types.Instances``."""
    arrays = {**batch._asdict(), **batch.instances._asdict(), "image_ids": np.array(image_ids)}
    masks = arrays.pop("masks")
    del arrays["instances"]
    np.savez_compressed(path, **arrays, **{f"masks_{stride}": masks[stride] for stride in masks})
