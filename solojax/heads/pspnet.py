"""PSPNet: beside each place, the means of the parts of the image that it is in, coarse and fine.

Zhao et al., *Pyramid Scene Parsing Network*, CVPR 2017.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count
from solojax.heads.decoder import Features, auxiliary_of, block_of, check_decoder
from solojax.heads.levels import check_levels
from solojax.models.context import through_cells
from solojax.models.layers import Norm


class PSPNet(nn.Module):
    """``{"p4", "p5"}`` -> ``width`` channels of the size of p5."""

    width: int = 512  # also of each of the pools
    pools: tuple[int, ...] = (1, 2, 3, 6)  # cells each way that p5 is averaged to
    auxiliary_width: int = 256  # of a convolution of p4 that trains alone; 0: none does
    norm: Norm = "sync"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "width")
        check_count(self, "head.decoder", "pools")
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        check_levels("decoder", ("p5",), pyramid)
        x, block = pyramid["p5"], block_of(self)
        parts = [x]
        for side in self.pools:
            pool = block(self.width, kernel=1, name=f"pool_{side}")
            parts.append(through_cells(x, side, pool, train))
        fused = block(self.width, name="fusion")(jnp.concatenate(parts, -1), train)
        return fused, auxiliary_of(self, pyramid, train)
