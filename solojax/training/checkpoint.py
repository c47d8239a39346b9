"""Checkpoints of the training state, by Orbax: each is complete and sound, or not one at all.

Process 0 alone reads and writes them. Others get the state from it, so hosts need share no disk.
"""

import contextlib
import logging
import os
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from solojax import config as config_lib
from solojax import processes
from solojax.types import InputError, TrainState

CONFIG = "config.json"  # in the run folder
FOLDER = "checkpoints"  # in the run folder
KEPT = 2  # newest checkpoints; the one before the last is the way back from a damaged one
SCORE = "AP"  # whose best checkpoint is kept as well
FORMAT = 1  # of what a checkpoint holds; raise it with any change to TrainState

_STATE, _DIGEST = "state", "digest"  # what is in a checkpoint, beside the scores
_UNSCORED = "unscored_checkpoint_"  # in the run folder, while the same with its score is written
_GIVE_UP_AFTER = 60  # seconds for Orbax to stop what it was doing when a save failed


class _Damaged(Exception):
    """A checkpoint that cannot be read, or that is not what was written."""


class Checkpoints:
    """The checkpoints of a run that is training; a context manager. All processes call alike."""

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._manager: ocp.CheckpointManager | None = None
        self._failure = ""  # of the last save
        if processes.is_first():
            (workdir / FOLDER).mkdir(parents=True, exist_ok=True)
            self._put_back()
            self._manager = _manager(
                workdir,
                cleanup_tmp_directories=True,  # what a killed process was writing
                preservation_policy=_NewestAndBest(),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._manager:
            self._manager.close()

    def save(self, step: int, state: TrainState, scores: dict[str, float] | None = None) -> None:
        """Writes a state and what it scored, if anything; returns when it is on the disk.

        A save that fails is told of and leaves nothing but the checkpoints before it. The training
        goes on; ``check`` raises if no later one succeeds.
        """
        if not self._manager:
            return
        again = step in self._manager.all_steps()
        if again and scores is None:
            return
        # Host arrays: across processes Orbax refuses those of pmap.
        state = jax.device_get(state)
        items = ocp.args.Composite(
            **{
                _STATE: ocp.args.StandardSave(state),
                _DIGEST: ocp.args.JsonSave({"format": FORMAT, "arrays": _digest(by_name(state))}),
            }
        )
        try:
            if again:  # it was saved before it was scored
                place = self._workdir / FOLDER / str(step)
                place.rename(self._workdir / f"{_UNSCORED}{step}")
                self._manager.reload()
            # Orbax makes it in one thread and looks into it in another.
            (self._workdir / FOLDER).mkdir(exist_ok=True)
            with _silent(), _settled():
                self._manager.save(step, args=items, metrics=scores)
            self._failure = ""
        except Exception as error:  # whatever a disk, a bucket or a library has to complain of
            self._failure = f"checkpoint {step} could not be written: {_first_line(error)}"
            with contextlib.suppress(OSError):  # it may go to a file on the same disk
                print(f"solojax: warning: {self._failure}", file=sys.stderr, flush=True)
            self._remove_half(step)
        if again:
            with contextlib.suppress(OSError):
                self._put_back()
                self._manager.reload()

    def _remove_half(self, step: int) -> None:
        """What a failed save has left; TensorStore's threads may write on and make it again."""
        deadline = time.monotonic() + _GIVE_UP_AFTER
        quiet_since = time.monotonic()
        while time.monotonic() < min(quiet_since + 0.4, deadline):
            for half in (self._workdir / FOLDER).glob(f"{step}.*"):
                shutil.rmtree(half, ignore_errors=True)
                quiet_since = time.monotonic()
            time.sleep(0.02)

    def _put_back(self) -> None:
        """Ends what ``save`` began, if in another process: a checkpoint is there once."""
        for unscored in self._workdir.glob(f"{_UNSCORED}*"):
            place = self._workdir / FOLDER / unscored.name.removeprefix(_UNSCORED)
            if place.exists():
                shutil.rmtree(unscored, ignore_errors=True)
            else:
                unscored.rename(place)

    def is_scored(self, step: int) -> bool:
        """Whether the checkpoint of a step bears its score; the same on all processes."""
        scored = bool(self._manager) and step in _scores(self._manager)
        return bool(processes.broadcast(np.array(scored)))

    def check(self) -> None:
        """Raises InputError where the last save failed."""
        if self._failure:
            raise InputError(f"{self._failure}; make room, and the same command goes on")

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint; on process 0, and where any was scored."""
        scored = _scores(self._manager) if self._manager else {}
        step = _best(scored)
        return None if step is None else (step, scored[step])

    def restore(self, like: TrainState) -> TrainState:
        """The newest sound state, on the host of every process; ``like`` where there is none.

        A damaged checkpoint that is newer is told of and set aside.

        Args:
          like: a fresh state, for its structure and shapes.

        Raises:
          InputError: all are damaged, or the newest is of another model or version.
        """
        if self._manager and self._manager.all_steps():
            like = self._restore(self._manager, like)
        return processes.broadcast(like)

    def _restore(self, manager: ocp.CheckpointManager, like: TrainState) -> TrainState:
        damaged: dict[int, _Damaged] = {}
        for step in sorted(manager.all_steps(), reverse=True):
            try:
                arrays = _read(manager, step)
            except _Damaged as error:
                damaged[step] = error
                continue
            like = fill(like, arrays, f"checkpoint {step} of {self._workdir}")
            break
        else:
            # A training must not begin anew where a user believes that it goes on.
            reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise InputError(
                f"all checkpoints of {self._workdir} are damaged ({reasons}); they lie in "
                f"{self._workdir / FOLDER}; take another workdir, or remove them to begin anew"
            )
        for step, reason in damaged.items():
            aside = self._workdir / f"damaged_checkpoint_{step}"
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(self._workdir / FOLDER / str(step), aside)
            _tell_of_damage(step, reason, f"it lies in {aside} now")
        manager.reload()
        return like


def steps_in(workdir: Path) -> list[int]:
    """The steps that a run folder holds checkpoints of, without a look into them."""
    return sorted(int(path.name) for path in (workdir / FOLDER).glob("*") if path.name.isdigit())


def read_config(workdir: Path) -> config_lib.Config:
    """The config of a run, on every process; process 0 alone reads it.

    Raises:
      InputError: it is no run folder, or of another version.
    """
    path = workdir / CONFIG
    if processes.is_first() and not path.is_file():
        raise InputError(f"{workdir} is not a run folder: it has no {CONFIG}")
    text = path.read_bytes() if processes.is_first() else b""
    return config_lib.from_json(processes.collect(text)[0].decode(), str(path))


def read_variables(
    workdir: Path, like: dict[str, Any], which: str = "latest"
) -> tuple[int, dict[str, Any]]:
    """The step of a checkpoint, and what of its state is to be evaluated, on every process's host.

    Args:
      workdir: the run folder; process 0 alone reads it.
      like: variables of the model, for their structure and shapes (``detector.init_variables``,
        under ``jax.eval_shape`` as well).
      which: ``latest``, ``best`` by AP, or a step.

    Raises:
      InputError: there is none such, or it is of another model or version.
    """
    found = np.zeros((), np.int32), jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    if processes.is_first():
        step, arrays = read_arrays(workdir, which)
        found = np.array(step, np.int32), fill(like, arrays, f"checkpoint {step} of {workdir}")
    here, variables = processes.broadcast(found)
    return int(here), variables


def read_arrays(workdir: Path, which: str = "latest") -> tuple[int, dict[str, np.ndarray]]:
    """As ``read_variables``, by name: ``params/backbone/conv1/kernel`` and so on."""
    steps = steps_in(workdir)[::-1]
    if not steps:
        raise InputError(f"{workdir} holds no checkpoint; train first")
    manager = _manager(workdir, read_only=True)
    known = f"it has {', '.join(map(str, sorted(steps)))}, latest and best"
    if which == "best":
        best = _best(_scores(manager))
        if best is None:
            raise InputError(f"no checkpoint of {workdir} was scored; set training.evaluate_every")
        wanted = [best]
    elif which == "latest":
        wanted = steps
    elif which.isdigit() and int(which) in steps:
        wanted = [int(which)]
    else:
        raise InputError(f"{workdir} has no checkpoint {which!r}; {known}")
    for step in wanted:
        try:
            arrays = _read(manager, step)
        except _Damaged as error:
            if which != "latest":
                raise InputError(
                    f"checkpoint {step} of {workdir} is damaged ({error}); {known}"
                ) from error
            _tell_of_damage(step, error, "trying the one before")
            continue
        # The averages where there are any.
        for prefix in ("ema/", ""):
            kinds = (f"{prefix}params/", f"{prefix}batch_stats/")
            found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(kinds)}
            if found:
                return step, found
    raise InputError(f"no sound checkpoint is left in {workdir}")


class _Manager(ocp.CheckpointManager):
    def metrics(self, step: int) -> dict[str, float] | None:
        """The scores of a checkpoint; none where they cannot be read, which is no damage to it."""
        try:
            scores = super().metrics(step)
            return scores if np.isfinite(scores[SCORE]) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


class _NewestAndBest:
    """Which checkpoints to keep. Of equal ones, Orbax's own policy would keep the last."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        scores = {one.step: one.metrics[SCORE] for one in checkpoints if one.metrics}
        kept = {*[one.step for one in checkpoints][-KEPT:], _best(scores)}
        return [one.step in kept for one in checkpoints]


def _best(scores: dict[int, float]) -> int | None:
    """The step with the highest score, the first of equal ones."""
    return max(scores, key=lambda step: (scores[step], -step), default=None)


def _manager(workdir: Path, **options: Any) -> ocp.CheckpointManager:
    # What is damaged shows when it is read; Orbax would say so at length, too, and asyncio later.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Its other processes know nothing of it.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="checkpoints"
    )
    return _Manager(
        (workdir / FOLDER).resolve(),
        options=ocp.CheckpointManagerOptions(
            best_fn=lambda scores: scores[SCORE],
            # A checkpoint is seldom and takes seconds; one at a time is easier to be sure of.
            enable_async_checkpointing=False,
            multiprocessing_options=alone,
            create=False,  # which it refuses to do alone
            **options,
        ),
        item_names=(_STATE, _DIGEST),
    )


