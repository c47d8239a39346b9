"""The memory of a device: how much a step may be planned into, and what to say where it is full."""

import contextlib
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np

from solojax.types import InputError

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # in the words of XLA

RESERVE = 0.1
"""Share of XLA's memory that a step is not planned into.

For what is not in its accounts, above all the batches of the steps that wait their turn, and for
the gaps between allocations. CUDA's libraries take theirs from what XLA was never given.
"""

GPU_SHARE = 0.75
"""Share of a GPU that JAX gives to XLA where the environment does not say.

https://docs.jax.dev/en/latest/201/gpu-memory.html
"""

SHARE_NAMES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # the second is older


def ran_out(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether it is about the memory of a device."""
    return OUT_OF_MEMORY in str(error)


@contextlib.contextmanager
def out_of_memory_told(tell: Callable[[], str]) -> Iterator[None]:
    """Raises InputError, with what ``tell`` says, where a device runs out of memory in it."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not ran_out(error):
            raise
        raise InputError(*tell().split("\n")) from error


def room(gib: float | None = None) -> int | None:
    """Bytes of one device that a step may be planned into, the reserve left out.

    Args:
      gib: all the memory of a GPU. Of it XLA is given what ``XLA_CLIENT_MEM_FRACTION`` says, three
        quarters by default. Where None, what the local device reports is taken: its
        ``bytes_limit`` is XLA's part already.

    Returns:
      None where nothing is given and the device does not say, as CPUs do not.
    """
    if gib is None:
        given = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    else:
        given = gib * 2**30 * _gpu_share()
    return None if given is None else int(given * (1 - RESERVE))


def _gpu_share() -> float:
    for name in SHARE_NAMES:
        if text := os.environ.get(name):
            try:
                return float(text)
            except ValueError:
                raise InputError(f"{name}={text} must be a number such as .75") from None
    return GPU_SHARE


def size_of(tree: object) -> int:
    """Bytes of all arrays, or shapes of arrays, of a tree."""
    return sum(x.size * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
