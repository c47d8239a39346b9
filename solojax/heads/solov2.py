"""SOLOv2: each grid cell predicts a category, and the kernel that cuts its mask out of features.

Wang et al., *SOLOv2: Dynamic and Fast Instance Segmentation*, NeurIPS 2020. Defaults are those of
the authors' release.
"""

import functools
from typing import Literal, NamedTuple

import flax.linen as nn
import jax

from solojax.heads import assign, names, trunk
from solojax.heads.grid import LEVELS, Grid, flatten
from solojax.heads.levels import check_levels, sum_at_stride_4
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection, by_level, select
from solojax.models.detector import Names
from solojax.models.layers import HE_INIT, HEAD_INIT, Conv, ConvNormReLU, Deform, rematerialised
from solojax.ops import coords, dynamic_conv, resize
from solojax.types import MASK_STRIDE, Detections, InputError, Instances, Mean

SEPARATE_DEPTH = 7  # convolutions of a level's own mask features (SOLOv2 paper, ablations)


class Outputs(NamedTuple):
    """What the network predicts; the dictionaries are keyed by level, finest first."""

    category_logits: dict[str, jax.Array]  # B S S num_classes
    mask_kernels: dict[str, jax.Array]  # B S S E, or nine times E for 3x3 kernels
    mask_features: tuple[jax.Array, ...]  # one for all levels or one for each: B h w E, >= 0
    quality_logits: dict[str, jax.Array] | None = None  # B S S 1, where masks are scored


