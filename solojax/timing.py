"""How long a call takes, until what it returns is on the device."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

REPEATS = 10
WITHIN = 20.0  # seconds after which no further repeat is begun
LEAST = 0.05  # seconds of a repeat: shorter calls follow each other before one waits for them


class Timing(NamedTuple):
    """Seconds of a call; of a repeat of several calls, their mean."""

    first: float  # of the first call, with what it compiles; it is none of the repeats
    seconds: tuple[float, ...]  # of each repeat
    together: int  # calls in a repeat

    @property
    def median(self) -> float:
        """Of the repeats."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper one of the repeats."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def time_calls(
    call: Callable[[], Any], *, repeats: int = REPEATS, within: float = WITHIN, least: float = LEAST
) -> Timing:
    """Times ``call()``, which returns arrays, after two calls that warm up.

    Args:
      call: what is timed; each repeat waits for the result of its last call.
      repeats: at most; there is always one.
      within: seconds after which no further repeat is begun.
      least: seconds of a repeat; 0 waits for each call, which is its latency.
    """

    def seconds_of(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            result = call()
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls

    first, once = seconds_of(1), seconds_of(1)
    together = max(1, min(math.ceil(least / max(once, 1e-6)), math.ceil(within / max(once, 1e-6))))
    begun = time.perf_counter()
    found = [seconds_of(together)]
    while len(found) < repeats and time.perf_counter() < begun + within:
        found.append(seconds_of(together))
    return Timing(first, tuple(found), together)
