"""From the bytes that cross to the device to what the network reads."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

# ImageNet statistics in 0..255, RGB: what torchvision's and mmdetection's weights expect.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def normalize(
    images: jax.Array,
    sizes: jax.Array,
    dtype: DTypeLike = jnp.float32,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> jax.Array:
    """Normalises uint8 RGB images and sets their padding to zero *after* that, as in training.

    Args:
      images: ``B H W 3`` uint8.
      sizes: ``B 2`` (height, width) of the part of the canvas that is image, network pixels.
      dtype: of the result, hence of all that the network computes; its parameters are float32
        either way.
      mean: of red, green and blue in 0..255; it becomes 0.
      std: of the three; it becomes 1.

    Returns:
      ``B H W 3`` of ``dtype``.
    """
    _, height, width, _ = images.shape
    inside_rows = jnp.arange(height)[None, :] < sizes[:, 0, None]
    inside_columns = jnp.arange(width)[None, :] < sizes[:, 1, None]
    inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None]
    centre, scale = (np.array(three, np.float32)[None, None, None] for three in (mean, std))
    return jnp.where(inside, (images.astype(jnp.float32) - centre) / scale, 0.0).astype(dtype)
