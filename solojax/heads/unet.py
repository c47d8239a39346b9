"""U-Net: the way back to the size of the image, by way of all levels.

Ronneberger et al., *U-Net: Convolutional Networks for Biomedical Image Segmentation*, MICCAI 2015;
the way down is a backbone's. Widths are those that are usual with one.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.heads.decoder import Features, block_of, check_decoder
from solojax.heads.levels import check_levels
from solojax.models.layers import Norm
from solojax.ops import resize
from solojax.types import InputError


class UNet(nn.Module):
    """``{"p1".."p5"}`` -> features as fine as there are ``widths``: five are of the canvas itself.

    Each time the map is enlarged by 2, the backbone's level of that size is put beside it, and two
    3x3 convolutions follow.
    """

    widths: tuple[int, ...] = (256, 128, 64, 32, 16)  # at stride 16, 8, 4, 2, 1; the last may lack
    norm: Norm = "sync"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "widths")
        if not 1 <= len(self.widths) <= 5:
            raise InputError(f"head.decoder.widths={self.widths} must be one to five widths")
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        finer = tuple(f"p{level}" for level in (4, 3, 2, 1))[: len(self.widths)]
        check_levels("decoder", ("p5", *finer), pyramid)
        x = pyramid["p5"]
        for i, width in enumerate(self.widths):
            skips = [pyramid[level] for level in finer[i : i + 1]]
            # Of a dilated backbone the next level is of the same size.
            if not skips or skips[0].shape[1:3] != x.shape[1:3]:
                x = resize.repeat(x)
            x = jnp.concatenate([x, *skips], -1)
            for j in range(2):
                x = block_of(self)(width, name=f"up_{i}_{j}")(x, train)
        return x, ()
