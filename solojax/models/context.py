"""The instance context encoder of SparseInst: a pyramid that knows the whole image, in one map.

Cheng et al., *Sparse Instance Activation for Real-Time Instance Segmentation*, CVPR 2022.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count, check_fields
from solojax.models import fpn
from solojax.models.detector import Names
from solojax.models.layers import HE_INIT, Conv
from solojax.ops import resize
from solojax.types import InputError

# PyTorch's own beginning of a layer, which the authors leave in some: U(-1, 1) / sqrt(inputs).
DEFAULT_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def default_bias(inputs: int) -> nn.initializers.Initializer:
    """The bias that PyTorch begins a layer of so many ``inputs`` (times taps) with."""
    reach = inputs**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -reach, reach)

    return init


def through_cells(
    x: jax.Array, side: int, layer: Callable[..., jax.Array], *more: Any
) -> jax.Array:
    """What a layer makes of the means of ``side x side`` cells: ``B H W C -> B H W width``."""
    _, height, width, _ = x.shape
    return resize.bilinear(layer(resize.adaptive_mean(x, (side, side)), *more), (height, width))


class ContextEncoder(nn.Module):
    """``{"c3", "c4", "c5"}`` -> ``{"p3"}``, ``width`` channels at stride 8.

    What pyramid pooling (Zhao et al., 2017) makes of c5 is handed down to c4 and c3 as in an FPN;
    the three levels are then brought to the size of c3 and fused. Convolutions have a bias and no
    norm.
    """

    width: int = 256
    pools: tuple[int, ...] = (1, 2, 3, 6)  # cells each way that c5 is averaged to
    pool_width: int = 64  # channels of each of them

    canvas_multiple: ClassVar[int] = 32

    def __post_init__(self) -> None:
        check_fields(self, "neck")
        check_count(self, "neck", "width", "pools", "pool_width")
        if not self.pools:
            raise InputError("neck.pools is empty; give at least one number of cells")
        super().__post_init__()

    @property
    def state_dict_names(self) -> Names:
        """Of the authors' files, which count from c5."""
        return (
            *((rf"encoder\.fpn_laterals\.{i}", f"neck/lateral_c{5 - i}") for i in range(3)),
            *((rf"encoder\.fpn_outputs\.{i}", f"neck/output_p{5 - i}") for i in range(3)),
            (r"encoder\.ppm\.stages\.(\d)\.1", "neck/pyramid_pooling/pool_{0}"),
            (r"encoder\.ppm\.bottleneck", "neck/pyramid_pooling/fusion"),
            (r"encoder\.fusion", "neck/fusion"),
        )

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        pooling = PyramidPooling(self.width, self.pools, self.pool_width, name="pyramid_pooling")
        _, height, width, _ = features["c3"].shape
        above: jax.Array | None = None
        levels = []
        for level in (5, 4, 3):
            x = fpn.lateral(self.width, level)(features[f"c{level}"])
            above = pooling(x) if above is None else x + resize.repeat(above)
            levels.append(resize.bilinear(fpn.output(self.width, level)(above), (height, width)))
        fusion = Conv(self.width, (1, 1), kernel_init=HE_INIT, name="fusion")
        return {"p3": fusion(jnp.concatenate(levels[::-1], -1))}


class PyramidPooling(nn.Module):
    """Adds to each position the means of coarser and coarser parts: ``B H W C -> B H W width``."""

    width: int
    pools: tuple[int, ...]
    pool_width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def block(width: int, name: str, x: jax.Array) -> jax.Array:
            bias = default_bias(x.shape[-1])
            conv = Conv(width, (1, 1), kernel_init=DEFAULT_INIT, bias_init=bias, name=name)
            return nn.relu(conv(x))

        parts = [
            through_cells(x, side, functools.partial(block, self.pool_width, f"pool_{i}"))
            for i, side in enumerate(self.pools)
        ]
        return block(self.width, "fusion", jnp.concatenate([*parts, x], -1))
