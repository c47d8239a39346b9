"""What a training that ran out of a device's memory tells its user."""

import shlex
from typing import Any

import jax
from tqdm import tqdm

from solojax import config as config_lib
from solojax import device_memory, parallel, processes
from solojax.models import detector
from solojax.training import memory


def at_start() -> str:
    """What to do where there was too little before the first step."""
    room = device_memory.room()
    has = "" if room is None else f" XLA has {room / 2**20:,.0f} MiB of it;"
    return (
        f"a device has too little memory for the state of the model alone;{has} look for other "
        f"programs that hold it (nvidia-smi; on GPUs {device_memory.SHARE_NAMES[0]} is our share)"
    )


def in_evaluation(config: config_lib.Config) -> str:
    """What to do where an evaluation beside the training had too little."""
    return (
        "the devices have too little memory to evaluate training.batch_size="
        f"{config.training.batch_size} images at once beside the training; lower it, or set "
        "training.evaluate_every=0 and evaluate the run folder by itself"
    )


def in_step(config: config_lib.Config, canvas: tuple[int, int]) -> str:
    """What to do where a step on a canvas (height, width) had too little."""
    if jax.process_count() > 1:  # compiling for the table may take all processes
        return (
            f"a device has too little memory for a step on canvas {memory.name_of(canvas)}; "
            "`solojax bench memory` on one machine says which fields to lower"
        )
    return advice(config, canvas)


def advice(config: config_lib.Config, canvas: tuple[int, int]) -> str:
    """What a training that ran out of device memory on a canvas (height, width) can do about it.

    Compiles up to five programs, which takes a while and none of the device's memory: the step as
    it is, and with each change that may need less. Only those that do are named.
    """
    _say(f"out of device memory on canvas {memory.name_of(canvas)}; looking for what needs less")
    remedies = _remedies(config)
    measured = {}
    with tqdm([(), *remedies], unit="program", disable=not processes.is_first()) as bar:
        for overrides in bar:
            changes = " ".join(overrides) or "the step as it is"
            bar.set_description(f"compiling {changes}")
            measured[overrides] = memory.try_step(config_lib.override(config, *overrides), canvas)
    now = measured[()]
    lines = [
        f"the device has too little memory for a step on canvas {memory.name_of(canvas)}; in MiB:",
        memory.table([memory.Program(canvas, config.training.batch_size, now)]),
    ]
    reported = device_memory.room()
    if reported is not None:
        given = reported / (1 - device_memory.RESERVE) / 2**20
        lines.append(
            f"XLA has {given:,.0f} MiB of the device; on GPUs {device_memory.SHARE_NAMES[0]} "
            "changes it"
        )
    lower = [
        f"  {need.peak / 2**20:8,.0f}  --set {_quoted(overrides)}  ({why})"
        for overrides, why in remedies.items()
        if (need := measured[overrides]) and (now is None or need.peak < now.peak)
    ]
    if lower:
        lines += ["each of these needs less; they can be combined. Peak in MiB:", *lower]
    else:
        lines.append("nothing but smaller data.canvases or a smaller model would need less")
    return "\n".join(lines)


def _remedies(config: config_lib.Config) -> dict[tuple[str, ...], str]:
    """Overrides that may lower the peak, and what each costs; those that change least first."""
    training, model = config.training, config.model
    images = training.batch_size // jax.device_count()
    found: dict[tuple[str, ...], str] = {}
    for accumulate in range(2 * training.accumulate, images + 1):
        if images % accumulate == 0:
            found[f"training.accumulate={accumulate}",] = "the same batch, in more parts"
            break
    if remat := remat_overrides(model):
        found[remat] = "the same numbers, computed again in the backward pass"
    if parallel.resolve_precision(training.precision) != "bfloat16":
        found["training.precision=bfloat16",] = "activations of 8 bits of precision"
    if half := images // training.accumulate // 2:
        size = half * training.accumulate * jax.device_count()
        found[f"training.batch_size={size}",] = "the learning rate follows"
    return found


def remat_overrides(model: Any) -> tuple[str, ...]:
    """Those that have a model compute again all that it can and does not yet."""
    # Without the field, a part cannot do it; with this value, it does so already.
    return tuple(
        f"{place}.{field}={str(most).replace(' ', '')}"
        for place, part in detector.modules(model)
        for field, most in detector.REMAT.items()
        if getattr(part, field, most) != most
    )


def _say(text: str) -> None:
    if processes.is_first():
        tqdm.write(text)


def _quoted(overrides: tuple[str, ...]) -> str:
    """As a shell takes them."""
    return " ".join(shlex.quote(one) for one in overrides)
