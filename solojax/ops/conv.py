"""Convolution: XLA's own, but for three kinds that XLA for CPUs is slow at.

There 1x1 taps are a matrix product; groups of channels that are trained are products tap by tap;
and, where nothing is trained, wide 3x3 ones take Winograd's 2.25 times fewer multiplications.
Programs for GPUs and TPUs are those of XLA's own.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solojax.ops.forward import forward_only
from solojax.ops.precision import sum_type
from solojax.parallel import is_trained_on_cpus

# From both on, what Winograd's scheme saves is well more than the sums around it cost.
LEAST_CHANNELS = 256  # of the input
LEAST_TILES = 64  # of 2x2 outputs, in an image

# At least, where an image has them, and at most: fewer make slow products, more leave the caches.
TILES_AT_ONCE = 200, 512

# Of all rows and columns at once: of a 3x3 kernel to 4x4 factors, of 4x4 products to 2x2 outputs.
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
TRANSFORM_KERNEL, TRANSFORM_OUTPUT = (np.kron(one, one) for one in (_KERNEL, _OUTPUT))


def conv_general_dilated(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **others: Any
) -> jax.Array:
    """``lax.conv_general_dilated`` of ``B H W C`` and ``h w C O``, as ``flax.linen.Conv`` calls it.

    What it returns is the same but for the order of the sums.
    """

    def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **others)

    if is_trained_on_cpus() and kernel.shape[:2] != (1, 1):
        # For the kernel's gradient XLA for CPUs would compute the input again, element by element
        # in another order, from whatever it was made of.
        x = lax.optimization_barrier(x)
    if {*others["lhs_dilation"]} != {1} or others.get("batch_group_count", 1) != 1:
        return direct(x, kernel)
    groups, apart = others.get("feature_group_count", 1), others["rhs_dilation"]
    if is_trained_on_cpus() and groups > 1 and not isinstance(padding, str):
        return _tap_by_tap(x, kernel, window_strides, padding, groups, apart)
    if {*apart} != {1}:
        return direct(x, kernel)
    # What is named pads nothing where there is one tap, whatever the stride.
    pads = not isinstance(padding, str) and any(map(any, padding))
    if kernel.shape[:3] == (1, 1, x.shape[3]) and not pads:
        multiply = functools.partial(_multiply, strides=window_strides)
        if is_trained_on_cpus():
            return multiply(x, kernel)
        return on_cpus(multiply, direct, x, kernel)
    tiles = -(-x.shape[1] // 2) * -(-x.shape[2] // 2)
    if (
        x.dtype == jnp.float32
        and kernel.shape[:3] == (3, 3, x.shape[3])
        and tuple(window_strides) == (1, 1)
        and padding == [(1, 1), (1, 1)]
        and x.shape[3] >= LEAST_CHANNELS
        and tiles >= LEAST_TILES
    ):
        return on_cpus(winograd, direct, x, kernel)
    return direct(x, kernel)


def on_cpus(
    fast: Callable[..., jax.Array], direct: Callable[..., jax.Array], *arrays: jax.Array
) -> jax.Array:
    """``fast`` on CPUs where no gradient is wanted: that would keep what it makes on the way."""
    choose = functools.partial(lax.platform_dependent, cpu=fast, default=direct)
    return forward_only(choose, direct)(*arrays)


def _multiply(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    return jnp.matmul(x[:, :: strides[0], :: strides[1]], kernel[0, 0])


def _tap_by_tap(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int,
    apart: Sequence[int],
) -> jax.Array:
    """A convolution in groups; its gradient in XLA for CPUs knows no matrix product."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [(kernel.shape[a] - 1) * apart[a] for a in (0, 1)]  # of the taps
    counts = [(x.shape[1 + a] - reach[a] - 1) // strides[a] + 1 for a in (0, 1)]
    out = jnp.zeros((), sum_type(x.dtype))
    for tap in np.ndindex(*kernel.shape[:2]):
        rows, columns = (
            slice(first := tap[a] * apart[a], first + (counts[a] - 1) * strides[a] + 1, strides[a])
            for a in (0, 1)
        )
        out += jnp.einsum(
            "bhwgi,igo->bhwgo",
            x[:, rows, columns].reshape(len(x), *counts, groups, -1),
            kernel[tap].reshape(-1, groups, kernel.shape[3] // groups),
            preferred_element_type=sum_type(x.dtype),
        )
    return out.reshape(len(x), *counts, -1).astype(x.dtype)


def winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution of stride 1, zero-padded, by F(2x2, 3x3) of Lavin and Gray (2016).

    Each 2x2 outputs come of 4x4 inputs: inputs and kernel are transformed, multiplied place by
    place, in 16 matrix products over the channels, and transformed again. In float32 the error is
    of the size of the direct convolution's: its numbers are larger, its sums nine times shorter.

    Args:
      x: ``B H W C``.
      kernel: ``3 3 C O``.

    Returns:
      ``B H W O``.
    """
    batch, height, width, channels = x.shape
    columns, all_rows = -(-width // 2), -(-height // 2)  # of tiles
    # A strip is some rows of tiles: as many as need the fewest rows of padding.
    fewest, most = TILES_AT_ONCE
    most = min(max(most // columns, 1), all_rows)
    least = min(-(-fewest // columns), most)
    rows = min(range(least, most + 1), key=lambda rows: (-(-all_rows // rows) * rows, -rows))
    strips = -(-all_rows // rows)
    bottom, right = 1 + 2 * rows * strips - height, 1 + 2 * columns - width
    x = jnp.pad(x, ((0, 0), (1, bottom), (1, right), (0, 0)))
    taps = kernel.swapaxes(0, 1).reshape(9, -1)  # column by column, as the inputs come
    factors = jnp.matmul(TRANSFORM_KERNEL, taps).reshape(16, channels, -1)

    def convolve(strip: jax.Array) -> jax.Array:
        first = (strip // strips, strip % strips * 2 * rows, 0, 0)
        window = lax.dynamic_slice(x, first, (1, 2 * rows + 2, *x.shape[2:]))[0]
        down = _transform_input(*(window[i : i + 2 * rows : 2] for i in range(4)))
        inputs = _transform_input(*(down[:, :, j : j + 2 * columns : 2] for j in range(4)))
        products = jnp.matmul(inputs.reshape(16, rows * columns, channels), factors)
        out = jnp.matmul(TRANSFORM_OUTPUT, products.reshape(16, -1))
        tiles = out.reshape(2, 2, rows, columns, -1).transpose(2, 1, 3, 0, 4)
        return tiles.reshape(2 * rows, 2 * columns, -1)

    out = lax.map(convolve, jnp.arange(batch * strips))
    return out.reshape(batch, strips * 2 * rows, 2 * columns, -1)[:, :height, :width]


def _transform_input(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    return jnp.stack([a - c, b + c, c - b, b - d])
