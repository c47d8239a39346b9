"""The checkpoints of a run that is training: which are kept, and what becomes of a failed save."""

import contextlib
import functools
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from solojax import processes
from solojax.training import checkpoint, deciding, manager
from solojax.types import InputError, TrainState

KEPT = 2  # newest checkpoints; the one before the last is the way back from a damaged one
_UNSCORED = "unscored_checkpoint_"  # in the run folder, while the same with its score is written
_GIVE_UP_AFTER = 60  # seconds for Orbax to stop what it was doing when a save failed


class Checkpoints:
    """The checkpoints of a run that is training; a context manager. All processes call alike."""

    def __init__(self, workdir: Path):
        self._workdir, self._folder = workdir, workdir / manager.FOLDER
        self._manager: ocp.CheckpointManager | None = None
        self._failure = ""  # of the last save
        if processes.is_first():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._put_back()
            self._manager = manager.manager_of(
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
        items = checkpoint.items_of(state)
        try:
            if again:  # it was saved before it was scored
                place = self._folder / str(step)
                place.rename(self._workdir / f"{_UNSCORED}{step}")
                self._manager.reload()
            # Orbax makes it in one thread and looks into it in another.
            self._folder.mkdir(exist_ok=True)
            with manager.quietly(), _settled():
                self._manager.save(step, args=items, metrics=scores)
            self._failure = ""
        except Exception as error:  # whatever a disk, a bucket or a library has to complain of
            reason = checkpoint.first_line_of(error)
            self._failure = f"checkpoint {step} could not be written: {reason}"
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
            for half in self._folder.glob(f"{step}.*"):
                shutil.rmtree(half, ignore_errors=True)
                quiet_since = time.monotonic()
            time.sleep(0.02)

    def _put_back(self) -> None:
        """Ends what ``save`` began, if in another process: a checkpoint is there once."""
        for unscored in self._workdir.glob(f"{_UNSCORED}*"):
            place = self._folder / unscored.name.removeprefix(_UNSCORED)
            if place.exists():
                shutil.rmtree(unscored, ignore_errors=True)
            else:
                unscored.rename(place)

    def is_scored(self, step: int) -> bool:
        """Whether the checkpoint of a step bears its score; the same on all processes."""
        scored = bool(self._manager) and step in manager.scores_in(self._manager)
        return bool(processes.broadcast(np.array(scored)))

    def check(self) -> None:
        """Raises InputError where the last save failed."""
        if self._failure:
            raise InputError(f"{self._failure}; make room, and the same command goes on")

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint; on process 0, and where any was scored."""
        scored = manager.scores_in(self._manager) if self._manager else {}
        step = manager.best_of(scored)
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

    def _restore(self, orbax: ocp.CheckpointManager, like: TrainState) -> TrainState:
        damaged: dict[int, checkpoint.Damaged] = {}
        for step in sorted(orbax.all_steps(), reverse=True):
            try:
                where = f"checkpoint {step} of {self._workdir}"
                fits = functools.partial(checkpoint.fitting, like, where=where)
                arrays = checkpoint.read_step(orbax, step, fits)
            except checkpoint.Damaged as error:
                damaged[step] = error
                continue
            like = checkpoint.fill(like, arrays)
            break
        else:
            # A training must not begin anew where a user believes that it goes on.
            reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise InputError(
                f"all checkpoints of {self._workdir} are damaged ({reasons}); they lie in "
                f"{self._folder}; take another workdir, or remove them to begin anew"
            )
        for step, reason in damaged.items():
            aside = self._workdir / f"damaged_checkpoint_{step}"
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(self._folder / str(step), aside)
            checkpoint.tell_of_damage(step, reason, f"it lies in {aside} now")
        orbax.reload()
        return like


class _NewestAndBest:
    """Which checkpoints to keep. Of equal ones, Orbax's own policy would keep the last."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        scores = {one.step: deciding.score_of(one.metrics) for one in checkpoints if one.metrics}
        kept = {*[one.step for one in checkpoints][-KEPT:], manager.best_of(scores)}
        return [one.step in kept for one in checkpoints]


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
