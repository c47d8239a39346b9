"""Locks that outlive nobody, a signal that is heard, and a silence that is not borne."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from solojax.training import guard
from solojax.types import RESTART, InputError, Terminated

HOLDS = """
import pathlib, sys, time
from solojax.training import guard
with guard.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def start(program: str, *arguments: str | Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_a_folder_is_one_trainings_until_that_is_killed(tmp_path):
    workdir = tmp_path / "run"
    with start(HOLDS, workdir) as holder:
        assert holder.stdout.readline() == "held\n"
        refused = f"{workdir} is in use by another training .process {holder.pid} on "
        with pytest.raises(InputError, match=refused), guard.lock(workdir):
            pass
        assert str(holder.pid) in (workdir / guard.LOCK).read_text(), "a refusal changes nothing"
        holder.kill()
        holder.wait()
        with guard.lock(workdir):
            assert str(os.getpid()) in (workdir / guard.LOCK).read_text()


def test_a_lock_ends_with_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), guard.lock(tmp_path):
        raise ZeroDivisionError
    with guard.lock(tmp_path):
        pass


def test_the_file_of_a_lock_alone_is_no_obstacle(tmp_path):
    (tmp_path / guard.LOCK).write_text("process 1 on another host, long ago\n")
    with guard.lock(tmp_path):
        assert "long ago" not in (tmp_path / guard.LOCK).read_text()


def test_a_disk_without_locks_is_told_of_and_used(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr(guard.fcntl, "flock", refuse)
    with guard.lock(tmp_path):
        pass
    assert "cannot be locked: No locks available" in capsys.readouterr().err


def test_sigterm_asks_and_ends_nothing():
    before = signal.getsignal(signal.SIGTERM)
    with guard.Termination() as termination:
        assert not termination.asked(1)
        signal.raise_signal(signal.SIGTERM)
        assert termination.asked(2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_in_the_middle_of_what_changes_nothing_ends_it():
    before = signal.getsignal(signal.SIGTERM)
    with (
        guard.Termination() as termination,
        pytest.raises(Terminated),
        termination.at_once(),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert termination.asked(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_changes_nothing_is_not_begun_after_sigterm():
    with guard.Termination() as termination:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated), termination.at_once():
            pytest.fail("was begun")
        signal.raise_signal(signal.SIGTERM)  # outside of it again


def test_a_thread_hears_no_signals():
    heard = []

    def listen() -> None:
        with guard.Termination() as termination:
            heard.append(termination.asked(1))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [False] and signal.getsignal(signal.SIGTERM) is before


def test_a_silence_ends_the_process_with_what_its_threads_were_doing():
    program = """
import time
from solojax.training import guard

def wait_for_a_disk():
    time.sleep(600)

with guard.Watchdog(every=0.1) as watchdog:
    time.sleep(0.8)  # nothing was expected yet
    watchdog.expect("no checkpoint was written", 60)
    for _ in range(3):
        watchdog.expect("no batch of images came", 0.4)
        time.sleep(0.2)
    print("well so far", flush=True)
    watchdog.expect("no batch of images came", 0.4)
    wait_for_a_disk()
"""
    with start(program) as process:
        printed, told = process.communicate(timeout=60)
    assert process.returncode == RESTART
    assert printed == "well so far\n"
    assert "Thread" in told and "in wait_for_a_disk" in told
    assert "solojax: error: no batch of images came for 0.4 s; above is" in told


def test_a_process_that_hangs_with_pythons_lock_ends_as_well():
    program = """
import ctypes, time
from solojax.training import guard

def hold_the_lock():
    ctypes.PyDLL(None).sleep(600)

with guard.Watchdog(every=0.2, locked=1):
    time.sleep(1.5)  # looked at often enough
    print("well so far", flush=True)
    hold_the_lock()
"""
    with start(program) as process:
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed == "well so far\n"
    assert "Timeout" in told and "in hold_the_lock" in told


def test_a_watchdog_ends_with_its_context_and_bears_errors():
    before = threading.active_count()
    with (
        pytest.raises(ZeroDivisionError),
        guard.Watchdog() as watchdog,
    ):
        watchdog.expect("nothing came", 600)
        assert threading.active_count() == before + 1
        raise ZeroDivisionError
    assert threading.active_count() == before
