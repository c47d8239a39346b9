"""The one file that knows devices exist.

``pmap`` in a form whose state carries no device axis: it is placed once on every local device and
comes back the same way, so there is no ``replicate``/``unreplicate`` pair and one compile only. The
way out to ``jit(shard_map)``, should ``pmap`` go, is an edit of this file (docs/architecture.md).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from solojax.types import InputError

AXIS = "devices"


def _local(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)


def replicate(tree: Any) -> Any:
    """Copies every leaf to all local devices, adding no axis.

    An update whose state was not placed this way compiles twice.
    """
    return jax.device_put(tree, _local(PartitionSpec()))


def check_divisible(batch_size: int) -> None:
    """Raises InputError where ``batch_size`` images do not divide over the local devices.

    Without this check ``pmap`` runs a batch of 4 on 4 of 8 devices and says nothing.
    """
    devices = jax.local_device_count()
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        near = " or ".join(str(size) for size in (below, below + devices) if size > 0)
        raise InputError(
            f"training.batch_size={batch_size} does not divide over {devices} devices; use {near}"
        )


def shard(batch: Any) -> Any:
    """Splits host arrays ``B ...`` into ``D B/D ...`` and places a part on each local device."""
    devices = jax.local_device_count()

    def split(x: Any) -> np.ndarray:
        x = np.asarray(x)
        check_divisible(len(x))
        return x.reshape(devices, -1, *x.shape[1:])

    return jax.device_put(jax.tree.map(split, batch), _local(PartitionSpec(AXIS)))


def pmap_update(update: Callable) -> Any:
    """Maps ``update(state, batch) -> (state, metrics)``; both results are equal on all devices.

    The state's buffers are donated.
    """
    return jax.pmap(update, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def pmap_predict(predict: Callable) -> Callable:
    """Maps ``predict(variables, *batch) -> results`` to ``mapped(variables, batch)``.

    Each device takes its part of the batch.
    """
    return jax.pmap(lambda variables, batch: predict(variables, *batch), AXIS, in_axes=(None, 0))


def gather(tree: Any) -> Any:
    """Fetches ``D B ...`` results to the host as NumPy ``D*B ...``."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)
