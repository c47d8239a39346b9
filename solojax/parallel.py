"""The one file that knows devices exist; with several processes, those of all of them.

``pmap`` in a form whose state carries no device axis: it is placed once on every local device and
comes back the same way, so there is no ``replicate``/``unreplicate`` pair and one compile only.
Beside it ``jit(shard_map)``, which JAX recommends since ``pmap`` is kept up alone: the same steps,
chosen by the environment (``FORM``) and known to nobody else (docs/architecture.md).
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
FORM = "SOLOJAX_PARALLEL"  # variable of the environment: pmap, where not given, or shard_map

Precision = Literal["float32", "bfloat16"]

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


def _is_pmap() -> bool:
    form = os.environ.get(FORM) or "pmap"
    if form not in ("pmap", "shard_map"):
        raise InputError(f"{FORM}={form} must be pmap or shard_map")
    return form == "pmap"


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
    """Splits this process's host arrays ``B ...`` over its local devices; ``gather`` undoes it."""
    devices, is_pmap = jax.local_device_count(), _is_pmap()

    def split(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if not len(x) or len(x) % devices:
            raise ValueError(f"{len(x)} images do not divide over {devices} devices")
        return x.reshape(devices, -1, *x.shape[1:]) if is_pmap else x

    return jax.device_put(jax.tree.map(split, batch), _local(PartitionSpec(AXIS)))


def shapes_of(batch: Any) -> Any:
    """Shapes of one device's part of a batch -> those of what ``shard`` makes of all parts."""
    devices, is_pmap = jax.local_device_count(), _is_pmap()

    def whole(x: Any) -> jax.ShapeDtypeStruct:
        shape = (devices, *x.shape) if is_pmap else (devices * x.shape[0], *x.shape[1:])
        return jax.ShapeDtypeStruct(shape, x.dtype)

    return jax.tree.map(whole, batch)


def pmap_update(update: Callable) -> Any:
    """Maps ``update(state, batch) -> (state, metrics)``; both results are equal on all devices.

    By ``pmap`` or what ``FORM`` names. The state's buffers are donated.
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
    if _is_pmap():
        return jax.pmap(update, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)
    mapped = _shard_map(update, jax.devices(), PartitionSpec(), donate_argnums=0)
    return mapped if jax.process_count() == 1 else _OverProcesses(mapped)


def _shard_map(function: Callable, devices: list, out: PartitionSpec, **options: Any) -> Any:
    """``jit(shard_map)`` of a function of what is equal on all devices and of a batch's part."""
    mesh = Mesh(np.array(devices), (AXIS,))
    specs = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)
    return jax.jit(mapped, **options)


class _OverProcesses:
    """``jit(shard_map)`` over all devices of arrays on the local ones, as ``pmap`` takes them."""

    def __init__(self, mapped: Any):
        self._mapped = mapped

    def _lift(self, state: Any, batch: Any) -> tuple[Any, Any]:
        mesh = Mesh(np.array(jax.devices()), (AXIS,))
        whole, parts = (
            NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec(AXIS))
        )
        return _moved(state, whole, 1), _moved(batch, parts, jax.process_count())

    def lower(self, state: Any, batch: Any) -> Any:
        return self._mapped.lower(*self._lift(state, batch))

    def __call__(self, state: Any, batch: Any) -> Any:
        return _moved(self._mapped(*self._lift(state, batch)), _local(PartitionSpec()), 1)


def _moved(tree: Any, sharding: NamedSharding, times: int) -> Any:
    """The same buffers as arrays of another sharding, ``times`` as long."""

    def move(x: Any) -> Any:
        shape = (x.shape[0] * times, *x.shape[1:]) if times > 1 else x.shape
        buffers = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(shape, sharding, buffers)

    return jax.tree.map(move, tree)


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

    if _is_pmap():
        return jax.pmap(mapped, AXIS, in_axes=(None, 0), devices=jax.local_devices())
    return _shard_map(mapped, jax.local_devices(), PartitionSpec(AXIS))


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
    """Fetches the results of ``pmap_predict`` to the host as NumPy ``B ...``."""
    if not _is_pmap():
        return jax.device_get(tree)
    return jax.tree.map(
        lambda x: np.asarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:]), tree
    )