class SOLOv2(nn.Module):
    """The SOLOv2 head."""

    num_classes: int = 80
    grid: Grid = Grid()
    width: int = 512  # channels of both trunks
    depth: int = 4  # convolutions of both trunks
    groups: int = 32  # of every group norm
    deform: Deform = "none"
    deform_convs: trunk.DeformConvs = "last"
    deform_bias: bool = False  # of deformable convolutions, as PaddleDetection's have it
    remat: bool = False  # blocks of convolutions hold their input alone for the backward pass
    drop_block: float = 0.0  # share of the cells that training drops of each trunk's last features
    drop_block_size: int = 3  # cells each way that are dropped together
    kernel_width: int = 256  # E: channels of a dynamic kernel
    kernel_size: int = 1  # rows and columns of a dynamic kernel, 1 or 3
    kernel_coordinates: bool = True  # whether the kernel trunk is told where it is

    features: Literal["unified", "separate"] = "unified"  # mask features of all levels or of each
    mask_feature_width: int = 128
    mask_levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")  # that unified features are made of
    feature_coordinates: bool = True  # whether the mask features are told where they are
    deform_mask_features: bool = False  # their convolutions as well

    max_positives: int = 512  # per image (and level, of separate features); a surplus is counted
    collisions: assign.Collisions = "both"
    mask_scoring: bool = False  # whether cells say how well their masks fit, and scores heed it
    objective: Objective = Objective()
    selection: Selection = Selection()

    def __post_init__(self) -> None:
        trunk.check_head(self, "width", "kernel_width", "mask_feature_width")
        known = tuple(level for level in LEVELS[:-1] if level in self.mask_levels)
        if not known or self.mask_levels != known:
            raise InputError(
                f"head.mask_levels={self.mask_levels} must be some of {', '.join(LEVELS[:-1])}, "
                "in this order"
            )
        if self.kernel_size not in (1, 3):
            raise InputError(f"head.kernel_size={self.kernel_size} is neither 1 nor 3")
        super().__post_init__()

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Network pixels per pixel of the mask targets: for all levels, or of each."""
        if self.features == "unified":
            return (MASK_STRIDE,)
        return self.grid.mask_strides

    @property
    def mask_threshold(self) -> float:
        """Above this a probability is in the mask."""
        return self.selection.mask_threshold

    @property
    def state_dict_names(self) -> Names:
        """Of the published files."""
        return names.names_of(self.grid.levels, self.mask_levels)

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs the head on ``{"p2": B H/4 W/4 C, ...}``; ``train`` lets ``drop_block`` act."""
        kernel_trunk = trunk.make_trunk(self, "kernel_trunk")
        category_trunk = trunk.make_trunk(self, "category_trunk")
        category_predictor = trunk.prior_predictor(self.num_classes, "category_predictor")
        quality_predictor = trunk.quality_predictor() if self.mask_scoring else None
        kernel_predictor = Conv(
            self.kernel_width * self.kernel_size**2,
            (3, 3),
            padding=1,
            kernel_init=HEAD_INIT,
            name="kernel_predictor",
        )
        category_logits, mask_kernels, quality_logits = {}, {}, {}
        levels = self.grid.resized(pyramid)
        for (level, x), side in zip(levels.items(), self.grid.sizes, strict=True):
            # Coordinates are appended before the grid is laid, so they are resized as well.
            located = coords.append_coordinates(x, "xy" if self.kernel_coordinates else "")
            located = resize.to_grid(located, side, self.grid.alignment)
            category = category_trunk(located[..., : x.shape[-1]], train)
            mask_kernels[level] = kernel_predictor(kernel_trunk(located, train))
            category_logits[level] = category_predictor(category)
            if quality_predictor:
                quality_logits[level] = quality_predictor(category)
        deform = self.deform if self.deform_mask_features else "none"
        coordinates = "xy" if self.feature_coordinates else ""
        widths = (self.mask_feature_width, self.kernel_width, self.groups)
        features = (*widths, coordinates, deform, self.deform_bias, self.remat)
        maps: tuple[jax.Array, ...]
        if self.features == "unified":
            branch = UnifiedMaskFeatures(*features, self.mask_levels, name="mask_features")
            maps = (branch(pyramid),)
        else:
            each = SeparateMaskFeatures(*features, name="mask_features")
            maps = tuple(map(each, levels.values()))
        return Outputs(category_logits, mask_kernels, maps, quality_logits or None)

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> assign.Targets:
        """Assigns ``B N`` instances to cells; ``key`` draws what an overflow leaves out."""
        return assign.make_targets(self, instances, key)

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: assign.Targets) -> dict[str, Mean]:
        """Focal loss over all cells and a loss of each positive's mask, weights included.

        An instance that lost its cell to a later one still trains that cell's kernel, and counts
        in the mean over masks, as in the authors' release.
        """
        kernels = flatten(outputs.mask_kernels)
        mask_logits = [
            jax.vmap(self._cut)(features, kernels, positives.cells)
            for features, positives in zip(
                outputs.mask_features, targets.cells.positives, strict=True
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

        def soft_masks(one: tuple[tuple[jax.Array, ...], jax.Array], cells: jax.Array) -> jax.Array:
            features, kernels = one
            masks = [jax.nn.sigmoid(self._cut(each, kernels, cells)) for each in features]
            if self.features == "unified":
                return masks[0]
            return by_level(self.grid, masks, cells)

        predictions = (outputs.mask_features, flatten(outputs.mask_kernels))
        return select(
            self.selection,
            self.grid,
            outputs.category_logits,
            predictions,
            soft_masks,
            outputs.quality_logits,
            at_once=self.features == "unified",
        )

    @nn.nowrap
    def _cut(self, features: jax.Array, kernels: jax.Array, cells: jax.Array) -> jax.Array:
        """Mask logits ``K h w`` of the ``cells`` ``K`` on one image's ``features`` ``h w E``."""
        return dynamic_conv.dynamic_conv(features, kernels[cells], self.kernel_size)


class UnifiedMaskFeatures(nn.Module):
    """Mask features for all levels: pyramid -> ``B H/4 W/4 out_width``, never negative.

    All levels are summed; the coarsest one alone is told where it is.
    """

    width: int
    out_width: int
    groups: int
    coordinates: str
    deform: Deform
    deform_bias: bool
    remat: bool
    levels: tuple[str, ...]

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array]) -> jax.Array:
        init = HEAD_INIT if self.deform == "none" else HE_INIT
        block = functools.partial(
            rematerialised(ConvNormReLU, self.remat),
            groups=self.groups,
            deform=self.deform,
            deform_bias=self.deform_bias,
            kernel_init=init,
        )
        check_levels("mask_levels", self.levels, pyramid)
        coarsest = self.levels[-1]
        told = coords.append_coordinates(pyramid[coarsest], self.coordinates)
        parts = functools.partial(block, self.width)
        total = sum_at_stride_4({**pyramid, coarsest: told}, self.levels, parts)
        return block(self.out_width, kernel=1, name="fuse")(total)


class SeparateMaskFeatures(nn.Module):
    """Mask features of one level, as SOLO's: ``B h w C -> B 2h 2w out_width``, never negative."""

    width: int
    out_width: int
    groups: int
    coordinates: str
    deform: Deform
    deform_bias: bool
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.width, SEPARATE_DEPTH, self.groups, self.coordinates, 1)
        x = trunk.Trunk(*shape, self.deform, "all", self.deform_bias, self.remat, name="trunk")(x)
        block = rematerialised(ConvNormReLU, self.remat)
        fuse = block(self.out_width, self.groups, 1, self.deform, self.deform_bias, name="fuse")
        return fuse(resize.double(x))
