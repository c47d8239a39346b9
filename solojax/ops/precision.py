"""What stays float32 where the network computes in bfloat16: sums, losses, probabilities.

A network computes in the type of its images (``ops.images.normalize``); its parameters are float32.
bfloat16 has the range of float32 and 8 bits of its 24: enough for features, too little for a sum
of many, a position, or a probability that is compared with its neighbours'.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def sum_type(dtype: DTypeLike) -> jnp.dtype:
    """The type to sum products of ``dtype`` in: float32, unless that would lose bits."""
    return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
    """``x`` as float32, unless it has more bits already."""
    return x.astype(sum_type(x.dtype))


def whole_products(dtype: DTypeLike) -> contextlib.AbstractContextManager[Any]:
    """Has what is traced within multiply all bits of float32; of other types it changes nothing.

    Unless told, GPUs multiply float32 in TF32 (11 bits) and TPUs in bfloat16. CPUs never do.
    """
    if jnp.dtype(dtype) == jnp.float32:
        return jax.default_matmul_precision("float32")
    return contextlib.nullcontext()
