"""Stand in for networks: of what they find every pixel is known, and they compile in no time."""

from typing import Any

import jax
import jax.numpy as jnp

from solojax.heads.selection import Selection
from solojax.ops import images
from solojax.types import Detections


class Colors:
    """Finds what is bright and what is dark of each color, which is its class: six detections.

    Its one variable is the ``least`` score of those that are kept.
    """

    selection = Selection()
    mask_threshold = selection.mask_threshold

    @property
    def head(self) -> "Colors":
        return self

    def normalize(self, pixels: jax.Array, sizes: jax.Array, dtype: Any) -> jax.Array:
        return images.normalize(pixels, sizes, dtype)

    def apply(self, variables: dict[str, Any], images: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch, height, width, _ = images.shape
        blocks = images.reshape(batch, height // 4, 4, width // 4, 4, 3).mean((2, 4))
        return jnp.moveaxis(blocks, -1, 1), variables["least"]

    def detect(self, outputs: tuple[jax.Array, jax.Array]) -> Detections:
        colors, least = outputs
        masks = jax.nn.sigmoid(jnp.concatenate([colors, -colors], 1))
        inside = masks > 0.5  # the padding, at 0.5, is not
        sums = jnp.where(inside, masks, 0).sum((2, 3))
        scores = sums / jnp.maximum(inside.sum((2, 3)), 1)
        order = jnp.argsort(-scores, axis=1)
        scores = jnp.take_along_axis(scores, order, axis=1)
        return Detections(
            scores=scores,
            labels=(order % 3).astype(jnp.int32),
            masks=jnp.take_along_axis(masks, order[..., None, None], axis=1),
            valid=scores > least,
            overflow=jnp.zeros(scores.shape[0], jnp.int32),
        )


class Mixed(Colors):
    """Finds colors that its kernel mixes from those of the image, 32 by 32."""

    def apply(self, variables: dict[str, Any], images: jax.Array) -> tuple[jax.Array, jax.Array]:
        wide = jnp.pad(images, ((0, 0), (0, 0), (0, 0), (0, 29)))
        return super().apply(variables, (wide @ variables["mixed"]["kernel"])[..., :3])


class Bright(Colors):
    """Finds what is bright in the red of the image, with certainty."""

    def detect(self, outputs: tuple[jax.Array, jax.Array]) -> Detections:
        colors, _ = outputs
        batch = len(colors)
        return Detections(
            scores=jnp.ones((batch, 1)),
            labels=jnp.zeros((batch, 1), jnp.int32),
            masks=jax.nn.sigmoid(colors[:, :1]),
            valid=jnp.ones((batch, 1), bool),
            overflow=jnp.zeros(batch, jnp.int32),
        )


class Scenes(Colors):
    """Labels pixels as well: behind the three things stuff that is bright or dark in the red."""

    num_labels, label_strides = 5, (1,)

    def label_logits(self, outputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        red = outputs[0][:, 0]
        return jnp.stack([jnp.full_like(red, -9)] * 3 + [red, -red], -1)


class Grounds:
    """Labels pixels as ``Scenes`` does, and finds nothing."""

    num_labels, label_strides, mask_strides = 5, (1,), ()
    normalize, apply, label_logits = Scenes.normalize, Scenes.apply, Scenes.label_logits

    @property
    def head(self) -> "Grounds":
        return self
