"""The few layers that backbone, neck and heads share."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

# PyTorch's default for both norms, hence that of all published weights; Flax's own is 1e-6.
NORM_EPSILON = 1e-5

# Every convolution of a SOLO head starts as N(0, 0.01).
HEAD_INIT = nn.initializers.normal(0.01)

Norm = Literal["frozen_batch", "group"]


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics and trainable scale and bias: ``... C -> ... C``.

    What the published models train with. Only sensible over pretrained weights: with the
    statistics of a fresh network, mean 0 and variance 1, it normalises nothing.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        factor = scale * jax.lax.rsqrt(var + NORM_EPSILON)
        offset = bias - mean * factor
        first = (None,) * (x.ndim - 1)
        return x * factor[first] + offset[first]


def make_norm(norm: Norm, groups: int, name: str) -> nn.Module:
    """The norm that a backbone puts behind each convolution; to be called in a compact method."""
    if norm == "frozen_batch":
        return FrozenBatchNorm(name=name)
    return nn.GroupNorm(num_groups=groups, epsilon=NORM_EPSILON, name=name)


class ConvNormReLU(nn.Module):
    """The block all heads are made of: k x k convolution, group norm, ReLU; ``B H W C``."""

    width: int
    groups: int = 32
    kernel: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            padding=self.kernel // 2,
            use_bias=False,
            kernel_init=HEAD_INIT,
            name="conv",
        )(x)
        x = nn.GroupNorm(num_groups=self.groups, epsilon=NORM_EPSILON, name="norm")(x)
        return nn.relu(x)
