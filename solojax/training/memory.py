"""What XLA says a training step needs of a device, without running it.

A program is compiled and its accounts are read, so a step far beyond the device at hand can be
measured as well.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from solojax import config as config_lib
from solojax import device_memory, parallel
from solojax.models import detector
from solojax.training import goodput, optimizer, step
from solojax.types import Batch, Instances, TrainState

# Accounts are drawn up before machine code is made: that of a program which is never run may be
# bad, in a third of the time. And the CPU's compiler would take away the barriers around what is to
# be computed again, then find it computed already; accelerators' keep them, as trainings here do.
_CPU_OPTIONS = {
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


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
            crowd=array(most, dtype="bool"),
            label_maps={
                stride: array(height // stride, width // stride, dtype="uint8")
                for stride in detector.label_strides(config.model)
            },
        ),
        dropped=array(dtype="int32"),
    )


def lower_step(config: config_lib.Config, state: TrainState, batch: Batch) -> Any:
    """Lowers the training step for shapes of a state and of one device's batch."""
    update = step.update_of(config, rule_of(config))
    return parallel.portable_update(update).lower(state, parallel.shapes_of(batch))


def fresh_state(config: config_lib.Config) -> TrainState:
    """A state to measure by: of step 0, from scratch."""
    variables = detector.init_variables(config.model, jax.random.key(0))
    return step.start_state(variables, rule_of(config), ema=config.optimizer.ema_decay > 0)


def operations(config: config_lib.Config) -> float:
    """Floating-point operations of a step on the largest canvas on one device, as XLA counts."""
    canvas = max(config.data.canvases, key=math.prod)
    lowered = lower_step(config, *arguments(config, canvas))
    return goodput.operations_of(lowered, config.training.accumulate)


def step_memory(config: config_lib.Config, canvas: tuple[int, int]) -> Memory:
    """Compiles the training step for one canvas (height, width) and reads XLA's accounts.

    For the platform at hand. The batch is split over all devices; the bytes are those of one.
    """
    state, batch = arguments(config, canvas)
    options = _CPU_OPTIONS if jax.default_backend() == "cpu" else None
    stats = lower_step(config, state, batch).compile(compiler_options=options).memory_analysis()
    return Memory(
        state=device_memory.size_of(state),
        batch=device_memory.size_of(batch),
        temporary=int(stats.temp_size_in_bytes),
    )


def arguments(config: config_lib.Config, canvas: tuple[int, int]) -> tuple[TrainState, Batch]:
    """Shapes of a state and of one device's batch, for one canvas (height, width)."""
    training = config.training
    parallel.check_divisible(training.batch_size, training.accumulate)
    images = training.batch_size // jax.device_count()
    return jax.eval_shape(lambda: fresh_state(config)), abstract_batch(config, canvas, images)


def table(programs: Iterable[Program]) -> str:
    """MiB on each device, a line for each program."""
    lines = ["  canvas     batch size    state   batch  temporary     peak"]
    for canvas, batch_size, memory in programs:
        line = f"  {name_of(canvas):9} {batch_size:11,}"
        if memory:
            state, batch, temporary, peak = (size / 2**20 for size in (*memory, memory.peak))
            line += f" {state:8,.0f} {batch:7,.0f} {temporary:10,.0f} {peak:8,.0f}"
        else:
            line += " XLA finds the device too small"
        lines.append(line)
    return "\n".join(lines)


def try_step(config: config_lib.Config, canvas: tuple[int, int]) -> Memory | None:
    """``step_memory``, or None where the compiler runs out of the device's memory."""
    try:
        return step_memory(config, canvas)
    except jax.errors.JaxRuntimeError as error:
        if not device_memory.ran_out(error):
            raise
        return None


def name_of(canvas: tuple[int, int]) -> str:
    """A canvas (height, width) for people."""
    return f"{canvas[0]}x{canvas[1]}"


def rule_of(config: config_lib.Config) -> optimizer.UpdateRule:
    """The update rule to measure by: how many steps there will be makes no difference to one."""
    schedule = optimizer.make_schedule(
        config.optimizer, batch_size=config.training.batch_size, steps=1, steps_per_epoch=1
    )
    return optimizer.make_optimizer(config.optimizer, schedule, config.model)
