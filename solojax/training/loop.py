"""The training loop, top to bottom."""

import collections
import contextlib
import math
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.convert import state_dict
from solojax.data import coco, examples, pipeline, plan
from solojax.models import detector
from solojax.training import checkpoint, goodput, guard, memory, optimizer, step
from solojax.training.log import Log
from solojax.types import Batch, InputError, Terminated, TrainState

IN_FLIGHT = 2  # steps that the devices may be behind
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # in the words of XLA


class Scores(NamedTuple):
    """What an evaluation found."""

    numbers: dict[str, float]  # named; "AP" decides which checkpoint is the best
    pictures: dict[str, np.ndarray]  # H W 3 uint8, by name; on process 0


Evaluate = Callable[[TrainState], Scores]


def train(
    config: config_lib.Config,
    records: coco.Records,
    workdir: Path,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Trains ``config`` in ``workdir`` and returns the last state, on the host.

    Leaves ``config.json``, ``checkpoints/``, ``metrics.jsonl`` and TensorBoard events. A folder
    that holds a checkpoint already goes on from there, to the same numbers as if it had not been
    stopped; a run that is interrupted or asked to end saves what it has. All processes call alike.

    Args:
      config: with the classes of the records (``config.with_categories``).
      records: the training images.
      workdir: the run folder; process 0 alone writes to it.
      evaluate: called every ``training.evaluate_every`` steps, on all processes.

    Raises:
      InputError: the batch does not divide over the devices, the folder holds another run or is in
        use, the pretrained weights do not fit, the loss is no longer finite, a device has too
        little memory, or the last checkpoint could not be written.
      Terminated: on SIGTERM, when the state is saved.
    """
    training = config.training
    parallel.check_divisible(training.batch_size, training.accumulate)
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
    state = step.start_state(
        _start_variables(config, workdir), tx, ema=config.optimizer.ema_decay > 0
    )
    _introduce(config, state, len(records.image_ids), steps, epoch_steps)

    def evaluates(done: int) -> bool:
        every = training.evaluate_every
        return evaluate is not None and every > 0 and done > 0 and done % every == 0

    with contextlib.ExitStack() as stack:
        stack.enter_context(guard.lock(workdir))
        checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir))
        state = checkpoints.restore(state)
        first = int(state.step)
        if first > steps:
            raise InputError(f"{workdir} was trained to step {first} already, not {steps}")
        if processes.is_first():
            if first:
                print(f"{workdir} holds a checkpoint: going on from step {first}", flush=True)
            # In one piece: a kill in the middle must not leave half of it.
            whole = workdir / f"{checkpoint.CONFIG}.new"
            whole.write_text(config_lib.to_json(config))
            os.replace(whole, workdir / checkpoint.CONFIG)
        evaluate_first = evaluates(first) and not checkpoints.is_scored(first)
        log = stack.enter_context(
            Log(workdir, config, first=first, scored=not evaluate_first, steps=steps)
        )
        clock = stack.enter_context(goodput.Clock())
        termination = stack.enter_context(guard.Termination())
        watchdog = stack.enter_context(guard.Watchdog(guard.STALLED_AFTER))

        update = parallel.pmap_update(step.update_of(config, tx))
        peak = goodput.peak_of(jax.local_devices()[0].device_kind)
        operations: dict[tuple[int, int], float] = {}  # of a step on one device, by canvas
        state = parallel.replicate(state)
        batches = _batches(config, records, first, steps)
        in_flight: collections.deque[step.Metrics] = collections.deque()

        def save(done: int, scores: Scores | None = None) -> None:
            with clock.spend("checkpointing"):
                checkpoints.save(done, state, scores.numbers if scores else None)

        def score(done: int) -> Scores:
            assert evaluate
            try:
                with clock.spend("evaluating"), termination.at_once():
                    scores = evaluate(state)
            except jax.errors.JaxRuntimeError as error:
                if OUT_OF_MEMORY not in str(error):
                    raise
                raise InputError(
                    "the devices have too little memory to evaluate training.batch_size="
                    f"{training.batch_size} images at once beside the training; lower it, or set "
                    "training.evaluate_every=0 and evaluate the run folder by itself"
                ) from error
            log.write(done, scores.numbers)
            for name, picture in scores.pictures.items():
                log.picture(done, name, picture)
            return scores

        done, canvas = first, config.data.canvases[0]
        try:
            if evaluate_first:  # it was stopped before it could be
                save(done, score(done))
            while done < steps and not _is_stale(checkpoints, training, done):
                done += 1
                with watchdog.watching("no batch of images came"):
                    batch = _next(batches, in_flight, clock)
                canvas = batch.images.shape[1], batch.images.shape[2]
                with clock.step():
                    placed = parallel.shard(batch)
                    if peak and canvas not in operations:
                        operations[canvas] = goodput.operations_of(
                            update, state, placed, training.accumulate
                        )
                    state, metrics = update(state, placed)
                    clock.work(operations.get(canvas, 0))
                    in_flight.append(metrics)
                # With more of them under way their batches would fill the devices' memory.
                if len(in_flight) > IN_FLIGHT:
                    with watchdog.watching("no step ended"):
                        jax.block_until_ready(in_flight.popleft())
                log.advance()

                stops = termination.asked(done)
                saves = done % training.checkpoint_every == 0 or done == steps or stops
                saves |= evaluates(done)
                if saves or done % training.log_every == 0 or done == first + 1:
                    values = {name: float(value) for name, value in metrics.items()}
                    # Before anything is saved: every checkpoint is of a finite state.
                    if not values.pop("finite"):
                        raise _not_finite(config, records, workdir, checkpoints, update, state)
                    values["learning_rate"] = float(schedule(done - 1))
                    log.write(done, values | clock.report(training.batch_size, peak))
                if saves:
                    save(done, score(done) if evaluates(done) and not stops else None)
                if stops:
                    raise Terminated
        except (KeyboardInterrupt, Terminated):
            _save_interrupted(checkpoints, state)
            raise
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            if jax.process_count() > 1:  # compiling for the table may take all processes
                raise InputError(
                    f"a device has too little memory for a step on canvas {canvas[0]}x{canvas[1]}; "
                    "`solojax bench memory` on one machine says which fields to lower"
                ) from error
            raise InputError(memory.advice(config, canvas)) from error
        checkpoints.check()
        return jax.device_get(state)


def _start_variables(config: config_lib.Config, workdir: Path) -> dict[str, Any]:
    """Fresh variables, or what ``training.pretrained`` says; process 0's are everybody's.

    A run that goes on has its own, and no need of the file that it began with.
    """
    training, key = config.training, jax.random.key(config.training.seed)
    variables = jax.jit(detector.init_variables, static_argnums=0)(config.model, key)
    begins = processes.is_first() and not checkpoint.steps_in(workdir)
    if not training.pretrained or not begins:
        return variables
    path = Path(training.pretrained)
    if not path.is_dir():
        return state_dict.load_backbone(_read_weights(training.pretrained), variables)
    found, arrays = checkpoint.read_arrays(path)
    where = f"training.pretrained={path}, checkpoint {found},"
    if training.reset_classes:
        arrays, fresh = _without_classes(arrays, variables)
        print(f"new for {len(config.data.categories)} classes: {', '.join(fresh) or 'nothing'}")
    remedy = "if only the classes differ, set training.reset_classes=True"
    return checkpoint.fill(variables, arrays, where, remedy)


def _batches(
    config: config_lib.Config, records: coco.Records, first: int, last: int, whole: bool = False
) -> Iterator[Batch]:
    """The batches of some steps: this process's part of each, or the whole."""
    return pipeline.train_batches(
        records,
        config.data,
        mask_strides=config.model.head.mask_strides,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        first=first,
        last=last,
        process=0 if whole else jax.process_index(),
        processes=1 if whole else jax.process_count(),
    )


def _next(
    batches: Iterator[Batch],
    in_flight: collections.deque[step.Metrics],
    clock: goodput.Clock,
) -> Batch:
    """The next batch; a wait counts where the devices had nothing to do at its end.

    Where the last step ended in the meantime all of the wait counts: rather too much than too
    little.
    """
    start = time.perf_counter()
    batch = next(batches)
    if not in_flight or in_flight[-1]["loss"].is_ready():
        clock.wait(time.perf_counter() - start)
    return batch


def _is_stale(
    checkpoints: checkpoint.Checkpoints, training: config_lib.Training, done: int
) -> bool:
    """Whether so many evaluations brought no better AP that the training ends."""
    if not training.early_stop or done % training.evaluate_every:
        return False
    best = checkpoints.best()  # on process 0, which decides for all
    waited = (done - best[0]) // training.evaluate_every if best else 0
    if best and waited >= training.early_stop:
        print(f"stopped early: AP {best[1]:.3f} of step {best[0]} stayed the best", flush=True)
    return bool(processes.broadcast(np.array(waited >= training.early_stop)))


def _without_classes(
    arrays: dict[str, np.ndarray], variables: dict[str, Any]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Puts fresh arrays where those of a run follow another number of classes; says which."""
    fresh = {
        name: np.asarray(array)
        for name, array in checkpoint.by_name(variables).items()
        if "/category_predictor/" in name and name in arrays and arrays[name].shape != array.shape
    }
    return arrays | fresh, sorted(fresh)


def _without_remat(model: Any) -> Any:
    """The model but for what changes its memory, not its numbers."""
    return model.clone(
        backbone=model.backbone.clone(remat_stages=()), head=model.head.clone(remat=False)
    )


def _check_same_run(config: config_lib.Config, workdir: Path) -> None:
    """Refuses to go on with a run that was another experiment."""
    path = workdir / checkpoint.CONFIG
    if not processes.is_first() or not path.is_file() or not checkpoint.steps_in(workdir):
        return
    before = config_lib.from_json(path.read_text(), str(path))
    for name, ours, theirs in (
        ("model", _without_remat(config.model), _without_remat(before.model)),
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
    if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)) or not state.finite:
        return
    done = int(state.step)
    if done:
        checkpoints.save(done, state)
    if processes.is_first():
        with contextlib.suppress(OSError):  # on a full disk; the exit code says the same
            print(f"stopped at step {done}; the same command goes on from there", flush=True)


def _not_finite(
    config: config_lib.Config,
    records: coco.Records,
    workdir: Path,
    checkpoints: checkpoint.Checkpoints,
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
    batch = next(_batches(config, records, done, done + 1))
    _, metrics = update(parallel.replicate(good), parallel.shard(batch))
    terms = ", ".join(f"{name} {float(value):g}" for name, value in metrics.items())
    batch = next(_batches(config, records, done, done + 1, whole=True))
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


def _introduce(
    config: config_lib.Config, state: TrainState, images: int, steps: int, epoch_steps: int
) -> None:
    """Prints what is about to happen, the learning rate that the scaling rule gives included."""
    if not processes.is_first():
        return
    params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    training, optim = config.training, config.optimizer
    parts = f" in {training.accumulate} parts on each device" if training.accumulate > 1 else ""
    rate = f"{optimizer.scaled_learning_rate(optim, training.batch_size):g}"
    scaled = (
        f"{optim.learning_rate:g} x {training.batch_size} / {optim.base_batch_size} = {rate} "
        "(linear in the batch size)"
        if optim.base_batch_size
        else f"{rate}, whatever the batch size (optimizer.base_batch_size=0)"
    )
    print(
        f"{images} images, {len(config.data.categories)} classes; {params:,} parameters on "
        f"{jax.device_count()} x {jax.local_devices()[0].device_kind}, computing in "
        f"{parallel.resolve_precision(training.precision)}\n"
        f"{steps} steps of {training.batch_size}{parts} ({steps / epoch_steps:.1f} epochs)\n"
        f"learning rate {scaled}",
        flush=True,
    )
    backbone = config.model.backbone
    frozen = backbone.norm.startswith("frozen") or any(
        map(backbone.is_frozen, traverse_util.flatten_dict(state.params["backbone"]))
    )
    if frozen and not training.pretrained:
        print("the backbone is frozen in part, at random: set training.pretrained", flush=True)


def _read_weights(path: str) -> dict[str, np.ndarray]:
    """A ``.npz`` of arrays; anything that would have to be unpickled is refused."""
    if not Path(path).is_file():
        raise InputError(f"training.pretrained={path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as weights:
            arrays = dict(weights)
        if strange := [name for name, x in arrays.items() if not isinstance(x, np.ndarray)]:
            raise ValueError(f"{strange[0]} in it is none")
        return arrays
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"training.pretrained={path} is not an .npz of arrays: {error}") from error
