"""FCN: convolutions of the coarsest level, and no more.

Long et al., *Fully Convolutional Networks for Semantic Segmentation*, CVPR 2015, in the form that
is usual on dilated ResNets, without skips. Defaults are those of torchvision's.
"""

import flax.linen as nn
import jax

from solojax.fields import DEEPEST, check_count
from solojax.heads.decoder import Features, auxiliary_of, block_of, check_decoder
from solojax.heads.levels import check_levels
from solojax.models.layers import Norm


class FCN(nn.Module):
    """``{"p4", "p5"}`` -> ``width`` channels of the size of p5."""

    width: int = 512
    depth: int = 1  # 3x3 convolutions
    auxiliary_width: int = 256  # of a convolution of p4 that trains alone; 0: none does
    norm: Norm = "sync"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "width")
        check_count(self, "head.decoder", "depth", most=DEEPEST)
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        check_levels("decoder", ("p5",), pyramid)
        x = pyramid["p5"]
        for i in range(self.depth):
            x = block_of(self)(self.width, name=f"conv_{i}")(x, train)
        return x, auxiliary_of(self, pyramid, train)
