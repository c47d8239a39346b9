"""What there is: versions, devices and what they can do at most."""

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solojax import __version__, parallel, timing
from solojax.training import goodput

PRODUCT = 1024, 8192  # rows of the matrices whose product is timed: on a CPU, elsewhere
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tensorflow-cpu",
    "torch",
)


def versions() -> dict[str, str]:
    """Of solojax, Python and of the packages that are installed; none is imported for it."""
    found = {"solojax": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def devices() -> dict[str, Any]:
    """Of all processes; ``memory`` is XLA's of one, in bytes, None where it does not say."""
    one = jax.local_devices()[0]
    stats = one.memory_stats() or {}
    return {
        "platform": one.platform,
        "kind": one.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": stats.get("bytes_limit"),
        "peak": goodput.peak_of(one.device_kind),
    }


def product_rate(side: int, dtype: Any = jnp.bfloat16, within: float = 2.0) -> float:
    """Operations a second of a product of two matrices of ``side`` rows, of random numbers.

    The most that a network can come to here. Of zeros a GPU would make more.
    """
    rng = np.random.default_rng(0)
    one = jnp.asarray(rng.standard_normal((side, side), np.float32), dtype)
    multiply = jax.jit(jnp.matmul)
    return 2 * side**3 / min(timing.time_calls(lambda: multiply(one, one), within=within).seconds)


def about(precision: parallel.Precision) -> dict[str, Any]:
    """When and where: versions, devices, and the operations a second that shares are of.

    That is what the maker says of bfloat16 where that is known; else what a product of two
    matrices comes to here.
    """
    found = devices()
    rate = product_rate(PRODUCT[found["platform"] != "cpu"], jnp.dtype(precision))
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "devices": found,
        "product_rate": rate,
        "peak": found["peak"] or rate,
    }


def lines() -> list[str]:
    """For people."""
    here = devices()
    found = [f"{name} {version}" for name, version in versions().items()]
    peak = "not known" if here["peak"] is None else f"{here['peak'] / 1e12:,.0f} TFLOP/s"
    room = "it does not say" if here["memory"] is None else f"{here['memory'] / 2**30:.1f} GiB"
    return [
        ", ".join(found),
        f"{here['count']} x {here['kind']} ({here['platform']}), of {here['processes']} "
        f"process(es), {here['cores']} cores of the host",
        f"memory that XLA has of a device: {room}; its bfloat16 peak by its maker: {peak}",
    ]