def _scores(manager: ocp.CheckpointManager) -> dict[int, float]:
    """The score of each checkpoint that has one, by step."""
    scores = {step: manager.metrics(step) for step in manager.all_steps()}
    return {step: float(here[SCORE]) for step, here in scores.items() if here}


def _read(manager: ocp.CheckpointManager, step: int) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by name, compared with what was written.

    Orbax notices most damage, but not a flipped bit in the middle of an array.
    """
    try:
        items = ocp.args.Composite(
            **{_STATE: ocp.args.StandardRestore(), _DIGEST: ocp.args.JsonRestore()}
        )
        with _silent():
            found = manager.restore(step, args=items)
        arrays, digest = by_name(found[_STATE]), found[_DIGEST]
        if (version := digest["format"]) != FORMAT:
            raise InputError(
                f"checkpoint {step} was written by another version of solojax (format {version}, "
                f"here {FORMAT}); go on with that version, or take another workdir"
            )
        if digest["arrays"] != (here := _digest(arrays)):
            wrong = sorted(k for k in here if here[k] != digest["arrays"].get(k))
            raise _Damaged(f"not what was written: {', '.join(wrong[:3]) or 'arrays are missing'}")
    except (InputError, _Damaged):
        raise
    except Exception as error:  # Orbax and its libraries have no error of their own for it
        raise _Damaged(_first_line(error)) from error
    return arrays


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, whether its tuples have names or, read from a disk, numbers."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _digest(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array).data) for name, array in arrays.items()}


def fill(
    like: Any,
    arrays: dict[str, np.ndarray],
    where: str,
    remedy: str = "take another workdir",
) -> Any:
    """Puts arrays in the places of ``like``; names, types and shapes must be the same.

    Raises:
      InputError: they are not; ``where`` says whose they are, ``remedy`` what to do.
    """
    theirs, ours = (
        {name: f"{x.dtype}{list(x.shape)}" for name, x in named.items()}
        for named in (arrays, by_name(like))
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"{where} is of another model or optimizer than the config; {remedy} "
                f"({name} is {theirs.get(name)}, not {ours.get(name)})"
            )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in by_name(like)])


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Where a save fails, threads of Orbax write on, and would make a removed folder again."""
    before = threading.enumerate()
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + _GIVE_UP_AFTER
        for thread in threading.enumerate():
            if thread not in before:
                with contextlib.suppress(Exception):  # theirs raise what they failed by
                    thread.join(max(deadline - time.monotonic(), 0))
        raise


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Where a file is damaged or a disk full, TensorStore prints a page for each array."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _tell_of_damage(step: int, error: _Damaged, what_next: str) -> None:
    print(
        f"solojax: warning: checkpoint {step} is damaged ({error}); {what_next}",
        file=sys.stderr,
        flush=True,
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
