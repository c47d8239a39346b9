"""What stands between a run and what can happen to it: locks, signals, silence."""

import contextlib
import faulthandler
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import jax
from jax.experimental import multihost_utils

from solojax import processes
from solojax.types import RESTART, InputError, Terminated

LOCK = ".lock"  # in the run folder
STALLED_AFTER = 600  # seconds after which a batch, or a step, that does not come counts as stuck


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Keeps a run folder for this training alone, until it ends in whatever way.

    Raises:
      InputError: another training holds it.
    """
    if not processes.is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(
                f"{workdir} is in use by another training ({file.read().strip()}); stop that one, "
                "or take another workdir"
            ) from error
        except OSError as error:  # some network disks have no locks
            print(f"solojax: warning: {workdir} cannot be locked: {error}", file=sys.stderr)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


class Termination:
    """Listens for SIGTERM, by which schedulers ask a job to end before they kill it."""

    def __init__(self) -> None:
        self._asked = self._at_once = False

    def __enter__(self) -> "Termination":
        # With several processes JAX listens, and finds the step at which all of them stop.
        self._ours = (
            jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        )
        if self._ours:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._at_once:
            raise Terminated()

    def asked(self, step: int) -> bool:
        """Whether to stop after this step; to be asked after every step, on all processes."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raises Terminated in the middle of what is in it, which must change no state."""
        self._at_once = True
        try:
            if self._asked:
                raise Terminated()
            yield
        finally:
            self._at_once = False


class Watchdog:
    """Ends the process, with what each thread was doing, where something takes for ever."""

    def __init__(self, limit: float):
        self._limit, self._what = limit, ""
        self._deadline = float("inf")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @contextlib.contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """What is in it must end within the limit; ``what`` did not happen if it does not."""
        self._what, self._deadline = what, time.monotonic() + self._limit
        try:
            yield
        finally:
            self._deadline = float("inf")

    def _watch(self) -> None:
        while not self._over.wait(min(self._limit / 4, 5)):
            if time.monotonic() > self._deadline:
                faulthandler.dump_traceback()
                message = (
                    f"{self._what} for {self._limit:g} s; above is what each thread was doing. The "
                    "same command goes on from the last checkpoint"
                )
                print(f"solojax: error: {message}", file=sys.stderr, flush=True)
                processes.leave(RESTART, message)
                os._exit(RESTART)
