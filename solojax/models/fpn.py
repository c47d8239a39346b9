"""Feature pyramid network."""

import flax.linen as nn
import jax
import jax.numpy as jnp

_xavier = nn.initializers.xavier_uniform()


class FPN(nn.Module):
    """``{"c2".."c5"}`` -> ``{"p2".."p6"}``, all ``width`` channels, strides 4 to 64.

    Lateral 1x1 and output 3x3 convolutions with bias, without norm; nearest enlargement; p6 is
    every second pixel of p5. Image sides must be multiples of 32.
    """

    width: int = 256

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        pyramid: dict[str, jax.Array] = {}
        above = None
        for level in (5, 4, 3, 2):
            lateral = nn.Conv(self.width, (1, 1), kernel_init=_xavier, name=f"lateral_c{level}")
            x = lateral(features[f"c{level}"])
            if above is not None:
                x = x + jnp.repeat(jnp.repeat(above, 2, axis=1), 2, axis=2)
            above = x
            output = nn.Conv(
                self.width, (3, 3), padding=1, kernel_init=_xavier, name=f"output_p{level}"
            )
            pyramid[f"p{level}"] = output(x)
        pyramid["p6"] = pyramid["p5"][:, ::2, ::2]
        return pyramid
