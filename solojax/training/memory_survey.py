"""What a training needs on each canvas, and the largest batch that fits a device."""

import functools
import math
from collections.abc import Callable

import jax
from tqdm import tqdm

from solojax import config as config_lib
from solojax import device_memory, parallel, processes
from solojax.training import memory

_LINEAR_GUESSES = 5  # after which the peak is taken to follow no line, and halving is quicker


def report(config: config_lib.Config, gib: float | None = None) -> str:
    """What each canvas needs and the largest batch, as lines for people.

    Args:
      config: what is trained.
      gib: as for ``device_memory.room``.

    Raises:
      InputError: the batch does not divide over the devices.
    """
    training, devices = config.training, jax.device_count()
    parallel.check_divisible(training.batch_size, training.accumulate)
    limit = device_memory.room(gib)
    programs, most = survey(config, limit)
    lines = [
        f"MiB of a training step on each of {devices} x {jax.local_devices()[0].device_kind}, "
        f"{parallel.resolve_precision(training.precision)}, training.accumulate="
        f"{training.accumulate}, as XLA plans it",
        memory.table(programs),
    ]
    if limit is None:
        lines.append(
            "the device does not say how much memory it has; give it as --device-memory GIB"
        )
        return "\n".join(lines)
    within = (
        f"{limit / 2**30:.1f} GiB, {1 - device_memory.RESERVE:.0%} of the "
        f"{limit / (1 - device_memory.RESERVE) / 2**30:.1f} that XLA has of a device"
    )
    if most:
        lines.append(
            f"training.batch_size={most:,} is the largest that fits, {most // devices} images on "
            f"each device: within {within}"
        )
    else:
        lines.append(f"not even one image at a time on each device fits within {within}")
    return "\n".join(lines)


def survey(config: config_lib.Config, limit: int | None = None) -> tuple[list[memory.Program], int]:
    """Compiles the step of every canvas, and searches for the largest batch that fits them all.

    Args:
      config: what is trained.
      limit: bytes of one device to fill; None searches for nothing.

    Returns:
      All that was compiled, and the largest ``training.batch_size`` whose peak is within the limit
      on every canvas: 0 where none is. One image more at a time on each device has been found not
      to fit.
    """
    once = jax.device_count() * config.training.accumulate  # images when each part is one image
    programs: dict[tuple[tuple[int, int], int], memory.Program] = {}
    configured, most = config.training.batch_size // once, math.inf
    # The largest come first: what fits them most likely fits the others.
    canvases = sorted(dict.fromkeys(config.data.canvases), key=math.prod, reverse=True)
    with tqdm(unit="program", disable=not processes.is_first()) as bar:

        def peak(canvas: tuple[int, int], images: int) -> float:
            size = images * once
            if (canvas, size) not in programs:
                bar.set_description(
                    f"compiling {memory.name_of(canvas)}, training.batch_size={size}"
                )
                changed = config_lib.override(config, f"training.batch_size={size}")
                programs[canvas, size] = memory.Program(
                    canvas, size, memory.try_step(changed, canvas)
                )
                bar.update()
            need = programs[canvas, size].memory
            return need.peak if need else math.inf

        state = device_memory.size_of(memory.arguments(config, canvases[0])[0])
        for canvas in canvases:
            peak(canvas, configured)
            if limit is not None:
                first = configured if most == math.inf else int(most)
                most = _largest(functools.partial(peak, canvas), state, limit, first, most)
    compiled = sorted(programs.values(), key=lambda one: (-math.prod(one.canvas), one.batch_size))
    return compiled, 0 if most == math.inf else int(most) * once


def _largest(peak: Callable[[int], float], state: int, limit: int, first: int, most: float) -> int:
    """The greatest number of images, up to ``most``, whose peak is within the limit.

    The peak is nearly a line that starts at the state, so few have to be looked at: where the line
    meets the limit, and its neighbour.
    """
    known: dict[int, float] = {0: state}
    fitting, failing = 0, most + 1
    guess = first
    while failing - fitting > 1:
        guess = int(min(max(guess, fitting + 1), failing - 1))
        known[guess] = peak(guess)
        if known[guess] <= limit:
            fitting = guess
        else:
            failing = guess
        low, high = sorted(known)[-2:] if failing not in known else (fitting, int(failing))
        slope = (known[high] - known[low]) / (high - low)
        if math.isfinite(failing) and (len(known) > _LINEAR_GUESSES or slope == math.inf):
            guess = int(fitting + failing) // 2
        else:
            guess = low + int((limit - known[low]) / slope) if slope > 0 else 2 * high
    return fitting
