"""ResNet and ResNeXt, by default with the stride in the 3x3 convolution, as torchvision's."""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
from jax import lax

from solojax.fields import check_count, check_fields, check_range
from solojax.models.detector import Names
from solojax.models.layers import HE_INIT, Deform, Norm, make_conv, make_norm, rematerialised
from solojax.models.resnet_names import STATE_DICT_NAMES as STATE_DICT_NAMES
from solojax.ops.pool import max_pool
from solojax.types import InputError

BLOCKS = {
    10: (1, 1, 1, 1),
    14: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
EXPANSION = 4  # of a bottleneck's last convolution
BASIC = (10, 18, 34)  # depths that are made of basic blocks, the others of bottlenecks
OUTPUT_STRIDES = (8, 16, 32)

Variant = Literal["a", "b", "d"]


_MakeNorm = Callable[[str], nn.Module]  # name -> norm

_conv = functools.partial(make_conv, kernel_init=HE_INIT)


class ResNet(nn.Module):
    """``B H W 3`` normalised images -> ``{"c2", "c3", "c4", "c5"}`` at strides 4, 8, 16, 32.

    Parameters bear torchvision's names: ``conv1``, ``bn1``, ``layer1_0 / conv1``, ... Variant "a",
    that of Caffe's weights and of what is trained from them, has a bottleneck's stride in its first
    1x1 convolution, not in the 3x3. Variant "d" (He et al., 2019; also called vd) has three 3x3
    convolutions for a stem and averages before the shortcut of a stride-2 block.
    ``ResNet(101, groups=64, group_width=4)`` is ResNeXt-101 64x4d (Xie et al., 2017).

    With ``output_stride`` 8 or 16 coarser stages keep that stride, and their 3x3 convolutions look
    as far as before: of the same weights every second or fourth pixel is what it was (but for
    variant "d", whose shortcuts average less).
    """

    depth: int = 50
    width: int = 64  # channels of the stem; the published networks have 64
    groups: int = 1  # of the 3x3 convolution of a bottleneck
    group_width: int = 64  # channels of each group in stage 1, per 64 of width
    variant: Variant = "b"
    norm: Norm = "frozen_statistics"  # "group" to train from scratch
    norm_groups: int = 32
    output_stride: int = 32  # of c5, and the most of c4: 8, 16 or 32
    c1: bool = False  # gives what the stem makes as well, at stride 2
    frozen_stages: int = 1  # 0: all train; n: the stem and the first n stages do not
    deform: Deform = "none"  # the 3x3 convolution of the bottlenecks of deform_stages
    deform_stages: tuple[int, ...] = (2, 3, 4)
    deform_every: int = 1  # the first of each so many blocks of these stages is deformable
    remat_stages: tuple[
        int, ...
    ] = ()  # of 1..4: hold each block's input alone for the backward pass

    def __post_init__(self) -> None:
        check_fields(self, "backbone")
        if self.depth not in BLOCKS:
            raise InputError(f"ResNet depth {self.depth} is unknown; choose from {list(BLOCKS)}")
        check_range(self, "backbone", "frozen_stages", most=4)
        check_range(self, "backbone", "deform_stages", "remat_stages", least=1, most=4)
        counts = ("width", "groups", "group_width", "norm_groups", "deform_every")
        check_count(self, "backbone", *counts)
        if self.output_stride not in OUTPUT_STRIDES:
            raise InputError(
                f"backbone.output_stride={self.output_stride} is none of "
                f"{', '.join(map(str, OUTPUT_STRIDES))}"
            )
        if self.output_stride < 32 and self.deform != "none":
            raise InputError(
                f"backbone.output_stride={self.output_stride} dilates convolutions, and deformable "
                f"ones, deform={self.deform}, are not dilated; change one of the two"
            )
        bottlenecks = {"groups": 1, "group_width": 64, "deform": "none"}
        for name, default in bottlenecks.items():
            if self.depth in BASIC and getattr(self, name) != default:
                raise InputError(
                    f"backbone.{name}={getattr(self, name)} needs the bottlenecks of depth 50, "
                    f"101, 14 or 26; depth {self.depth} has none"
                )
        if self.variant == "d" and self.width % 2:
            raise InputError(f"backbone.width={self.width} must be even for variant d")
        narrow = [self.width // 2 if self.variant == "d" else self.width]
        narrow += [self._inner_width(self.width * 2**stage) for stage in range(4)]
        if min(narrow) < 1:
            raise InputError(
                f"backbone.width={self.width}, groups={self.groups} and group_width="
                f"{self.group_width} leave layers without channels; raise them"
            )
        if self.norm == "group":
            for channels in narrow:
                if channels % self.norm_groups:
                    raise InputError(
                        f"backbone.width={self.width} does not divide into norm_groups="
                        f"{self.norm_groups}: a layer has {channels} channels; choose a divisor"
                    )
        super().__post_init__()

    @property
    def state_dict_names(self) -> Names:
        """Of the published files."""
        return STATE_DICT_NAMES

    @property
    def wants_pretrained(self) -> bool:
        """Whether something in it stays as it begins."""
        return self.norm.startswith("frozen") or self.frozen_stages > 0

    @nn.nowrap
    def is_frozen(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter under this path, e.g. layer2_0, bn1, scale, never changes."""
        if self.norm == "frozen" and "bn" in path[-2]:
            return True
        if not self.frozen_stages:
            return False
        frozen = tuple(f"layer{stage}_" for stage in range(1, self.frozen_stages + 1))
        return path[0].startswith(("conv1", "bn1", *frozen))

    @nn.nowrap
    def _inner_width(self, width: int) -> int:
        """Channels of a bottleneck's 3x3 convolution where an ordinary ResNet has ``width``."""
        return width * self.group_width // 64 * self.groups

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """``train`` lets norm "sync" take the statistics of the batch, where nothing is frozen."""

        def norm_of(stage: int) -> _MakeNorm:
            live = train and stage > self.frozen_stages
            return functools.partial(make_norm, self.norm, self.norm_groups, train=live)

        x = _stem(images, self.width, self.variant, norm_of(1))  # frozen when stage 1 is
        features = {"c1": lax.stop_gradient(x) if self.frozen_stages else x} if self.c1 else {}
        x = max_pool(x)
        block: Callable[..., nn.Module]
        for stage, blocks in enumerate(BLOCKS[self.depth], start=1):
            width = self.width * 2 ** (stage - 1)
            remat = stage in self.remat_stages
            usual_stride = 2 ** (stage + 1)
            dilation = max(usual_stride // self.output_stride, 1)
            if self.depth in BASIC:
                block = functools.partial(rematerialised(_Basic, remat), width)
            else:
                block = functools.partial(
                    rematerialised(_Bottleneck, remat),
                    width,
                    inner_width=self._inner_width(width),
                    groups=self.groups,
                )
            for index in range(blocks):
                deforms = stage in self.deform_stages and index % self.deform_every == 0
                kind = {} if self.depth in BASIC else {"deform": self.deform if deforms else "none"}
                x = block(
                    **kind,
                    stride=2 if stage > 1 and index == 0 and dilation == 1 else 1,
                    # The first 3x3 convolution is the one that would halve: it looks at what is
                    # before it.
                    dilations=(max(dilation // 2, 1) if index == 0 else dilation, dilation),
                    variant=self.variant,
                    norm=norm_of(stage),
                    name=f"layer{stage}_{index}",
                )(x)
            if stage <= self.frozen_stages:
                x = lax.stop_gradient(x)
            features[f"c{stage + 1}"] = x
        return features


def _stem(images: jax.Array, width: int, variant: Variant, norm: _MakeNorm) -> jax.Array:
    """``B H W 3 -> B H/2 W/2 width``."""
    if variant != "d":
        return nn.relu(norm("bn1")(_conv(width, 7, "conv1", stride=2)(images)))
    x = nn.relu(norm("bn1_0")(_conv(width // 2, 3, "conv1_0", stride=2)(images)))
    x = nn.relu(norm("bn1_1")(_conv(width // 2, 3, "conv1_1")(x)))
    return nn.relu(norm("bn1")(_conv(width, 3, "conv1_2")(x)))


def _shortcut(
    x: jax.Array, width: int, stride: int, variant: Variant, norm: _MakeNorm
) -> jax.Array:
    """What a block adds to its result, in the shape of that."""
    if x.shape[-1] == width and stride == 1:
        return x
    if variant == "d" and stride == 2:
        x, stride = nn.avg_pool(x, (2, 2), strides=(2, 2)), 1
    return norm("downsample_bn")(_conv(width, 1, "downsample_conv", stride=stride)(x))


class _Bottleneck(nn.Module):
    width: int
    inner_width: int
    groups: int
    deform: Deform
    stride: int
    dilations: tuple[int, int]  # of a 3x3 convolution that may have the stride, and of others
    variant: Variant
    norm: _MakeNorm

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        out_width = self.width * EXPANSION
        shortcut = _shortcut(x, out_width, self.stride, self.variant, self.norm)
        first, second = (self.stride, 1) if self.variant == "a" else (1, self.stride)
        middle = _conv(
            self.inner_width,
            3,
            "conv2",
            stride=second,
            groups=self.groups,
            dilation=self.dilations[self.variant == "a"],
            deform=self.deform,
        )
        x = nn.relu(self.norm("bn1")(_conv(self.inner_width, 1, "conv1", stride=first)(x)))
        x = nn.relu(self.norm("bn2")(middle(x)))
        x = self.norm("bn3")(_conv(out_width, 1, "conv3")(x))
        return nn.relu(x + shortcut)


class _Basic(nn.Module):
    width: int
    stride: int
    dilations: tuple[int, int]  # of both convolutions
    variant: Variant
    norm: _MakeNorm

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shortcut = _shortcut(x, self.width, self.stride, self.variant, self.norm)
        first, second = self.dilations
        halving = _conv(self.width, 3, "conv1", stride=self.stride, dilation=first)
        x = nn.relu(self.norm("bn1")(halving(x)))
        x = self.norm("bn2")(_conv(self.width, 3, "conv2", dilation=second)(x))
        return nn.relu(x + shortcut)
