"""ResNet with the stride in the 3x3 convolution, as torchvision and mmdetection have it."""

import functools

import flax.linen as nn
import jax
from jax import lax

from solojax.models.layers import Norm, make_norm
from solojax.types import InputError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = 4  # of a bottleneck's last convolution; depths from 50 on are made of bottlenecks

_he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """``B H W 3`` normalised images -> ``{"c2", "c3", "c4", "c5"}`` at strides 4, 8, 16, 32.

    Parameters bear torchvision's names: ``conv1``, ``bn1``, ``layer1_0 / conv1``, ...
    """

    depth: int = 50
    width: int = 64  # channels of the stem; the published networks have 64
    norm: Norm = "frozen_batch"  # "group" to train from scratch
    norm_groups: int = 32
    frozen_stages: int = 1  # 0: all train; n: the stem and the first n stages do not

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            raise InputError(f"ResNet depth {self.depth} is unknown; choose from {list(BLOCKS)}")
        if not 0 <= self.frozen_stages <= 4:
            raise InputError(f"backbone.frozen_stages={self.frozen_stages} must be in 0..4")
        grouped = self.norm == "group"
        if self.width < 1 or grouped and (self.norm_groups < 1 or self.width % self.norm_groups):
            raise InputError(
                f"backbone.width={self.width} does not divide into norm_groups={self.norm_groups}"
            )
        super().__post_init__()

    @nn.nowrap
    def is_frozen(self, name: str) -> bool:
        """Whether the parameters under this first-level name never change."""
        if not self.frozen_stages:
            return False
        frozen = tuple(f"layer{stage}_" for stage in range(1, self.frozen_stages + 1))
        return name in ("conv1", "bn1") or name.startswith(frozen)

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        x = _conv(self.width, 7, "conv1", stride=2)(images)
        x = nn.relu(make_norm(self.norm, self.norm_groups, "bn1")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        features = {}
        block = _Bottleneck if self.depth >= 50 else _Basic
        for stage, blocks in enumerate(BLOCKS[self.depth], start=1):
            for index in range(blocks):
                x = block(
                    width=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and index == 0 else 1,
                    norm=self.norm,
                    norm_groups=self.norm_groups,
                    name=f"layer{stage}_{index}",
                )(x)
            if stage <= self.frozen_stages:
                x = lax.stop_gradient(x)
            features[f"c{stage + 1}"] = x
        return features


def _conv(width: int, kernel: int, name: str, stride: int = 1) -> nn.Conv:
    # Padding is explicit: 'SAME' shifts a stride-2 convolution by a pixel on even sizes.
    return nn.Conv(
        width,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        kernel_init=_he_normal,
        name=name,
    )


class _Bottleneck(nn.Module):
    width: int
    stride: int
    norm: Norm
    norm_groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = functools.partial(make_norm, self.norm, self.norm_groups)
        shortcut = x
        out_width = self.width * EXPANSION
        x = nn.relu(norm("bn1")(_conv(self.width, 1, "conv1")(x)))
        x = nn.relu(norm("bn2")(_conv(self.width, 3, "conv2", self.stride)(x)))
        x = norm("bn3")(_conv(out_width, 1, "conv3")(x))
        if shortcut.shape != x.shape:
            shortcut = _conv(out_width, 1, "downsample_conv", self.stride)(shortcut)
            shortcut = norm("downsample_bn")(shortcut)
        return nn.relu(x + shortcut)


class _Basic(nn.Module):
    width: int
    stride: int
    norm: Norm
    norm_groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = functools.partial(make_norm, self.norm, self.norm_groups)
        shortcut = x
        x = nn.relu(norm("bn1")(_conv(self.width, 3, "conv1", self.stride)(x)))
        x = norm("bn2")(_conv(self.width, 3, "conv2")(x))
        if shortcut.shape != x.shape:
            shortcut = _conv(self.width, 1, "downsample_conv", self.stride)(shortcut)
            shortcut = norm("downsample_bn")(shortcut)
        return nn.relu(x + shortcut)
