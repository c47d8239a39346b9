"""What XLA says a training step needs, and what fits a device, without running it.

A program is compiled and its accounts are read, so a step far beyond the device at hand can be
measured as well.
"""

import functools
import math
import os
import shlex
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from tqdm import tqdm

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.models import detector
from solojax.training import optimizer, step
from solojax.types import Batch, InputError, Instances, TrainState

RESERVE = 0.1
"""Share of XLA's memory that a step is not planned into.

For what is not in its accounts, above all the batches of the steps that wait their turn, and for
the gaps between allocations. CUDA's libraries take theirs from what XLA was never given.
"""

GPU_SHARE = 0.75
"""Share of a GPU that JAX gives to XLA where the environment does not say.

https://docs.jax.dev/en/latest/201/gpu-memory.html
"""

# Accounts are drawn up before machine code is made: that of a program which is never run may be
# bad, in a third of the time. And the CPU's compiler takes away the barriers around what is to be
# computed again, then finds it computed already; accelerators' keep them.
_CPU_OPTIONS = {
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}

_SHARE_NAMES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # the second is older
_LINEAR_GUESSES = 5  # after which the peak is taken to follow no line, and halving is quicker


class Memory(NamedTuple):
    """Bytes on one device."""

    state: int  # parameters, statistics, optimizer; donated, so the new state takes its place
    batch: int
    temporary: int  # activations, gradients and scratch at their greatest

    @property
    def peak(self) -> int:
        """All of it together."""
        return self.state + self.batch + self.temporary


class Program(NamedTuple):
    """A training step as it was compiled."""

    canvas: tuple[int, int]  # (height, width), network pixels
    batch_size: int  # training.batch_size: images over all devices
    memory: Memory | None  # None where XLA itself finds the device too small, as on TPUs


