"""PP-LiteSeg: levels are mixed by weights of each place, for networks that have little time.

Peng et al., *PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model*, 2022. Defaults are
those of PP-LiteSeg-T, whose backbone is STDC1; B is STDC2 with ``widths`` (128, 96, 64).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count
from solojax.heads.decoder import Features, block_of, check_decoder
from solojax.heads.levels import check_levels
from solojax.models.context import through_cells
from solojax.models.layers import HE_INIT, Norm, make_conv, make_norm
from solojax.ops import resize
from solojax.types import InputError

LEVELS = ("p5", "p4", "p3")


class PPLiteSeg(nn.Module):
    """``{"p3", "p4", "p5"}`` -> features of the size of p3; those of p4 and p5 train alone."""

    context_width: int = 128
    pools: tuple[int, ...] = (1, 2, 4)  # cells each way that p5 is averaged to
    widths: tuple[int, ...] = (128, 64, 32)  # of the decoder, at p5, p4 and p3
    label_widths: tuple[int, ...] = (64, 64, 32)  # of the last convolution at each
    norm: Norm = "sync"
    groups: int = 32

    def __post_init__(self) -> None:
        check_decoder(self, "context_width", "widths", "label_widths")
        check_count(self, "head.decoder", "pools")
        for name in ("widths", "label_widths"):
            if len(getattr(self, name)) != len(LEVELS):
                raise InputError(
                    f"head.decoder.{name}={getattr(self, name)} must be three: at p5, p4 and p3"
                )
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Features:
        check_levels("decoder", LEVELS, pyramid)
        block = block_of(self)
        coarsest = pyramid["p5"]
        pooled = []
        for side in self.pools:
            pool = block(self.context_width, kernel=1, name=f"pool_{side}")
            pooled.append(through_cells(coarsest, side, pool, train))
        x = block(self.context_width, name="context")(functools.reduce(jnp.add, pooled), train)
        maps = []
        for level, width, label_width in zip(LEVELS, self.widths, self.label_widths, strict=True):
            x = AttentionFusion(width, self.norm, self.groups, name=f"fusion_{level}")(
                pyramid[level], x, train
            )
            maps.append(block(label_width, name=f"labels_{level}")(x, train))
        return maps[-1], tuple(maps[:-1])


class AttentionFusion(nn.Module):
    """A level and what has been made of coarser ones, weighted at each place: ``B H W width``."""

    width: int
    norm: Norm
    groups: int

    @nn.compact
    def __call__(self, low: jax.Array, high: jax.Array, train: bool) -> jax.Array:
        block = block_of(self)
        low = block(high.shape[-1], name="low")(low, train)
        _, height, width, _ = low.shape
        high = resize.bilinear(high, (height, width))
        seen = [look(x, -1, keepdims=True) for x in (low, high) for look in (jnp.mean, jnp.max)]
        # So few channels are one group.
        few = block(2, groups=1, name="look")(jnp.concatenate(seen, -1), train)
        one = make_conv(1, 3, "attention", kernel_init=HE_INIT)(few)
        share = nn.sigmoid(make_norm(self.norm, 1, "attention_norm", train)(one))
        return block(self.width, name="output")(share * low + (1 - share) * high, train)
