"""Memory that a step gives back is kept for the next, where the C library is glibc.

XLA takes what a step needs on a CPU from malloc, megabytes at a time; glibc would give them back to
the system after each, which clears them anew: a sixth of a small network's training step.
"""

import contextlib
import ctypes
import os

# Of mallopt(3).
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
_OWN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep() -> None:
    """Has malloc take memory from its heap alone and keep it; what the environment says goes first.

    Does nothing where malloc is not glibc's.
    """
    if any(name in os.environ for name in _OWN):
        return
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