def abstract_batch(config: config_lib.Config, canvas: tuple[int, int], images: int) -> Batch:
    """Shapes and types of ``images`` images of a batch, as the pipeline delivers them."""

    def array(*shape: int, dtype: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype)

    (height, width), most = canvas, config.data.max_instances
    return Batch(
        images=array(height, width, 3, dtype="uint8"),
        sizes=array(2, dtype="int32"),
        original_sizes=array(2, dtype="int32"),
        indices=array(dtype="int32"),
        valid=array(dtype="bool"),
        instances=Instances(
            masks={
                stride: array(most, height // stride, -(-width // (8 * stride)), dtype="uint8")
                for stride in set(config.model.head.mask_strides)
            },
            boxes=array(most, 4, dtype="float32"),
            centers=array(most, 2, dtype="float32"),
            labels=array(most, dtype="int32"),
            valid=array(most, dtype="bool"),
        ),
        dropped=array(dtype="int32"),
    )


def lower_step(config: config_lib.Config, state: TrainState, batch: Batch) -> Any:
    """Lowers the training step for shapes of a state and of one device's batch."""
    devices = jax.local_device_count()
    sharded = jax.tree.map(lambda x: jax.ShapeDtypeStruct((devices, *x.shape), x.dtype), batch)
    update = step.update_of(config, _optimizer(config))
    return parallel.pmap_update(update).lower(state, sharded)


def step_memory(config: config_lib.Config, canvas: tuple[int, int]) -> Memory:
    """Compiles the training step for one canvas (height, width) and reads XLA's accounts.

    For the platform at hand. The batch is split over all devices; the bytes are those of one.
    """
    state, batch = arguments(config, canvas)
    options = _CPU_OPTIONS if jax.default_backend() == "cpu" else None
    stats = lower_step(config, state, batch).compile(compiler_options=options).memory_analysis()
    return Memory(state=_size(state), batch=_size(batch), temporary=int(stats.temp_size_in_bytes))


def arguments(config: config_lib.Config, canvas: tuple[int, int]) -> tuple[TrainState, Batch]:
    """Shapes of a state and of one device's batch, for one canvas (height, width)."""

    def start() -> TrainState:
        variables = detector.init_variables(config.model, jax.random.key(0))
        return step.start_state(variables, _optimizer(config), ema=config.optimizer.ema_decay > 0)

    training = config.training
    parallel.check_divisible(training.batch_size, training.accumulate)
    images = training.batch_size // jax.device_count()
    return jax.eval_shape(start), abstract_batch(config, canvas, images)


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


def survey(config: config_lib.Config, limit: int | None = None) -> tuple[list[Program], int]:
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
    programs: dict[tuple[tuple[int, int], int], Program] = {}
    configured, most = config.training.batch_size // once, math.inf
    # The largest come first: what fits them most likely fits the others.
    canvases = sorted(dict.fromkeys(config.data.canvases), key=math.prod, reverse=True)
    with tqdm(unit="program", disable=not processes.is_first()) as bar:

        def peak(canvas: tuple[int, int], images: int) -> float:
            size = images * once
            if (canvas, size) not in programs:
                bar.set_description(f"compiling {_name(canvas)}, training.batch_size={size}")
                changed = config_lib.override(config, f"training.batch_size={size}")
                programs[canvas, size] = Program(canvas, size, _measure(changed, canvas))
                bar.update()
            memory = programs[canvas, size].memory
            return memory.peak if memory else math.inf

        state = _size(arguments(config, canvases[0])[0])
        for canvas in canvases:
            peak(canvas, configured)
            if limit is not None:
                first = configured if most == math.inf else int(most)
                most = _largest(functools.partial(peak, canvas), state, limit, first, most)
    compiled = sorted(programs.values(), key=lambda one: (-math.prod(one.canvas), one.batch_size))
    return compiled, 0 if most == math.inf else int(most) * once


def advice(config: config_lib.Config, canvas: tuple[int, int]) -> str:
    """What a training that ran out of device memory on a canvas (height, width) can do about it.

    Compiles up to five programs, which takes a while and none of the device's memory: the step as
    it is, and with each change that may need less. Only those that do are named.
    """
    _say(f"out of device memory on canvas {_name(canvas)}; looking for what needs less")
    remedies = _remedies(config)
    measured = {}
    with tqdm([(), *remedies], unit="program", disable=not processes.is_first()) as bar:
        for overrides in bar:
            changes = " ".join(overrides) or "the step as it is"
            bar.set_description(f"compiling {changes}")
            measured[overrides] = _measure(config_lib.override(config, *overrides), canvas)
    now = measured[()]
    lines = [
        f"the device has too little memory for a step on canvas {_name(canvas)}; in MiB:",
        table([Program(canvas, config.training.batch_size, now)]),
    ]
    reported = room()
    if reported is not None:
        given = reported / (1 - RESERVE) / 2**20
        lines.append(
            f"XLA has {given:,.0f} MiB of the device; on GPUs {_SHARE_NAMES[0]} changes it"
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


def table(programs: Iterable[Program]) -> str:
    """MiB on each device, a line for each program."""
    lines = ["  canvas     batch size    state   batch  temporary     peak"]
    for canvas, batch_size, memory in programs:
        line = f"  {_name(canvas):9} {batch_size:11,}"
        if memory:
            state, batch, temporary, peak = (size / 2**20 for size in (*memory, memory.peak))
            line += f" {state:8,.0f} {batch:7,.0f} {temporary:10,.0f} {peak:8,.0f}"
        else:
            line += " XLA finds the device too small"
        lines.append(line)
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
    # Without the field, a part cannot do it; with this value, it does so already.
    wanted = (
        ("backbone", "remat_stages", (1, 2, 3, 4), "(1,2,3,4)"),
        ("head", "remat", True, "True"),
    )
    if remat := tuple(
        f"model.{part}.{name}={text}"
        for part, name, value, text in wanted
        if getattr(getattr(model, part), name, value) != value
    ):
        found[remat] = "the same numbers, computed again in the backward pass"
    if parallel.resolve_precision(training.precision) != "bfloat16":
        found["training.precision=bfloat16",] = "activations of 8 bits of precision"
    if half := images // training.accumulate // 2:
        size = half * training.accumulate * jax.device_count()
        found[f"training.batch_size={size}",] = "the learning rate follows"
    return found


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


def _measure(config: config_lib.Config, canvas: tuple[int, int]) -> Memory | None:
    """``step_memory``, or None where the compiler runs out of the device's memory."""
    try:
        return step_memory(config, canvas)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _gpu_share() -> float:
    for name in _SHARE_NAMES:
        if text := os.environ.get(name):
            try:
                return float(text)
            except ValueError:
                raise InputError(f"{name}={text} must be a number such as .75") from None
    return GPU_SHARE


def _say(text: str) -> None:
    if processes.is_first():
        tqdm.write(text)


def _name(canvas: tuple[int, int]) -> str:
    return f"{canvas[0]}x{canvas[1]}"


def _quoted(overrides: tuple[str, ...]) -> str:
    """As a shell takes them."""
    return " ".join(shlex.quote(one) for one in overrides)


def _optimizer(config: config_lib.Config) -> optax.GradientTransformation:
    # How many steps there will be makes no difference to what one of them needs.
    schedule = optimizer.make_schedule(
        config.optimizer, batch_size=config.training.batch_size, steps=1, steps_per_epoch=1
    )
    return optimizer.make_optimizer(config.optimizer, schedule, config.model)


def _size(tree: object) -> int:
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
