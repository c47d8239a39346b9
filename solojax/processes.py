"""The one file that knows other processes exist: one for each host, or for each accelerator.

They join by ``jax.distributed``. Process 0 keeps the run folder and scores; the others compute.
A process that fails tells the rest why, and one that falls silent is named by the rest: nobody
waits for ever in a collective that will not end.
"""

import glob
import hashlib
import importlib.util
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from solojax import signs
from solojax.types import RESTART, InputError

Result = TypeVar("Result")

START_WITHIN = 300  # seconds in which all processes must have joined
LOST_AFTER = 30  # seconds of silence after which a process counts as lost
BEAT = 2  # seconds between two looks at the others
TOLD = 3 * BEAT  # seconds in which all others have read what a process had to say
EXCHANGE_WITHIN = 600  # seconds in which the devices of all processes must have met
_NAME, _FAILED = "solojax/name/", "solojax/failed/"  # keys


def start(coordinator: str = "", process: int | None = None, processes: int | None = None) -> None:
    """Joins the processes of a run; does nothing where this is the only one.

    To be called before anything touches a device. Without arguments, what SLURM or a TPU pod says
    about the processes it started is taken.

    Args:
      coordinator: ``host:port`` of process 0.
      process: the number of this one, from 0.
      processes: how many there are.

    Raises:
      InputError: some arguments are missing, or not all processes came.
    """
    global _signs
    given = (bool(coordinator), process is not None, processes is not None)
    if any(given) and not all(given):
        raise InputError("--coordinator, --process and --processes go together; give all or none")
    if not any(given) and not _is_one_of_many():
        return
    if process is not None and processes is not None and not 0 <= process < processes:
        raise InputError(f"--process {process} is not in 0..{processes - 1} (--processes)")
    if coordinator and not re.fullmatch("[0-9]{1,5}", coordinator.rpartition(":")[2]):
        raise InputError(f"--coordinator {coordinator} has no port; write host:port")
    if process:
        signs.reach(coordinator, f"--coordinator {coordinator}", START_WITHIN)
    try:
        jax.distributed.initialize(
            coordinator or None,
            processes,
            process,
            initialization_timeout=START_WITHIN,
            # Later than ours: it ends a process by a crash, without a word of which host it was.
            heartbeat_timeout_seconds=2 * LOST_AFTER + 3 * TOLD,
        )
    except ValueError:
        if not any(given):  # a TPU of its own
            return
        raise
    except RuntimeError as error:
        raise InputError(
            f"not all processes of the run came together within {START_WITHIN} s; start the same "
            f"command once for each, with the same --coordinator ({error})"
        ) from error
    _client().key_value_set(f"{_NAME}{_state().process_id}", _name())
    _signs = signs.Signs(_state(), START_WITHIN, LOST_AFTER)
    threading.Thread(target=_watch, daemon=True).start()
    never_met = threading.Timer(
        EXCHANGE_WITHIN,
        _end,
        (
            RESTART,
            f"the devices of all processes have not met within {EXCHANGE_WITHIN} s; look at the "
            "network between the hosts (NCCL_DEBUG=INFO), and start all processes again",
        ),
    )
    never_met.daemon = True
    never_met.start()
    if jax.default_backend() == "cpu":
        # Of programs that are kept, process 0 alone finds its own: JAX keeps no others on CPUs. It
        # would wait for those that compile, and gloo gives up after 30 s.
        jax.config.update("jax_enable_compilation_cache", False)
    hosts = collect(socket.gethostname().encode())
    never_met.cancel()
    if is_first():
        names = ", ".join(f"{i} on {host.decode()}" for i, host in enumerate(hosts))
        print(f"{len(hosts)} processes: {names}", flush=True)


