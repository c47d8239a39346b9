"""The one file that knows devices exist; with several processes, those of all of them.

``pmap`` in a form whose state carries no device axis: it is placed once on every local device and
comes back the same way, so there is no ``replicate``/``unreplicate`` pair and one compile only. The
way out to ``jit(shard_map)``, should ``pmap`` go, is an edit of this file (docs/architecture.md).
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from solojax.types import InputError

AXIS = "devices"
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # in the words of XLA

Precision = Literal["float32", "bfloat16"]

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

# One operation after the other, each on all cores. XLA for CPUs would have several at a time, which
# takes twice the temporary memory, and a twentieth longer to fetch it from the system.
_CPU_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}

# What XLA for CPUs may leave to its library of kernels: sums, which that is four times faster at;
# not convolutions, of which it turns the gradient of a wide kernel into one whose window is the
# whole map, at a twentieth of the speed.
_CPU_LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
_CPU_TRAINING_OPTIONS = {
    _CPU_LIBRARY: "LIBRARY_FUSION_TYPE_REDUCE",
    # Barriers stay until all is fused: what lies behind one is computed once (``ops.conv``).
    "xla_disable_hlo_passes": "cse_barrier_expander",
    # More takes a tenth to a fifth longer to compile, and the step as long.
    "xla_backend_optimization_level": 1,
}

_trained_on_cpus = contextvars.ContextVar("_trained_on_cpus", default=False)

# Of drawing parameters 27 of 40 CPU seconds go into optimising what runs in .04.
_CPU_ONCE = {"xla_backend_optimization_level": 1}


def _unless_set(options: dict[str, Any]) -> dict[str, Any]:
    """Compiler options but for those that ``XLA_FLAGS`` names, which takes precedence."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in options.items() if name not in flags}


def _local(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)


def replicate(tree: Any) -> Any:
    """Copies every leaf to all local devices, adding no axis.

    An update whose state was not placed this way compiles twice.
    """
    return jax.device_put(tree, _local(PartitionSpec()))


def resolve_precision(precision: str) -> Precision:
    """What a network computes in; "auto" is float32 on CPUs, which have no units for less."""
    if precision == "auto":
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return "bfloat16" if precision == "bfloat16" else "float32"


def check_divisible(batch_size: int, accumulate: int = 1) -> None:
    """Raises InputError where a batch does not divide over all devices, ``accumulate`` parts each.

    Without this check ``pmap`` runs a batch of 4 on 4 of 8 devices and says nothing.
    """
    devices = jax.device_count()
    parts = devices * accumulate
    if batch_size < 1 or batch_size % parts:
        below = batch_size // parts * parts
        near = " or ".join(str(size) for size in (below, below + parts) if size > 0)
        times = f" in training.accumulate={accumulate} parts each" if accumulate > 1 else ""
        raise InputError(
            f"training.batch_size={batch_size} does not divide over {devices} devices{times}; "
            f"use {near}"
        )


def shard(batch: Any) -> Any:
    """Splits this process's host arrays ``B ...`` into ``D B/D ...`` over its local devices."""
    devices = jax.local_device_count()

    def split(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if not len(x) or len(x) % devices:
            raise ValueError(f"{len(x)} images do not divide over {devices} devices")
        return x.reshape(devices, -1, *x.shape[1:])

    return jax.device_put(jax.tree.map(split, batch), _local(PartitionSpec(AXIS)))


def pmap_update(update: Callable) -> Any:
    """Maps ``update(state, batch) -> (state, metrics)``; both results are equal on all devices.

    The state's buffers are donated.
    """
    if jax.default_backend() == "cpu":
        return _TrainingOnCPUs(update)
    return portable_update(update)


@contextlib.contextmanager
def training_on_cpus() -> Iterator[None]:
    """What is traced within is a training for CPUs; ``ops`` then take the forms they are fast at.

    Said by the tracing and not asked of the platform inside the program
    (``lax.platform_dependent``), so that those of accelerators bear no trace of it.
    """
    token = _trained_on_cpus.set(True)
    try:
        yield
    finally:
        _trained_on_cpus.reset(token)


def is_trained_on_cpus() -> bool:
    """Whether ``training_on_cpus`` is said of what is being traced."""
    return _trained_on_cpus.get()


def portable_update(update: Callable) -> Any:
    """``pmap_update`` without what is done for CPUs alone: the program of an accelerator."""
    return jax.pmap(update, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


class _TrainingOnCPUs:
    """An update in the forms and with the options of CPUs, compiled once for each batch's shape."""

    def __init__(self, update: Callable):
        def traced(state: Any, batch: Any) -> Any:
            with training_on_cpus():
                return update(state, batch)

        self._mapped = portable_update(traced)
        self._programs: dict[tuple, Any] = {}

    def lower(self, state: Any, batch: Any) -> Any:
        return self._mapped.lower(state, batch)

    def __call__(self, state: Any, batch: Any) -> Any:
        if jax.process_count() > 1:  # what is compiled ahead takes the arrays of all of them
            return self._mapped(state, batch)
        shapes = tuple(x.shape for x in jax.tree.leaves(batch))
        if shapes not in self._programs:
            self._programs[shapes] = compile_update(self.lower(state, batch))
        return self._programs[shapes](state, batch)


def compile_update(lowered: Any) -> Any:
    """Compiles what ``lower`` of a mapped update gave, as the update would when it is called."""
    if jax.default_backend() != "cpu":
        return lowered.compile()
    options = _unless_set(_CPU_TRAINING_OPTIONS)
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if _CPU_LIBRARY not in str(error):
            raise
    options.pop(_CPU_LIBRARY, None)  # this jaxlib does not know it
    return lowered.compile(compiler_options=options)


def pmap_predict(predict: Callable) -> Callable:
    """Maps ``predict(variables, *batch) -> results`` to ``mapped(variables, batch)``.

    Each local device takes its part of the batch. No other process takes part: how often one calls
    may depend on what it finds.
    """

    def mapped(variables: Any, batch: Any) -> Any:
        return predict(variables, *batch)

    return jax.pmap(mapped, AXIS, in_axes=(None, 0), devices=jax.local_devices())


def jit_predict(predict: Callable) -> Any:
    """``pmap_predict`` for one device: compiles ``predict`` to ``mapped(variables, batch)``.

    With options for CPUs, hence not for use inside another ``jit``.
    """
    options = _unless_set(_CPU_OPTIONS) if jax.default_backend() == "cpu" else None
    return jax.jit(lambda variables, batch: predict(variables, *batch), compiler_options=options)


def jit_once(function: Callable, **options: Any) -> Callable:
    """``jax.jit`` of what a process runs once, with its ``options``; not inside another one.

    XLA for CPUs compiles it to the same numbers in a third of the time, and does not try to make it
    fast.
    """
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=_unless_set(_CPU_ONCE) if on_cpu else None, **options)


def gather(tree: Any) -> Any:
    """Fetches ``D B ...`` results to the host as NumPy ``D*B ...``."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


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
