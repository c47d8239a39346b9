"""The few layers that backbone, neck and heads share.

Each computes in the type of its input, bfloat16 or float32, with parameters that are always
float32: convolutions cast theirs, norms are float32 inside.
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.ops.conv import conv_general_dilated
from solojax.ops.deform_conv import deform_conv
from solojax.ops.precision import widen
from solojax.parallel import AXIS

# PyTorch's default for both norms, hence that of all published weights; Flax's own is 1e-6.
NORM_EPSILON = 1e-5

# What running averages keep of themselves at each step; PyTorch calls this a momentum of 0.1.
NORM_MOMENTUM = 0.9

# Every convolution of a SOLO head starts as N(0, 0.01).
HEAD_INIT = nn.initializers.normal(0.01)

# A fresh network gives each class a probability of 0.01: focal loss starts calm.
PRIOR_BIAS = -4.59512

# Where those of a backbone start from, and the deformable ones of the authors' mask features, which
# their N(0, 0.01) leaves out.
HE_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

# Those of a pyramid, and of all that is not followed by a norm.
XAVIER_INIT = nn.initializers.xavier_uniform()

Norm = Literal["frozen", "frozen_statistics", "sync", "group"]
"""What a backbone puts behind each convolution.

All but "group" are batch norms with the same variables, so pretrained weights fit each of them.
"frozen" never changes; "frozen_statistics", what the published models train with, has fixed
statistics, a trainable scale and a trainable bias; "sync" takes the statistics of the global batch
while training. "group", for training from scratch, has none.
"""

Deform = Literal["none", "v1", "v2"]
"""An ordinary convolution, a deformable one, or one whose taps are weighted as well."""


def _follow_input(
    *arrays: jax.Array | None, dtype: Any = None, inexact: bool = True
) -> list[jax.Array | None]:
    """Casts all to the type of the first; Flax's own lets float32 parameters win over the input."""
    dtype = jnp.result_type(arrays[0])
    return [None if array is None else jnp.asarray(array, dtype) for array in arrays]


Conv = functools.partial(
    nn.Conv,
    promote_dtype=_follow_input,
    conv_general_dilated_cls=lambda: conv_general_dilated,
)
"""Flax's convolution, in the type of its input."""

Dense = functools.partial(nn.Dense, promote_dtype=_follow_input)
"""Flax's linear layer, in the type of its input."""


