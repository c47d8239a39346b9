"""DeepLabv3+: convolutions that look near and far side by side, then the edges of a fine level.

Chen et al., *Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation*,
ECCV 2018.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count
from solojax.heads.decoder import Features, auxiliary_of, block_of, check_decoder
from solojax.heads.levels import check_levels
from solojax.models.context import through_cells
from solojax.models.layers import Norm
from solojax.ops import resize


class DeepLabV3Plus(nn.Module):
    """``{"p2", "p4", "p5"}`` -> ``width`` channels of the size of p2."""

    width: int = 256
    low_width: int = 48  # that p2 is reduced to
    rates: tuple[int, ...] = (6, 12, 18)  # where p5 is at stride 16; twice as much at 8
    separable: bool = True  # 3x3 convolutions are of each channel, and 1x1 ones of all follow
    auxiliary_width: int = 0  # of a convolution of p4 that trains alone; 0: none does
    norm: Norm = "sync"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "width", "low_width")
        check_count(self, "head.decoder", "rates")
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        check_levels("decoder", ("p2", "p5"), pyramid)
        low, x, block = pyramid["p2"], pyramid["p5"], block_of(self)

        def point(x: jax.Array, width: int, name: str) -> jax.Array:
            return block(width, kernel=1, name=name)(x, train)

        def look(x: jax.Array, name: str, rate: int = 1) -> jax.Array:
            if not self.separable:
                return block(self.width, dilation=rate, name=name)(x, train)
            each = block(x.shape[-1], depthwise=True, dilation=rate, name=f"{name}_depthwise")
            return point(each(x, train), self.width, name)

        _, height, width, _ = low.shape
        stride = 4 * height // x.shape[1]
        parts = [
            through_cells(x, 1, block(self.width, kernel=1, name="image"), train),
            point(x, self.width, "near"),
            *(look(x, f"far_{rate}", max(rate * 16 // stride, 1)) for rate in self.rates),
        ]
        x = point(jnp.concatenate(parts, -1), self.width, "fusion")
        x = resize.bilinear(x, (height, width))
        x = jnp.concatenate([x, point(low, self.low_width, "low")], -1)
        x = look(look(x, "decoder_0"), "decoder_1")
        return x, auxiliary_of(self, pyramid, train)
