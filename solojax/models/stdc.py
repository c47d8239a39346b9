"""STDC: blocks whose convolutions halve their channels, all laid beside each other.

Fan et al., *Rethinking BiSeNet for Real-Time Semantic Segmentation*, CVPR 2021: short-term dense
concatenation.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count, check_fields
from solojax.models.layers import HE_INIT, ConvNormReLU, Norm, make_conv, make_norm
from solojax.types import InputError


class STDC(nn.Module):
    """``B H W 3`` normalised images -> ``{"c1".."c5"}`` at strides 2 to 32.

    ``blocks`` are of the stages of strides 8, 16 and 32: those of STDC1; STDC2 has (4, 5, 3).
    """

    blocks: tuple[int, ...] = (2, 2, 2)
    width: int = 64  # channels of c2; half as many of c1, and 4, 8 and 16 times of c3 to c5
    norm: Norm = "sync"
    norm_groups: int = 32  # of norm "group"

    def __post_init__(self) -> None:
        check_fields(self, "backbone")
        check_count(self, "backbone", "blocks", "width", "norm_groups")
        if len(self.blocks) != 3:
            raise InputError(f"backbone.blocks={self.blocks} must be three numbers")
        # The narrowest layers are half of c2 and an eighth of c3, which is as much.
        if self.width % (2 * self.norm_groups if self.norm == "group" else 2):
            raise InputError(
                f"backbone.width={self.width} must be even, and half of it divide into "
                f"backbone.norm_groups={self.norm_groups} groups with norm group"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """``train`` lets norm "sync" take the statistics of the batch."""
        block = functools.partial(
            ConvNormReLU, groups=self.norm_groups, kernel_init=HE_INIT, norm=self.norm
        )
        c1 = block(self.width // 2, stride=2, name="stem_0")(images, train)
        c2 = block(self.width, stride=2, name="stem_1")(c1, train)
        features = {"c1": c1, "c2": c2}
        x = c2
        for level, blocks in enumerate(self.blocks, start=3):
            for index in range(blocks):
                x = _Block(
                    self.width * 2 ** (level - 1),
                    self.norm,
                    self.norm_groups,
                    halves=index == 0,
                    name=f"stage{level}_{index}",
                )(x, train)
            features[f"c{level}"] = x
        return features


class _Block(nn.Module):
    """A half, a quarter, an eighth and an eighth of the channels, each made of the one before."""

    width: int
    norm: Norm
    groups: int
    halves: bool  # the map

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        block = functools.partial(
            ConvNormReLU, groups=self.groups, kernel_init=HE_INIT, norm=self.norm
        )
        x = block(self.width // 2, kernel=1, name="conv_0")(x, train)
        parts = [x]
        if self.halves:
            each = make_conv(
                self.width // 2,
                3,
                "halving",
                kernel_init=HE_INIT,
                stride=2,
                groups=self.width // 2,
            )
            x = make_norm(self.norm, self.groups, "halving_norm", train)(each(x))
            padding = ((1, 1), (1, 1))
            # The mean of what lies inside, as in PaddleSeg's; the authors' counts the padding in.
            mean = nn.avg_pool(parts[0], (3, 3), (2, 2), padding, count_include_pad=False)
            parts = [mean.astype(x.dtype)]
        for i, share in enumerate((4, 8, 8), start=1):
            x = block(self.width // share, name=f"conv_{i}")(x, train)
            parts.append(x)
        return jnp.concatenate(parts, -1)