class GroupNorm(nn.Module):
    """Group norm, float32 inside: ``B ... C -> B ... C`` of the input's type.

    Flax's own sums each group of channels at once; to sum over the positions first takes CPUs a
    fraction of the time.

    Raises:
      ValueError: the groups do not divide the channels.
    """

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {channels} channels")
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        wide = widen(x)
        positions = tuple(range(1, x.ndim - 1))

        def mean(values: jax.Array) -> jax.Array:
            each = jnp.mean(values, positions, keepdims=True)
            groups = each.reshape(*each.shape[:-1], self.groups, channels // self.groups)
            return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(
                each.shape
            )

        centre = mean(wide)
        variance = jnp.maximum(mean(jnp.square(wide)) - jnp.square(centre), 0)
        first = (None,) * (x.ndim - 1)
        factor = scale[first] * jax.lax.rsqrt(variance + NORM_EPSILON)

        def normalise(x: jax.Array, centre: jax.Array, factor: jax.Array) -> jax.Array:
            return ((widen(x) - centre) * factor + bias[first]).astype(x.dtype)

        # What is centred, a float32 map, is made of x again in the backward pass and not kept.
        return jax.checkpoint(normalise)(x, centre, factor)


class BatchNorm(nn.BatchNorm):
    """Flax's batch norm, float32 inside: ``... C -> ... C`` of the input's type."""

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        return super().__call__(x).astype(x.dtype)


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics, float32 inside: ``... C -> ... C`` of the input's type.

    Only sensible over pretrained weights: with the statistics of a fresh network, mean 0 and
    variance 1, it normalises nothing.
    """

    trainable: bool = True  # scale and bias

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not self.trainable:
            scale, bias = jax.lax.stop_gradient((scale, bias))
        factor = scale * jax.lax.rsqrt(var + NORM_EPSILON)
        offset = bias - mean * factor
        first = (None,) * (x.ndim - 1)
        return (x * factor[first] + offset[first]).astype(x.dtype)


def make_norm(norm: Norm, groups: int, name: str, train: bool = False) -> nn.Module:
    """The norm that a backbone puts behind each convolution; to be called in a compact method.

    With "sync" and ``train`` it runs under ``parallel.pmap_update`` only, ``batch_stats`` mutable.
    """
    if norm == "group":
        return GroupNorm(groups, name=name)
    if norm == "sync":
        return BatchNorm(
            use_running_average=not train,
            momentum=NORM_MOMENTUM,
            epsilon=NORM_EPSILON,
            axis_name=AXIS,
            name=name,
        )
    return FrozenBatchNorm(trainable=norm == "frozen_statistics", name=name)


def make_conv(
    width: int,
    size: int,
    name: str,
    *,
    kernel_init: nn.initializers.Initializer,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    deform: Deform = "none",
    deform_bias: bool = False,
) -> nn.Module:
    """A convolution of ``size x size`` taps; to be called in a compact method.

    It has no bias, unless it is a deformable one with ``deform_bias``. These have no ``dilation``.
    """
    if deform != "none":
        return DeformConv(width, size, deform, kernel_init, stride, groups, deform_bias, name=name)
    # Padding is explicit: 'SAME' shifts a stride-2 convolution by a pixel on even sizes.
    return Conv(
        width,
        (size, size),
        strides=stride,
        padding=size // 2 * dilation,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=kernel_init,
        name=name,
    )


class DeformConv(nn.Module):
    """Deformable convolution, ``B H W C -> B H/stride W/stride width``.

    An ordinary convolution of the same input, ``offset``, says where each tap looks and, in
    version 2, how much of it counts. Fresh offsets are zero, and fresh weights therefore a half.
    """

    width: int
    size: int  # taps each way
    version: Deform
    kernel_init: nn.initializers.Initializer
    stride: int = 1
    groups: int = 1
    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        taps = self.size**2
        moves = Conv(
            2 * taps if self.version == "v1" else 3 * taps,
            (self.size, self.size),
            strides=self.stride,
            padding=self.size // 2,
            kernel_init=nn.initializers.zeros,
            name="offset",
        )(x)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.width)
        result = deform_conv(
            x,
            moves[..., : 2 * taps],
            None if self.version == "v1" else nn.sigmoid(moves[..., 2 * taps :]),
            self.param("kernel", self.kernel_init, shape).astype(x.dtype),
            stride=self.stride,
            padding=self.size // 2,
            groups=self.groups,
        )
        if not self.bias:
            return result
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return result + bias[None, None, None].astype(result.dtype)


class ConvReLU(nn.Module):
    """A convolution with bias and ReLU, for what has no norms: ``B H W C -> B H W width``."""

    width: int
    kernel: int = 3
    kernel_init: nn.initializers.Initializer = HE_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = (self.kernel, self.kernel)
        conv = Conv(
            self.width, size, padding=self.kernel // 2, kernel_init=self.kernel_init, name="conv"
        )
        return nn.relu(conv(x))


class ConvNormReLU(nn.Module):
    """What heads are made of: k x k convolution, norm, ReLU; ``B H W C -> B H/stride W/stride``.

    The norm of SOLO's heads is group norm.
    """

    width: int
    groups: int = 32  # of group norm
    kernel: int = 3
    deform: Deform = "none"
    deform_bias: bool = False
    kernel_init: nn.initializers.Initializer = HEAD_INIT
    norm: Norm = "group"
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False  # each channel is convolved by itself; width is that of the input

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``train`` is for the norm (``make_norm``)."""
        x = make_conv(
            self.width,
            self.kernel,
            "conv",
            kernel_init=self.kernel_init,
            stride=self.stride,
            groups=self.width if self.depthwise else 1,
            dilation=self.dilation,
            deform=self.deform,
            deform_bias=self.deform_bias,
        )(x)
        return nn.relu(make_norm(self.norm, self.groups, "norm", train)(x))


@functools.cache
def rematerialised(kind: type[nn.Module], wanted: bool = True) -> type[nn.Module]:
    """A kind of module whose insides are computed again in the backward pass, where ``wanted``.

    Between the passes it holds its input alone. Parameters, outputs and gradients are the same.
    """
    return nn.remat(kind) if wanted else kind
