"""SOLOv2: each grid cell predicts a category, and the kernel that cuts its mask out of features.

Wang et al., *SOLOv2: Dynamic and Fast Instance Segmentation*, NeurIPS 2020. Defaults are those of
the authors' release.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.heads import assign
from solojax.models.layers import HEAD_INIT, ConvNormReLU
from solojax.ops import coords, losses, masks, nms, resize
from solojax.types import MASK_STRIDE, Detections, InputError, Instances, Mean

# A fresh network gives each class a probability of 0.01: focal loss starts calm.
PRIOR_BIAS = -4.59512

LEVELS = ("p2", "p3", "p4", "p5", "p6")  # of the pyramid
STRIDES = (4, 8, 16, 32)  # to which a level can be resized: all divide a canvas


class Outputs(NamedTuple):
    """What the network predicts; the dictionaries are keyed by level, finest first."""

    category_logits: dict[str, jax.Array]  # B S S num_classes
    mask_kernels: dict[str, jax.Array]  # B S S E
    mask_features: jax.Array  # B H/4 W/4 E, >= 0


class Targets(NamedTuple):
    """What it should predict."""

    cells: assign.Cells
    masks: jax.Array  # B P H/4 W/4 uint8, of each positive


class SOLOv2(nn.Module):
    """The SOLOv2 head; ``levels``, ``strides``, ``grid_sizes``, ``scale_ranges`` go together."""

    num_classes: int = 80
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5", "p6")  # finest first
    strides: tuple[int, ...] = (8, 8, 16, 32, 32)  # each level is resized to this stride
    grid_sizes: tuple[int, ...] = (40, 36, 24, 16, 12)  # cells per side
    scale_ranges: tuple[tuple[float, float], ...] = (
        (1, 96),
        (48, 192),
        (96, 384),
        (192, 768),
        (384, 2048),
    )  # sqrt(box area), network pixels, both ends inclusive
    sigma: float = 0.2  # share of the box, each way, whose cells are positive

    width: int = 512  # channels of both trunks
    depth: int = 4  # convolutions of both trunks
    kernel_width: int = 256  # E: dynamic kernels are 1 x 1 x E
    mask_feature_width: int = 128
    mask_levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")  # summed at stride 4
    groups: int = 32  # of every group norm

    max_positives: int = 512  # per image; the surplus is left out at random and counted
    category_weight: float = 1.0
    mask_weight: float = 3.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0

    score_threshold: float = 0.1  # of the category score, before maskness
    max_candidates: int = 1000  # category scores whose masks are computed; an overflow is counted
    nms_candidates: int = 500  # of those, best by score x maskness, that enter Matrix NMS
    mask_threshold: float = 0.5
    nms_sigma: float = 2.0
    final_threshold: float = 0.05  # of the decayed score
    max_detections: int = 100

    def __post_init__(self) -> None:
        for name in ("strides", "grid_sizes", "scale_ranges"):
            if len(getattr(self, name)) != len(self.levels):
                raise InputError(
                    f"head.{name} has {len(getattr(self, name))} entries for the "
                    f"{len(self.levels)} levels {', '.join(self.levels)}; give one for each"
                )
        for level, stride in zip(self.levels, self.strides, strict=True):
            if stride not in STRIDES or level not in LEVELS:
                raise InputError(
                    f"head: level {level!r} at stride {stride}; levels are {', '.join(LEVELS)}, "
                    f"strides {', '.join(map(str, STRIDES))}"
                )
        if not self.mask_levels or not set(self.mask_levels) <= set(LEVELS[:-1]):
            raise InputError(
                f"head.mask_levels={self.mask_levels} must be some of {', '.join(LEVELS[:-1])}"
            )
        for name in ("width", "kernel_width", "mask_feature_width"):
            if getattr(self, name) < 1 or self.groups < 1 or getattr(self, name) % self.groups:
                raise InputError(
                    f"head.{name}={getattr(self, name)} does not divide into head.groups="
                    f"{self.groups} groups"
                )
        counts = (self.num_classes, self.max_positives, self.max_detections, *self.grid_sizes)
        if min(counts) < 1 or self.depth < 0:
            raise InputError(
                "head.num_classes, max_positives, max_detections and grid_sizes must be at least "
                "1, and depth not negative"
            )
        if not self.max_detections <= self.nms_candidates <= self.max_candidates:
            raise InputError(
                f"head.max_candidates={self.max_candidates} must be at least nms_candidates="
                f"{self.nms_candidates}, and that at least max_detections={self.max_detections}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array]) -> Outputs:
        """Runs the head on ``{"p2": B H/4 W/4 C, ...}``."""
        kernel_trunk = [
            ConvNormReLU(self.width, self.groups, name=f"kernel_trunk_{i}")
            for i in range(self.depth)
        ]
        category_trunk = [
            ConvNormReLU(self.width, self.groups, name=f"category_trunk_{i}")
            for i in range(self.depth)
        ]
        kernel_predictor = nn.Conv(
            self.kernel_width, (3, 3), padding=1, kernel_init=HEAD_INIT, name="kernel_predictor"
        )
        category_predictor = nn.Conv(
            self.num_classes,
            (3, 3),
            padding=1,
            kernel_init=HEAD_INIT,
            bias_init=nn.initializers.constant(PRIOR_BIAS),
            name="category_predictor",
        )
        height, width = (MASK_STRIDE * side for side in pyramid["p2"].shape[1:3])
        category_logits, mask_kernels = {}, {}
        for level, stride, side in zip(self.levels, self.strides, self.grid_sizes, strict=True):
            x = resize.bilinear(pyramid[level], (height // stride, width // stride))
            # Coordinates are appended before the grid is laid, so they are resized as well.
            x = resize.bilinear(coords.append_coordinates(x), (side, side))
            kernel, category = x, x[..., :-2]
            for conv in kernel_trunk:
                kernel = conv(kernel)
            for conv in category_trunk:
                category = conv(category)
            mask_kernels[level] = kernel_predictor(kernel)
            category_logits[level] = category_predictor(category)
        features = MaskFeatures(
            self.kernel_width,
            self.mask_feature_width,
            self.mask_levels,
            self.groups,
            name="mask_features",
        )(pyramid)
        return Outputs(category_logits, mask_kernels, features)

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """Assigns ``B N`` instances to cells; ``key`` draws what an overflow leaves out."""
        height, width = (MASK_STRIDE * side for side in instances.masks.shape[2:])
        cells = assign.assign_cells(
            instances,
            (height, width),
            key,
            num_classes=self.num_classes,
            grid_sizes=self.grid_sizes,
            scale_ranges=self.scale_ranges,
            sigma=self.sigma,
            max_positives=self.max_positives,
        )
        return Targets(cells, jax.vmap(jnp.take, (0, 0, None))(instances.masks, cells.instances, 0))

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """Focal loss over all cells and dice over all positives, weights included.

        An instance that lost its cell to a later one still trains that cell's kernel, and counts
        in the mean over masks, as in the authors' release.
        """
        cells = targets.cells
        logits = _flatten_levels(outputs.category_logits)
        positive = jax.nn.one_hot(cells.labels, self.num_classes)  # all zero on background
        focal = losses.focal(logits, positive, alpha=self.focal_alpha, gamma=self.focal_gamma)
        owned = jnp.sum(cells.owners >= 0, dtype=jnp.float32)

        kernels = jax.vmap(jnp.take, (0, 0, None))(
            _flatten_levels(outputs.mask_kernels), cells.cells, 0
        )
        mask_logits = jnp.einsum("bpe,bhwe->bphw", kernels, outputs.mask_features)
        dice = losses.dice(jax.nn.sigmoid(mask_logits), targets.masks)
        return {
            "category": Mean(self.category_weight * jnp.sum(focal), owned, prior=1.0),
            "mask": Mean(
                self.mask_weight * jnp.sum(jnp.where(cells.valid, dice, 0)),
                jnp.sum(cells.valid, dtype=jnp.float32),
            ),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Finds the instances of a batch; fixed shapes, for use inside ``jit``."""
        scores = {
            level: nms.points_nms(jax.nn.sigmoid(logits))
            for level, logits in outputs.category_logits.items()
        }
        return jax.vmap(self._detect_one)(
            _flatten_levels(scores), _flatten_levels(outputs.mask_kernels), outputs.mask_features
        )

    @nn.nowrap
    def _detect_one(self, scores: jax.Array, kernels: jax.Array, features: jax.Array) -> Detections:
        passing = jnp.sum(scores > self.score_threshold)
        # A small model may have fewer (cell, class) pairs than the caps allow.
        max_candidates = min(self.max_candidates, scores.size)
        candidates, index = jax.lax.top_k(scores.reshape(-1), max_candidates)
        cell, label = index // self.num_classes, index % self.num_classes
        strides = jnp.repeat(
            jnp.array(self.strides),
            jnp.array([side * side for side in self.grid_sizes]),
            total_repeat_length=len(scores),
        )

        logits = jnp.einsum("ke,hwe->khw", kernels[cell], features)
        probabilities = jax.nn.sigmoid(logits)
        foreground = probabilities > self.mask_threshold
        area = jnp.sum(foreground, (1, 2))
        # The published rule compares a count of pixels with a stride.
        valid = (candidates > self.score_threshold) & (area > strides[cell])
        candidates = jnp.where(valid, candidates * masks.maskness(probabilities, foreground), -1)

        candidates, best = jax.lax.top_k(candidates, min(self.nms_candidates, max_candidates))
        label = label[best]
        decayed = nms.matrix_nms(foreground[best], label, candidates, sigma=self.nms_sigma)
        decayed = jnp.where(decayed >= self.final_threshold, decayed, 0)

        final, kept = jax.lax.top_k(decayed, min(self.max_detections, len(decayed)))
        return Detections(
            scores=final,
            labels=label[kept].astype(jnp.int32),
            masks=probabilities[best[kept]],
            valid=final > 0,
            overflow=jnp.maximum(passing - max_candidates, 0).astype(jnp.int32),
        )


class MaskFeatures(nn.Module):
    """The unified mask feature branch: pyramid -> ``B H/4 W/4 out_width``, never negative.

    Each level is convolved and enlarged by 2 until it reaches stride 4; all are summed. The
    coarsest one alone is told where it is.
    """

    out_width: int
    width: int
    levels: tuple[str, ...]
    groups: int

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array]) -> jax.Array:
        at_stride_4 = []
        for level in self.levels:
            x = pyramid[level]
            if level == self.levels[-1]:
                x = coords.append_coordinates(x)
            doublings = int(level[1:]) - 2
            for i in range(max(doublings, 1)):
                x = ConvNormReLU(self.width, self.groups, name=f"{level}_{i}")(x)
                if i < doublings:
                    x = resize.bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
            at_stride_4.append(x)
        total = functools.reduce(jnp.add, at_stride_4)
        return ConvNormReLU(self.out_width, self.groups, kernel=1, name="fuse")(total)


def _flatten_levels(levels: dict[str, jax.Array]) -> jax.Array:
    """``{level: B S S C}`` -> ``B T C``, in the order of the dictionary, rows before columns."""
    return jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in levels.values()], axis=1)