def _is_one_of_many() -> bool:
    """Whether a scheduler started this process beside others, or may have."""
    slurm = {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"}
    if slurm <= os.environ.keys():
        return int(os.environ.get("SLURM_NTASKS", "1")) > 1
    # A TPU host is asked in any case: alone, it is told that it is the only one.
    chips = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def is_first() -> bool:
    """Whether this process keeps the run folder, scores, and talks to the user."""
    return jax.process_index() == 0


def collect(text: bytes) -> list[bytes]:
    """What each process gives, on all of them; all must call it."""
    if jax.process_count() == 1:
        return [text]
    lengths = multihost_utils.process_allgather(np.array(len(text), np.int32))
    # One program for all lengths up to a power of two.
    padded = np.zeros(1 << int(lengths.max()).bit_length(), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]


def broadcast(tree: Any) -> Any:
    """The arrays of process 0, on every process and its host; all give the same shapes and types.

    As bytes: a sum over processes, which it is made of, would not keep every float as it is.
    """
    tree = jax.device_get(tree)
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    flat = [np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves]
    sent = np.asarray(multihost_utils.broadcast_one_to_all(np.concatenate(flat)))
    ends = np.cumsum([len(part) for part in flat])
    parts = np.split(sent, ends[:-1])
    received = [
        part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, received)


def check_agreement(*facts: Any) -> None:
    """Raises InputError where processes were not given the same; all must call it.

    They would train on with different numbers, or wait for each other for ever.
    """
    digests = collect(hashlib.sha256(repr(facts).encode()).digest())
    others = [str(i) for i, digest in enumerate(digests) if digest != digests[0]]
    if others:
        raise InputError(
            f"process {', '.join(others)} has another config, data set or version of jax than "
            "process 0; start all with the same command, on the same files"
        )


def in_turn(work: Callable[[], Result]) -> Result:
    """Runs ``work`` on all processes: on process 0, then on one of each other host, then the rest.

    What the first of a disk has written the others find there, whether hosts share disks or not.
    """
    if jax.process_count() == 1:
        return work()
    hosts = collect(socket.gethostname().encode())
    me = jax.process_index()
    mine = 0 if me == 0 else 1 if hosts.index(hosts[me]) == me else 2
    for turn in range(3):
        if turn == mine:
            result = work()
        collect(b"")
    return result


def finish() -> None:
    """Waits for all others, however long they take, and leaves them."""
    if jax.process_count() > 1:
        collect(b"")
        _over.set()
        collect(b"")  # nobody looks for the others any more
        _signs.end()
        jax.distributed.shutdown()


def leave(code: int, message: str) -> None:
    """Tells all others why this process fails and ends it; returns where there are no others."""
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return
    client = _client()
    client.key_value_set(f"{_FAILED}{jax.process_index()}", f"{code} {_name()}: {message}")
    time.sleep(TOLD)  # process 0 holds what all others read
    _exit(code)


def _name() -> str:
    return f"process {_state().process_id} on {socket.gethostname()}"


def _state() -> Any:
    # What jax.distributed keeps has no public name yet; Orbax takes it from here, too.
    from jax._src import distributed

    return distributed.global_state


def _client() -> Any:
    """The key-value store that all processes share."""
    return _state().client


_over = threading.Event()
_signs: signs.Signs  # of this process


def _watch() -> None:
    """Ends this process when another has failed or fallen silent."""
    client, me = _client(), _state().process_id
    while not _over.is_set():
        try:
            lost = _signs.lost()
            failed = client.key_value_dir_get(_FAILED)
            names = dict(client.key_value_dir_get(_NAME))
        except RuntimeError:  # the store is gone, and process 0 with it: JAX ends this one
            return
        for key, text in failed:
            if key != f"{_FAILED}{me}":
                code, _, message = text.partition(" ")
                _end(int(code), message)
        for one in lost:
            _end(
                RESTART,
                f"{names[f'{_NAME}{one}']} has given no sign of life for {LOST_AFTER} s; start "
                "all processes again: they go on from the last checkpoint",
            )
        _over.wait(BEAT)


def _end(code: int, message: str) -> None:
    if not _over.is_set():
        print(f"\nsolojax: error: {_name()} stops: {message}", file=sys.stderr, flush=True)
        if is_first():
            # The others, the one that failed included, need the store that this process holds.
            time.sleep(TOLD + BEAT)
        _exit(code)


def _exit(code: int) -> None:
    """Ends at once: the usual way waits for processes that will not come."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
