"""The training loop, top to bottom."""

import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from tqdm import tqdm

from solojax import config as config_lib
from solojax import parallel
from solojax.convert import state_dict
from solojax.data import coco, examples, pipeline, plan
from solojax.models import detector
from solojax.training import checkpoint, optimizer, step
from solojax.types import Batch, InputError, TrainState

CONFIG = "config.json"  # in the run folder

Evaluate = Callable[[TrainState], dict[str, float]]


def train(
    config: config_lib.Config,
    records: coco.Records,
    workdir: Path,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Trains ``config`` in ``workdir`` and returns the last state, on the host.

    Leaves ``config.json``, ``checkpoints/``, ``metrics.jsonl`` and TensorBoard events. A folder
    that holds a checkpoint already goes on from there; an interrupted run saves what it has.

    Args:
      config: with the classes of the records (``config.with_categories``).
      records: the training images.
      workdir: the run folder.
      evaluate: state -> named numbers, called every ``training.evaluate_every`` steps.

    Raises:
      InputError: the batch does not divide over the devices, the folder holds another run, the
        pretrained weights do not fit, or the loss is no longer finite.
    """
    training = config.training
    parallel.check_divisible(training.batch_size)
    _check_same_run(config, workdir)
    canvas_of = examples.train_canvases_of(records, config.data)
    epoch_steps = plan.steps_per_epoch(canvas_of, training.batch_size)
    steps = training.steps or math.ceil(training.epochs * epoch_steps)
    schedule = optimizer.make_schedule(
        config.optimizer,
        batch_size=training.batch_size,
        steps=steps,
        steps_per_epoch=epoch_steps,
    )
    model = config.model
    tx = optimizer.make_optimizer(config.optimizer, schedule, model)
    ema_decay = config.optimizer.ema_decay
    weights = _read_weights(training.pretrained) if training.pretrained else None
    key = jax.random.key(training.seed)
    variables = jax.jit(detector.init_variables, static_argnums=0)(model, key)
    if weights is not None:
        variables = state_dict.load_backbone(weights, variables)
    state = step.start_state(variables, tx, ema=ema_decay > 0)
    _introduce(config, state, len(records.image_ids), steps, epoch_steps)

    workdir.mkdir(parents=True, exist_ok=True)
    with checkpoint.Checkpoints(workdir) as checkpoints, _Log(workdir) as log:
        first = checkpoints.latest_step() or 0
        if first > steps:
            raise InputError(f"{workdir} was trained to step {first} already, not {steps}")
        if first:
            state = checkpoints.restore(state)
            print(f"{workdir} holds a checkpoint: going on from step {first}", flush=True)
        (workdir / CONFIG).write_text(config_lib.to_json(config))

        update = parallel.pmap_update(
            step.make_update(model, tx, seed=training.seed, ema_decay=ema_decay)
        )
        state = parallel.replicate(state)
        batches = pipeline.train_batches(
            records,
            config.data,
            mask_strides=model.head.mask_strides,
            batch_size=training.batch_size,
            seed=training.seed,
            first=first,
            last=steps,
        )
        with tqdm(desc="training", total=steps, initial=first, unit="step", smoothing=0.05) as bar:
            bar.set_postfix_str("compiling")
            waiting = _Waiting(batches)
            try:
                for done, batch in enumerate(waiting, start=first + 1):
                    state, metrics = update(state, parallel.shard(batch))
                    waiting.last_step = metrics["loss"]
                    bar.update()
                    saves = done % training.checkpoint_every == 0 or done == steps
                    if saves or done % training.log_every == 0 or done == first + 1:
                        values = {name: float(value) for name, value in metrics.items()}
                        values["learning_rate"] = float(schedule(done - 1))
                        values["waiting_for_data"] = waiting.share()
                        log.write(done, values)
                        bar.set_postfix_str(f"loss {values['loss']:.3f}")
                        # Before anything is saved: the last checkpoint must be a good one.
                        _check_finite(values, done, [records.image_ids[i] for i in batch.indices])
                    if saves:
                        checkpoints.save(done, state)
                    if evaluate and training.evaluate_every and done % training.evaluate_every == 0:
                        log.write(done, evaluate(state))
            except KeyboardInterrupt:
                _save_interrupted(checkpoints, state)
                raise
        return jax.device_get(state)


def _check_same_run(config: config_lib.Config, workdir: Path) -> None:
    """Refuses to go on with a run that was another experiment."""
    path = workdir / CONFIG
    if not path.is_file():
        return
    before = config_lib.from_json(path.read_text(), str(path))
    for name, ours, theirs in (
        ("model", config.model, before.model),
        ("data.categories", config.data.categories, before.data.categories),
        ("training.batch_size", config.training.batch_size, before.training.batch_size),
        ("training.seed", config.training.seed, before.training.seed),
    ):
        if ours != theirs:
            raise InputError(
                f"{workdir} holds a run whose {name} is not that of the config; take another "
                "workdir, or remove that one"
            )


def _save_interrupted(checkpoints: checkpoint.Checkpoints, state: TrainState) -> None:
    """Saves the last whole state, unless the interruption fell into the middle of an update."""
    if not any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
        done = int(state.step)
        if done > (checkpoints.latest_step() or 0):
            checkpoints.save(done, state)
        print(f"stopped at step {done}; the same command goes on from there", flush=True)


def _introduce(
    config: config_lib.Config, state: TrainState, images: int, steps: int, epoch_steps: int
) -> None:
    """Prints what is about to happen, the learning rate that the scaling rule gives included."""
    params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    batch_size, optim = config.training.batch_size, config.optimizer
    print(
        f"{images} images, {len(config.data.categories)} classes; {params:,} parameters on "
        f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}\n"
        f"{steps} steps of {batch_size} ({steps / epoch_steps:.1f} epochs)\n"
        f"learning rate {optim.learning_rate:g} x {batch_size} / {optim.base_batch_size} = "
        f"{optimizer.scaled_learning_rate(optim, batch_size):g} (linear in the batch size)",
        flush=True,
    )
    backbone = config.model.backbone
    frozen = backbone.norm.startswith("frozen") or any(
        map(backbone.is_frozen, traverse_util.flatten_dict(state.params["backbone"]))
    )
    if frozen and not config.training.pretrained:
        print("the backbone is frozen in part, at random: set training.pretrained", flush=True)


def _read_weights(path: str) -> dict[str, np.ndarray]:
    """A ``.npz`` of arrays; anything that would have to be unpickled is refused."""
    if not Path(path).is_file():
        raise InputError(f"training.pretrained={path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as weights:
            return dict(weights)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"training.pretrained={path} is not an .npz of arrays: {error}") from error


def _check_finite(values: dict[str, float], done: int, image_ids: list[int]) -> None:
    if not math.isfinite(values["loss"] + values["grad_norm"]):
        terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise InputError(
            f"the loss is not finite at step {done} ({terms}); images {image_ids}; lower "
            "optimizer.learning_rate and start again: the last checkpoint is sound"
        )


class _Waiting:
    """An iterator that knows how long the devices waited for it.

    Steps are dispatched ahead: while the last one runs, nobody waits. Where it ended in the
    meantime all of the time counts, so that the share is rather too large than too small.
    """

    def __init__(self, batches: Iterator[Batch]):
        self._batches, self._waited, self._since = batches, 0.0, time.perf_counter()
        self.last_step: Any = None  # an output of the step that was dispatched last

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._batches)
        if self.last_step is None or self.last_step.is_ready():
            self._waited += time.perf_counter() - start
        return batch

    def share(self) -> float:
        """Of the time since the last call, in 0..1."""
        now = time.perf_counter()
        waited, since = self._waited, self._since
        self._waited, self._since = 0.0, now
        return waited / max(now - since, 1e-9)


class _Log:
    """Numbers by step, in ``metrics.jsonl`` and as TensorBoard scalars."""

    def __init__(self, workdir: Path):
        # TensorFlow is in the process already, for the data.
        import tensorflow as tf

        self._lines = (workdir / "metrics.jsonl").open("a")
        self._tf, self._events = tf, tf.summary.create_file_writer(str(workdir / "tensorboard"))

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "time": round(time.time(), 3), **rounded}))
        self._lines.write("\n")
        self._lines.flush()
        with self._events.as_default(step=step):
            for name, value in values.items():
                self._tf.summary.scalar(name, value)
