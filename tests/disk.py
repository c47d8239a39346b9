"""A disk that is full, for a while."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full(room: int = 0) -> Iterator[None]:
    """No file of this process can grow beyond ``room`` bytes."""
    # Python ignores the signal that comes with it, so a write fails as it would otherwise.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
