"""The training loop, top to bottom."""

import collections
import contextlib
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from solojax import config as config_lib
from solojax import device_memory, fields, parallel, processes, writing
from solojax.data import examples
from solojax.data.records import coco
from solojax.models import detector
from solojax.training import (
    agreement,
    checkpoint,
    goodput,
    guard,
    not_finite,
    optimizer,
    out_of_memory,
    pretrained,
    step,
)
from solojax.training.batches import batches_of, next_of
from solojax.training.checkpointer import Checkpoints
from solojax.training.log import Log
from solojax.types import InputError, Terminated, TrainState

IN_FLIGHT = 2  # steps that the devices may be behind


class Scores(NamedTuple):
    """What an evaluation found."""

    numbers: dict[str, float]  # named; one of ``deciding`` says which checkpoint is the best
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
    agreement.check_run(config, workdir)
    epoch_steps = examples.steps_per_epoch(records, config.data, training.batch_size)
    steps = training.steps or math.ceil(training.epochs * epoch_steps)
    if steps > fields.MOST:
        raise InputError(
            f"training.epochs={training.epochs:g} are {steps:g} steps, more than {fields.MOST}"
        )
    schedule = optimizer.make_schedule(
        config.optimizer,
        batch_size=training.batch_size,
        steps=steps,
        steps_per_epoch=epoch_steps,
    )
    model = config.model
    tx = optimizer.make_optimizer(config.optimizer, schedule, model)

    def evaluates(done: int) -> bool:
        every = training.evaluate_every
        return evaluate is not None and every > 0 and done > 0 and done % every == 0

    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(guard.Watchdog())
        watchdog.expect("the training did not begin", guard.COMPILED_WITHIN)
        start = functools.partial(step.start_state, tx=tx, ema=config.optimizer.ema_decay > 0)
        with device_memory.out_of_memory_told(out_of_memory.at_start):
            variables = pretrained.start_variables(config, workdir)
            state = parallel.jit_once(start)(variables)  # one program, not one for each zero
        _introduce(config, state, len(records.image_ids), steps, epoch_steps)
        stack.enter_context(guard.lock(workdir))
        checkpoints = stack.enter_context(Checkpoints(workdir))
        state = checkpoints.restore(state)
        first = int(state.step)
        if first > steps:
            raise InputError(f"{workdir} was trained to step {first} already, not {steps}")
        if processes.is_first():
            if first:
                print(f"{workdir} holds a checkpoint: going on from step {first}", flush=True)
            writing.put(workdir / checkpoint.CONFIG, config_lib.to_json(config).encode())
        evaluate_first = evaluates(first) and not checkpoints.is_scored(first)
        log = stack.enter_context(
            Log(workdir, config, first=first, scored=not evaluate_first, steps=steps)
        )
        clock = stack.enter_context(goodput.Clock())
        termination = stack.enter_context(guard.Termination())

        rate_of = jax.jit(schedule)  # one program, not one for each of its operations
        update = parallel.pmap_update(step.update_of(config, tx))
        peak = goodput.peak_of(jax.local_devices()[0].device_kind)
        operations: dict[tuple[int, int], float] = {}  # of a step on one device, by canvas
        with device_memory.out_of_memory_told(out_of_memory.at_start):
            state = parallel.replicate(state)
        batches = batches_of(config, records, first, steps)
        in_flight: collections.deque[step.Metrics] = collections.deque()
        compiled: set[tuple[int, int]] = set()  # canvases
        evaluated_within: float = guard.EVALUATED_WITHIN

        def save(done: int, scores: Scores | None = None) -> None:
            watchdog.expect("no checkpoint was written", guard.COMPILED_WITHIN)
            with clock.spend("checkpointing"):
                checkpoints.save(done, state, scores.numbers if scores else None)

        def score(done: int) -> Scores:
            nonlocal evaluated_within
            assert evaluate
            watchdog.expect("no evaluation ended", evaluated_within)
            begin = time.monotonic()
            with (
                clock.spend("evaluating"),
                termination.at_once(),
                device_memory.out_of_memory_told(lambda: out_of_memory.in_evaluation(config)),
            ):
                scores = evaluate(state)
            # Others take more or less as long; the more is found the longer.
            seconds = guard.COMPILED_WITHIN + 10 * (time.monotonic() - begin)
            evaluated_within = min(guard.EVALUATED_WITHIN, seconds)
            log.write(done, scores.numbers)
            for name, picture in scores.pictures.items():
                log.picture(done, name, picture)
            return scores

        done, canvas = first, config.data.canvases[0]
        slow_until = 0  # step; other processes may still compile or save

        def advise() -> str:
            watchdog.expect("nothing that needs less memory was found", guard.COMPILED_WITHIN)
            return out_of_memory.in_step(config, canvas)

        stack.enter_context(device_memory.out_of_memory_told(advise))
        try:
            if evaluate_first:  # it was stopped before it could be
                save(done, score(done))
            while done < steps and not _is_stale(checkpoints, training, done):
                done += 1
                watchdog.expect("no batch of images came", guard.STALLED_AFTER)
                batch = next_of(batches, in_flight, clock)
                canvas = batch.images.shape[1], batch.images.shape[2]
                if canvas not in compiled:
                    compiled.add(canvas)
                    slow_until = done + IN_FLIGHT
                watchdog.expect(
                    "no step ended",
                    guard.COMPILED_WITHIN if done <= slow_until else guard.STALLED_AFTER,
                )
                with clock.step():
                    placed = parallel.shard(batch)
                    if peak and canvas not in operations:
                        operations[canvas] = goodput.operations_of(
                            update.lower(state, placed), training.accumulate
                        )
                    state, metrics = update(state, placed)
                    clock.work(operations.get(canvas, 0))
                    in_flight.append(metrics)
                # With more of them under way their batches would fill the devices' memory.
                if len(in_flight) > IN_FLIGHT:
                    jax.block_until_ready(in_flight.popleft())
                log.advance()

                stops = termination.asked(done)
                saves = done % training.checkpoint_every == 0 or done == steps or stops
                saves |= evaluates(done)
                if saves or done % training.log_every == 0 or done == first + 1:
                    values = {name: float(value) for name, value in metrics.items()}
                    # Before anything is saved: every checkpoint is of a finite state.
                    if not values.pop("finite"):
                        watchdog.expect("the good state was not saved", guard.COMPILED_WITHIN)
                        raise not_finite.failure(
                            config, records, workdir, checkpoints, update, state
                        )
                    values["learning_rate"] = float(rate_of(done - 1))
                    log.write(done, values | clock.report(training.batch_size, peak))
                if saves:
                    save(done, score(done) if evaluates(done) and not stops else None)
                    slow_until = done + IN_FLIGHT
                if stops:
                    raise Terminated
        except (KeyboardInterrupt, Terminated):
            watchdog.expect("no checkpoint was written", guard.COMPILED_WITHIN)
            _save_interrupted(checkpoints, state)
            raise
        checkpoints.check()
        return jax.device_get(state)


def _is_stale(checkpoints: Checkpoints, training: config_lib.Training, done: int) -> bool:
    """Whether so many evaluations brought no better score that the training ends."""
    if not training.early_stop or done % training.evaluate_every:
        return False
    best = checkpoints.best()  # on process 0, which decides for all
    waited = (done - best[0]) // training.evaluate_every if best else 0
    if best and waited >= training.early_stop:
        print(f"stopped early: AP {best[1]:.3f} of step {best[0]} stayed the best", flush=True)
    return bool(processes.broadcast(np.array(waited >= training.early_stop)))


def _save_interrupted(checkpoints: Checkpoints, state: TrainState) -> None:
    """Saves the last whole state, unless the interruption fell into the middle of an update."""
    if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)) or not state.finite:
        return
    done = int(state.step)
    if done:
        checkpoints.save(done, state)
    if processes.is_first():
        with contextlib.suppress(OSError):  # on a full disk; the exit code says the same
            print(f"stopped at step {done}; the same command goes on from there", flush=True)


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
    if detector.wants_pretrained(config.model) and not training.pretrained:
        print("the backbone is frozen in part, at random: set training.pretrained", flush=True)
