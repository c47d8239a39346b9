"""Convolutions whose kernels are themselves predicted, one for each mask."""

import functools

import jax
import jax.numpy as jnp

from solojax.ops.conv import on_cpus
from solojax.ops.precision import sum_type
from solojax.parallel import is_trained_on_cpus


def dynamic_conv(features: jax.Array, kernels: jax.Array, size: int = 1) -> jax.Array:
    """Convolves one image's features with each kernel, zero-padded (SOLOv2, section 3.2).

    Args:
      features: ``H W E``.
      kernels: ``K E*size*size``, in the order channel, row, column.
      size: rows and columns of a kernel, odd.

    Returns:
      ``K H W`` float32, of bfloat16 factors as well.
    """

    def masks_last(features: jax.Array, kernels: jax.Array) -> jax.Array:
        return jnp.moveaxis(_convolve("hwe,ke->hwk", features, kernels, size), -1, 0)

    if is_trained_on_cpus():
        return masks_last(features, kernels)
    masks_first = functools.partial(_convolve, "hwe,ke->khw", size=size)
    return on_cpus(masks_last, masks_first, features, kernels)


def _convolve(product: str, features: jax.Array, kernels: jax.Array, size: int) -> jax.Array:
    height, width, channels = features.shape
    reach = size // 2
    padded = jnp.pad(features, ((reach, reach), (reach, reach), (0, 0)))
    taps = kernels.reshape(len(kernels), channels, size, size)
    by_tap = [
        jnp.einsum(
            product,
            padded[y : y + height, x : x + width],
            taps[:, :, y, x],
            preferred_element_type=sum_type(features.dtype),
        )
        for y in range(size)
        for x in range(size)
    ]
    return functools.reduce(jnp.add, by_tap)
