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
# Seconds after which what does not come counts as stuck.
STALLED_AFTER = 600  # a batch, a step
COMPILED_WITHIN = 3600  # what compiles, or writes or reads a whole state
EVALUATED_WITHIN = 6 * 3600  # an evaluation


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
    """Ends the process, with what each thread was doing, where something takes for ever.

    Args:
      every: seconds between two looks.
      locked: seconds after which a process none of whose threads could run ends as well, with
        exit code 1: its lock is held by what hangs.
    """

    def __init__(self, every: float = 5, locked: float = STALLED_AFTER):
        self._every, self._locked = every, locked
        self._expected = "", 0.0, float("inf")  # what did not happen, its limit, the deadline
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def expect(self, what: str, within: float) -> None:
        """From now on to the next call no more than ``within`` seconds go by.

        If they do, ``what`` did not happen. Between two calls nothing is unwatched.
        """
        self._expected = what, within, time.monotonic() + within

    def _watch(self) -> None:
        looking = True
        while looking:
            # Put off at every look: by a thread that needs no lock of Python's.
            faulthandler.dump_traceback_later(self._locked, exit=True, file=2)
            looking = not self._over.wait(self._every)
            what, limit, deadline = self._expected
            if looking and time.monotonic() > deadline:
                faulthandler.dump_traceback(file=2)
                message = (
                    f"{what} for {limit:g} s; above is what each thread was doing. The same "
                    "command goes on from the last checkpoint"
                )
                print(f"solojax: error: {message}", file=sys.stderr, flush=True)
                processes.leave(RESTART, message)
                os._exit(RESTART)
