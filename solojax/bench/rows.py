"""What was measured, a row for each program: as numbers for a file, as lines for people."""

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

from solojax import device_memory, parallel
from solojax.bench.settings import Settings
from solojax.timing import Timing, time_calls

TRACED = 3  # calls
ACCELERATOR = "cuda"  # whose programs are counted, on whatever machine: of convolutions as they are

Row = dict[str, Any]
"""One program: ``name``, ``images`` of a call and, of what was measured,

* ``seconds`` of a call: median, low and high (the quartiles), repeats;
* ``images_per_second``, ``compile_seconds``, ``share_of_peak`` in 0..1;
* ``flops`` and ``bytes`` of a call on one device, as XLA counts them;
* ``memory``: bytes of one device that the program is planned into;

or ``fails``, why there is nothing else.
"""


def compiled(lowered: Any, compile: Callable[[Any], Any]) -> tuple[Any, Row]:
    """A program, and the first columns of its row.

    Args:
      lowered: the program before it is compiled.
      compile: compiles it.
    """
    start = time.perf_counter()
    program = compile(lowered)
    operations, moved = count(lowered)
    row = {
        "compile_seconds": time.perf_counter() - start,
        "flops": operations,
        "bytes": moved,
    }
    plan = program.memory_analysis()
    if plan is not None:
        used = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
        row["memory"] = int(used - plan.alias_size_in_bytes)
    return program, row


def compiled_predict(function: Callable, variables: Any, given: Any) -> tuple[Any, Row]:
    """``parallel.jit_predict`` of a function, compiled, and the first columns of its row.

    Operations are those of the program for an accelerator: CPUs convolve with fewer.
    """
    traced = parallel.jit_predict(function).trace(variables, given)
    program, row = compiled(traced.lower(), lambda lowered: lowered.compile())
    row["flops"], row["bytes"] = count(traced.lower(lowering_platforms=(ACCELERATOR,)))
    return program, row


def count(lowered: Any) -> tuple[float, float]:
    """Floating-point operations and bytes that XLA counts of a lowered program; a loop once."""
    analysis = lowered.cost_analysis() or {}
    return float(analysis.get("flops", 0)), float(analysis.get("bytes accessed", 0))


def timed(row: Row, call: Callable[[], Any], settings: Settings) -> Row:
    """The row with the times of ``call``, some further calls being traced where that is asked."""
    found = with_times(row, time_calls(call, **settings.limits), settings.peak)
    if settings.profile:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready([call() for _ in range(TRACED)])
            settings.profile.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "_", row["name"])
            shutil.make_archive(str(settings.profile / name), "zip", folder)
    return found


def with_times(row: Row, timing: Timing, peak: float | None) -> Row:
    """The row with times.

    Args:
      row: has ``images`` and may have ``flops``.
      timing: of a call.
      peak: floating-point operations a second of a device, where it is known.
    """
    low, high = timing.quartiles
    repeats = len(timing.seconds) * timing.together
    found = {
        **row,
        "seconds": {"median": timing.median, "low": low, "high": high, "repeats": repeats},
        "images_per_second": row["images"] / timing.median,
    }
    if peak and row.get("flops"):
        found["share_of_peak"] = row["flops"] / timing.median / peak
    return found


def guarded(name: str, images: int, measure: Callable[[Row], Row]) -> Row:
    """What ``measure`` makes of a row of name and images; or why nothing, where memory is short."""
    row = {"name": name, "images": images}
    try:
        return measure(row)
    except jax.errors.JaxRuntimeError as error:
        if not device_memory.ran_out(error):
            raise
        return {**row, "fails": "too little memory on the device"}


HEADER = (
    f"  {'':34} {'ms':>9} {'quartiles':>17} {'images/s':>9} {'GFLOP':>9} {'of peak':>7} "
    f"{'MiB':>7} {'compiling':>9}"
)


def line(row: Row) -> str:
    """One row for people, its columns those of ``HEADER``."""
    name = f"  {row['name']:34} "
    if "fails" in row:
        return name + row["fails"]
    times = row["seconds"]
    low, median, high = (1000 * times[key] for key in ("low", "median", "high"))
    cells = [
        f"{median:9.3f}",
        f"{low:8.3f} {high:8.3f}",
        f"{row['images_per_second']:9.1f}",
        f"{row['flops'] / 1e9:9.2f}" if "flops" in row else f"{'':9}",
        f"{row['share_of_peak']:7.1%}" if "share_of_peak" in row else f"{'':7}",
        f"{row['memory'] / 2**20:7,.0f}" if "memory" in row else f"{'':7}",
        f"{row['compile_seconds']:8.1f}s" if "compile_seconds" in row else f"{'':9}",
    ]
    return (name + " ".join(cells)).rstrip()
