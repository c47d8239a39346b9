"""The semantic branch of Panoptic FPN: all levels of a pyramid, enlarged and added up.

Kirillov et al., *Panoptic Feature Pyramid Networks*, CVPR 2019.
"""

import functools

import flax.linen as nn
import jax

from solojax.heads.decoder import Features, block_of, check_decoder
from solojax.heads.levels import check_levels, sum_at_stride_4
from solojax.models.layers import Norm


class PanopticFPN(nn.Module):
    """``{"p2".."p5"}`` -> ``width`` channels at stride 4."""

    width: int = 128
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")
    norm: Norm = "group"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        check_levels("decoder.levels", self.levels, pyramid)
        block = functools.partial(block_of(self), self.width)
        return sum_at_stride_4(pyramid, self.levels, block), ()
