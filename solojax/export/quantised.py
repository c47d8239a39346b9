"""Weights in fewer bits; the programs that take them compute in float32 all the same."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solojax.training import checkpoint

SCALE = ".scale"  # what the name of a kernel goes on with
LEAST = 1024  # weights of a kernel: fewer are not worth it
MOST = 65504  # of a weight: the largest of float16


class Stored(NamedTuple):
    """An array as it is in a file: ``values`` times ``scale``, which has the length of an axis."""

    values: np.ndarray
    scale: np.ndarray | None = None  # float32, of int8 alone
    axis: int = -1

    def reshape(self, shape: Sequence[int]) -> "Stored | None":
        """In another shape; None where the places of ``scale`` are no axis of it."""
        whole = self.axis == -1 and shape[-1:] == self.values.shape[-1:]
        return self._replace(values=self.values.reshape(shape)) if whole else None

    def transpose(self, order: Sequence[int]) -> "Stored":
        """With the axes in another order."""
        axis = order.index(self.axis % len(order))
        return self._replace(values=self.values.transpose(order), axis=axis)


def store(variables: Any, kind: str) -> dict[str, Stored]:
    """The arrays of a network by name, kernels of convolutions and dense layers as ``kind``.

    As int8 a weight ``w`` differs by at most half a step, ``max |w| / 254`` over the kernel of its
    output channel, and float32's rounding: ``round(w / scale)`` with ``scale = max |w| / 127``. As
    float16 it differs by at most ``2**-11`` of itself, or ``2**-25`` where it is below ``2**-14``.
    Biases, norms, kernels of less than ``LEAST`` weights and those with one above ``MOST``, or NaN,
    stay as they are.

    Args:
      variables: of a model; output channels are the last axis of kernels.
      kind: of ``export.WEIGHTS``.
    """
    return {
        name: _fewer_bits(np.asarray(array), kind if name.endswith("/kernel") else "float32")
        for name, array in checkpoint.by_name(variables).items()
    }


def _fewer_bits(array: np.ndarray, kind: str) -> Stored:
    if kind == "float32" or array.size < LEAST:
        return Stored(array)
    most = np.abs(array).max(tuple(range(array.ndim - 1)))
    if not most.max() <= MOST:
        return Stored(array)
    if kind == "float16":
        return Stored(array.astype(np.float16))
    scale = np.maximum(most / np.float32(127), np.finfo(np.float32).tiny)
    return Stored(np.rint(array / scale).astype(np.int8), scale)


def arrays_of(stored: Mapping[str, Stored]) -> dict[str, np.ndarray]:
    """What a file keeps, by name; scales by that of their kernel and ``SCALE``."""
    scales = {name + SCALE: one.scale for name, one in stored.items() if one.scale is not None}
    return {name: one.values for name, one in stored.items()} | scales


def restore(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of ``arrays_of`` in float32 and without scales, in a program or as arrays."""
    made = {}
    for name, array in arrays.items():
        if name + SCALE in arrays:
            array = jnp.float32(array) * jnp.broadcast_to(arrays[name + SCALE], array.shape)
        elif array.dtype == np.float16:
            array = jnp.float32(array)
        if not name.endswith(SCALE):
            made[name] = array
    return made
