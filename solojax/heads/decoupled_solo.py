"""Decoupled SOLO: a mask is the product of the map of its column and the map of its row.

Wang et al., *SOLO: Segmenting Objects by Locations*, ECCV 2020. Instead of S^2 mask
channels a level has S for x and S for y. Defaults are those of the authors' release; its light
model has one mask trunk for both, of four convolutions.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.heads import assign, names, trunk
from solojax.heads.grid import Grid
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection, detection_size, select
from solojax.models.detector import Names
from solojax.models.layers import Deform
from solojax.ops import losses, resize
from solojax.ops.precision import widen
from solojax.types import Detections, Instances, Mean


class Outputs(NamedTuple):
    """What the network predicts; the dictionaries are keyed by level, finest first."""

    category_logits: dict[str, jax.Array]  # B S S num_classes
    x_logits: dict[str, jax.Array]  # B 2h 2w S, of a level of h x w; a channel for each column
    y_logits: dict[str, jax.Array]  # B 2h 2w S, a channel for each row
    quality_logits: dict[str, jax.Array] | None = None  # B S S 1, where masks are scored


class DecoupledSOLO(nn.Module):
    """The Decoupled SOLO head; with ``shared_trunk`` that of Decoupled-SOLO-Light."""

    num_classes: int = 80
    grid: Grid = Grid()
    width: int = 256  # channels of all trunks
    depth: int = 7  # convolutions of all trunks
    shared_trunk: bool = False  # one mask trunk for x and y, which is given both coordinates
    coord_convs: int = 1  # of a mask trunk's, those that are given coordinates
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
        if self.shared_trunk:
            x_trunk = y_trunk = trunk.make_trunk(self, "mask_trunk", "xy", self.coord_convs)
        else:
            x_trunk = trunk.make_trunk(self, "x_trunk", "x", self.coord_convs)
            y_trunk = trunk.make_trunk(self, "y_trunk", "y", self.coord_convs)
        category_trunk = trunk.make_trunk(self, "category_trunk")
        category_predictor = trunk.prior_predictor(self.num_classes, "category_predictor")
        quality_predictor = trunk.quality_predictor() if self.mask_scoring else None
        category_logits, x_logits, y_logits, quality_logits = {}, {}, {}, {}
        levels = self.grid.resized(pyramid)
        for (level, features), side in zip(levels.items(), self.grid.sizes, strict=True):
            x_features = y_features = resize.double(x_trunk(features, train))
            if not self.shared_trunk:
                y_features = resize.double(y_trunk(features, train))
            x_logits[level] = trunk.prior_predictor(side, f"x_predictor_{level}")(x_features)
            y_logits[level] = trunk.prior_predictor(side, f"y_predictor_{level}")(y_features)
            category = category_trunk(resize.to_grid(features, side, self.grid.alignment), train)
            category_logits[level] = category_predictor(category)
            if quality_predictor:
                quality_logits[level] = quality_predictor(category)
        return Outputs(category_logits, x_logits, y_logits, quality_logits or None)

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> assign.Targets:
        """Assigns ``B N`` instances to cells; ``key`` draws what an overflow leaves out."""
        return assign.make_targets(self, instances, key)

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: assign.Targets) -> dict[str, Mean]:
        """Focal loss over all cells and a loss of each positive's mask, weights included."""
        take = jax.vmap(_channels)
        mask_logits = []
        for level, start, side, positives in zip(
            self.grid.levels,
            self.grid.starts[:-1],
            self.grid.sizes,
            targets.cells.positives,
            strict=True,
        ):
            row, column = jnp.divmod(jnp.maximum(positives.cells - start, 0), side)
            x, y = take(outputs.x_logits[level], column), take(outputs.y_logits[level], row)
            mask_logits.append(losses.product_logit(widen(x), widen(y)))
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
        starts = jnp.array(self.grid.starts[:-1])
        sides = jnp.array(self.grid.sizes)
        first_channels = jnp.cumsum(sides) - sides

        def soft_masks(maps: tuple[jax.Array, jax.Array], cells: jax.Array) -> jax.Array:
            level = jnp.sum(cells[:, None] >= starts[None, 1:], axis=1)
            row, column = jnp.divmod(cells - starts[level], sides[level])
            x, y = maps
            # The product comes after the resize, as in the published models.
            return _channels(x, first_channels[level] + column) * _channels(
                y, first_channels[level] + row
            )

        maps = (self._at_stride_4(outputs.x_logits), self._at_stride_4(outputs.y_logits))
        return select(
            self.selection,
            self.grid,
            outputs.category_logits,
            maps,
            soft_masks,
            outputs.quality_logits,
        )

    @nn.nowrap
    def _at_stride_4(self, logits: dict[str, jax.Array]) -> jax.Array:
        """Probabilities of all levels at stride 4: ``B H/4 W/4`` (sum of all S)."""
        finest = logits[self.grid.levels[0]]
        size = detection_size(self.grid, *finest.shape[1:3])
        maps = [resize.bilinear(jax.nn.sigmoid(widen(level)), size) for level in logits.values()]
        return jnp.concatenate(maps, axis=-1)


def _channels(maps: jax.Array, index: jax.Array) -> jax.Array:
    """Channels ``K`` of one image's maps ``h w C`` -> ``K h w``."""
    return jnp.moveaxis(jnp.take(maps, index, axis=-1), -1, 0)
