"""SOLO: every cell of every level has a mask channel of its own.

Wang et al., *SOLO: Segmenting Objects by Locations*, ECCV 2020. Defaults are those of the authors'
release.

The last layer is a 1x1 convolution to S^2 channels, and only a few of them are ever looked at: a
channel is the product of the features with one row of the layer's weights. So the layer is never
run; the rows of the cells in question are.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.heads import assign, names, trunk
from solojax.heads.grid import Grid
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection, by_level, select
from solojax.models.detector import Names
from solojax.models.layers import HEAD_INIT, PRIOR_BIAS, Deform
from solojax.ops import dynamic_conv, resize
from solojax.types import Detections, Instances, Mean


class Outputs(NamedTuple):
    """What the network predicts; the dictionaries are keyed by level, finest first."""

    category_logits: dict[str, jax.Array]  # B S S num_classes
    mask_features: dict[str, jax.Array]  # B 2h 2w width, of a level of h x w
    mask_kernels: jax.Array  # T width float32, the mask layer's row of each cell
    mask_biases: jax.Array  # T float32
    quality_logits: dict[str, jax.Array] | None = None  # B S S 1, where masks are scored


class SOLO(nn.Module):
    """The SOLO head."""

    num_classes: int = 80
    grid: Grid = Grid()
    width: int = 256  # channels of both trunks
    depth: int = 7  # convolutions of both trunks
    coord_convs: int = 1  # of the mask trunk's, those that are given coordinates
    groups: int = 32  # of every group norm
    deform: Deform = "none"
    deform_convs: trunk.DeformConvs = "last"
    deform_bias: bool = False  # of deformable convolutions, as PaddleDetection's have it
    remat: bool = False  # blocks of convolutions hold their input alone for the backward pass
    drop_block: float = 0.0  # share of the cells that training drops of each trunk's last features
    drop_block_size: int = 3  # cells each way that are dropped together

    max_positives: int = 256  # per image and level; the surplus is left out at random and counted
    collisions: assign.Collisions = "last"
    mask_scoring: bool = False  # whether cells say how well their masks fit, and scores heed it
    objective: Objective = Objective()
    selection: Selection = Selection()

    def __post_init__(self) -> None:
        trunk.check_head(self, "width")
        super().__post_init__()

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Network pixels per pixel of each level's mask targets."""
        return self.grid.mask_strides

    @property
    def mask_threshold(self) -> float:
        """Above this a probability is in the mask."""
        return self.selection.mask_threshold

    @property
    def state_dict_names(self) -> Names:
        """Of the published files."""
        return names.names_of(self.grid.levels)

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs the head on ``{"p2": B H/4 W/4 C, ...}``; ``train`` lets ``drop_block`` act."""
        mask_trunk = trunk.make_trunk(self, "mask_trunk", "xy", self.coord_convs)
        category_trunk = trunk.make_trunk(self, "category_trunk")
        category_predictor = trunk.prior_predictor(self.num_classes, "category_predictor")
        quality_predictor = trunk.quality_predictor() if self.mask_scoring else None
        category_logits, mask_features, kernels, biases = {}, {}, [], []
        quality_logits: dict[str, jax.Array] = {}
        levels = self.grid.resized(pyramid)
        for (level, x), side in zip(levels.items(), self.grid.sizes, strict=True):
            mask_features[level] = resize.double(mask_trunk(x, train))
            kernel, bias = _MaskLayer(self.width, side * side, name=f"mask_predictor_{level}")()
            kernels.append(kernel)
            biases.append(bias)
            category = category_trunk(resize.to_grid(x, side, self.grid.alignment), train)
            category_logits[level] = category_predictor(category)
            if quality_predictor:
                quality_logits[level] = quality_predictor(category)
        return Outputs(
            category_logits,
            mask_features,
            jnp.concatenate(kernels),
            jnp.concatenate(biases),
            quality_logits or None,
        )

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> assign.Targets:
        """Assigns ``B N`` instances to cells; ``key`` draws what an overflow leaves out."""
        return assign.make_targets(self, instances, key)

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: assign.Targets) -> dict[str, Mean]:
        """Focal loss over all cells and a loss of each positive's mask, weights included."""
        mask_logits = [
            jax.vmap(_cut, (0, None, None, 0))(
                features, outputs.mask_kernels, outputs.mask_biases, positives.cells
            )
            for features, positives in zip(
                outputs.mask_features.values(), targets.cells.positives, strict=True
            )
        ]
        return loss_terms(
            self.objective,
            outputs.category_logits,
            mask_logits,
            targets,
            outputs.quality_logits,
            self.mask_threshold,
        )

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Finds the instances of a batch; fixed shapes, for use inside ``jit``."""

        def soft_masks(levels: dict[str, jax.Array], cells: jax.Array) -> jax.Array:
            masks = [
                jax.nn.sigmoid(_cut(level, outputs.mask_kernels, outputs.mask_biases, cells))
                for level in levels.values()
            ]
            return by_level(self.grid, masks, cells)

        return select(
            self.selection,
            self.grid,
            outputs.category_logits,
            outputs.mask_features,
            soft_masks,
            outputs.quality_logits,
        )


class _MaskLayer(nn.Module):
    """The weights of a 1x1 convolution ``width -> cells``, as rows: ``cells width`` and ``cells``.

    A fresh mask layer gives each pixel a probability of 0.01, as published.
    """

    width: int
    cells: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", HEAD_INIT, (1, 1, self.width, self.cells))
        bias = self.param("bias", nn.initializers.constant(PRIOR_BIAS), (self.cells,))
        return kernel[0, 0].T, bias


def _cut(features: jax.Array, kernels: jax.Array, biases: jax.Array, cells: jax.Array) -> jax.Array:
    """Mask logits ``K h w`` of the ``cells`` ``K`` on one image's ``features`` ``h w width``.

    float32, the products in the type of the features.
    """
    logits = dynamic_conv.dynamic_conv(features, kernels[cells].astype(features.dtype))
    return logits + biases[cells][:, None, None]
