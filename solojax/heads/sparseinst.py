"""SparseInst: each of a few slots looks where its activation map says, and is one instance.

Cheng et al., *Sparse Instance Activation for Real-Time Instance Segmentation*, CVPR 2022. Defaults
are those of the authors' release. Slots are matched one to one with instances in training, so
nothing is found twice and there is no NMS.
"""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import DEEPEST, check_count, check_fields, check_range
from solojax.heads import answer
from solojax.heads.levels import check_levels
from solojax.heads.matching import Objective, loss_terms
from solojax.heads.semantic import semantic_loss, unite
from solojax.heads.trunk import ConvTrunk, prior_predictor
from solojax.models.context import DEFAULT_INIT, default_bias
from solojax.models.detector import Names
from solojax.models.layers import (
    HE_INIT,
    HEAD_INIT,
    PRIOR_BIAS,
    XAVIER_INIT,
    Conv,
    Dense,
)
from solojax.ops import coords, dynamic_conv, masks, resize
from solojax.ops.precision import sum_type, widen
from solojax.types import MASK_STRIDE, Detections, InputError, Instances, Mean

STRIDE = 8  # of the one level that is read
AREA_EPSILON = 1e-6  # least sum of an activation map that features are divided by

Activation = Literal["single", "group", "group_softmax"]
"""One map a slot; a few, whose features are read together; these, as shares of the positions."""


class Outputs(NamedTuple):
    """What the network predicts of ``Q`` slots."""

    class_logits: jax.Array  # B Q num_classes
    objectness: jax.Array  # B Q, logit of the IoU that the mask has
    kernels: jax.Array  # B Q E
    mask_features: jax.Array  # B H/8 W/8 E
    semantic_logits: jax.Array | None = None  # B H/8 W/8 num_classes, where they are trained


class Targets(NamedTuple):
    """The instances that slots are matched with."""

    labels: jax.Array  # B N int32
    masks: jax.Array  # B N H/4 W/4 float32 in 0..1
    valid: jax.Array  # B N bool
    metrics: dict[str, Mean]
    semantic: jax.Array | None = None  # B H/8 W/8 num_classes uint8, where it is trained


class SparseInst(nn.Module):
    """The SparseInst head."""

    num_classes: int = 80
    slots: int = 100  # Q: the most instances an image can be found to have
    activation: Activation = "single"
    groups: int = 4  # maps of a slot, where it has several
    width: int = 256  # channels of the instance trunk
    depth: int = 4  # convolutions of it
    mask_width: int = 256  # channels of the mask trunk
    mask_depth: int = 4  # convolutions of it
    kernel_width: int = 128  # E: channels of a kernel
    norm_groups: int = 0  # of group norms in both trunks, to train from scratch; 0: none
    remat: bool = False  # convolutions hold their input alone for the backward pass

    objective: Objective = Objective()
    score_threshold: float = 0.005  # of the score before maskness
    mask_threshold: float = 0.45  # above it a probability is in the mask

    def __post_init__(self) -> None:
        check_fields(self, "head")
        counts = ("num_classes", "slots", "groups", "width", "mask_width", "kernel_width")
        check_count(self, "head", *counts)
        check_count(self, "head", "depth", "mask_depth", most=DEEPEST)
        check_range(self, "head", "score_threshold", "mask_threshold", most=1)
        check_range(self, "head", "norm_groups")
        if self.maps_of_a_slot > 1 and self.width % self.groups:
            raise InputError(
                f"head.width={self.width} does not divide into head.groups={self.groups} groups"
            )
        for name in ("width", "mask_width"):
            if self.norm_groups and getattr(self, name) % self.norm_groups:
                raise InputError(
                    f"head.{name}={getattr(self, name)} does not divide into head.norm_groups="
                    f"{self.norm_groups} groups"
                )
        super().__post_init__()

    @property
    def maps_of_a_slot(self) -> int:
        """How many activation maps a slot has."""
        return 1 if self.activation == "single" else self.groups

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Whole masks, which are softened here."""
        return (1,)

    @property
    def state_dict_names(self) -> Names:
        """Of the authors' files."""
        trunks = {"inst_branch.inst_convs": "instance", "mask_branch.mask_convs": "mask"}
        depth = max(self.depth, self.mask_depth)
        return (
            *(
                # Convolutions and ReLUs take turns.
                (rf"decoder\.{theirs}\.{2 * i}", f"head/{ours}_trunk/conv_{i}/conv")
                for theirs, ours in trunks.items()
                for i in range(depth)
            ),
            (r"decoder\.inst_branch\.iam_conv", "head/activation_maps"),
            (r"decoder\.inst_branch\.fc", "head/group_fusion"),
            (r"decoder\.inst_branch\.cls_score", "head/class_predictor"),
            (r"decoder\.inst_branch\.mask_kernel", "head/kernel_predictor"),
            (r"decoder\.inst_branch\.objectness", "head/objectness_predictor"),
            (r"decoder\.inst_branch", "head"),  # softmax_bias
            (r"decoder\.mask_branch\.projection", "head/mask_predictor"),
        )

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs the head on ``{"p3": B H/8 W/8 C}``; ``train`` changes nothing."""
        check_levels("levels", ("p3",), pyramid)
        features = pyramid["p3"]
        # Where a convolution is, comes first in the release.
        where = coords.append_coordinates(features[..., :0], "xy")
        located = jnp.concatenate([where, features], -1)

        trunk = self._trunk("instance_trunk", self.width, self.depth, located)
        semantic = None
        if self.objective.semantic_weight:
            semantic = prior_predictor(self.num_classes, "semantic_predictor", size=1)(trunk)
        slots = self._look(trunk)
        inputs = slots.shape[-1]
        objectness = Dense(
            1,
            kernel_init=DEFAULT_INIT,
            bias_init=default_bias(inputs),
            name="objectness_predictor",
        )
        classes = Dense(
            self.num_classes,
            kernel_init=HEAD_INIT,
            bias_init=nn.initializers.constant(PRIOR_BIAS),
            name="class_predictor",
        )
        kernels = Dense(self.kernel_width, kernel_init=HEAD_INIT, name="kernel_predictor")
        of_masks = Conv(self.kernel_width, (1, 1), kernel_init=HE_INIT, name="mask_predictor")
        return Outputs(
            class_logits=classes(slots),
            objectness=objectness(slots)[..., 0],
            kernels=kernels(slots),
            mask_features=of_masks(
                self._trunk("mask_trunk", self.mask_width, self.mask_depth, located)
            ),
            semantic_logits=semantic,
        )

    @nn.nowrap
    def _trunk(self, name: str, width: int, depth: int, x: jax.Array) -> jax.Array:
        return ConvTrunk(width, depth, self.norm_groups, self.remat, name=name)(x)

    @nn.nowrap
    def _look(self, x: jax.Array) -> jax.Array:
        """Features of each slot, ``B h w D -> B Q D`` or ``B Q g D`` as one row."""
        maps_of_a_slot = self.maps_of_a_slot
        maps = Conv(
            maps_of_a_slot * self.slots,  # those of the first group first
            (3, 3),
            padding=1,
            feature_group_count=maps_of_a_slot,
            kernel_init=HEAD_INIT,
            bias_init=nn.initializers.constant(PRIOR_BIAS),
            name="activation_maps",
        )(x)
        logits = widen(maps)
        if self.activation == "group_softmax":
            # The release has it, and its files: a shift that no softmax sees.
            shift = self.param("softmax_bias", nn.initializers.ones, (1,), jnp.float32)
            seen = jax.nn.softmax(logits + shift[None, None, None], axis=(1, 2))
        else:
            seen = jax.nn.sigmoid(logits)
            area = jnp.sum(seen, (1, 2), keepdims=True)
            seen = seen / jnp.maximum(area, AREA_EPSILON)
        slots = jnp.einsum(
            "bhwm,bhwd->bmd",
            seen.astype(x.dtype),
            x,
            preferred_element_type=sum_type(x.dtype),
        ).astype(x.dtype)
        if self.activation == "single":
            return slots
        batch, _, width = slots.shape
        # The release's sigmoid variant does this for four groups, whatever their number; others
        # come out scrambled.
        groups = slots.reshape(batch, maps_of_a_slot, self.slots, width)
        together = jnp.moveaxis(groups, 1, 2).reshape(batch, self.slots, maps_of_a_slot * width)
        fusion = Dense(together.shape[-1], kernel_init=XAVIER_INIT, name="group_fusion")
        return nn.relu(fusion(together))

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """Softens the masks of ``B N`` instances; nothing is drawn."""
        count = jnp.sum(instances.valid, 1, dtype=jnp.float32)
        left_over = jnp.maximum(count - self.slots, 0)
        whole = instances.masks[1]
        semantic = None
        if self.objective.semantic_weight:
            semantic = unite(masks.soften(whole, STRIDE) > 0.5, instances, self.num_classes)
        return Targets(
            labels=instances.labels,
            masks=masks.soften(whole, MASK_STRIDE),
            valid=instances.valid,
            metrics={
                "matched_instances": Mean(jnp.sum(count - left_over), jnp.float32(len(count))),
                "unmatched_instances": Mean(jnp.sum(left_over), jnp.float32(0)),
            },
            semantic=semantic,
        )

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """Matches slots with instances and compares the pairs; weights included.

        Of more instances than slots those are matched that gain most; the others still count in
        what classes and dice are divided by, as in the release.
        """
        terms = loss_terms(
            self.objective,
            widen(outputs.class_logits),
            widen(outputs.objectness),
            outputs.kernels,
            lambda kernels: mask_logits(outputs.mask_features, kernels),
            targets,
        )
        if outputs.semantic_logits is not None and targets.semantic is not None:
            terms["semantic"] = semantic_loss(
                outputs.semantic_logits, targets.semantic, self.objective.semantic_weight
            )
        return terms

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Every slot whose score is above the threshold; fixed shapes, for use inside ``jit``."""
        logits = mask_logits(outputs.mask_features, outputs.kernels)
        return self.select(outputs.class_logits, outputs.objectness, logits)

    @nn.nowrap
    def select(
        self, class_logits: jax.Array, objectness: jax.Array, logits: jax.Array
    ) -> Detections:
        """``detect`` of ready masks.

        A slot with an empty mask scores 0 and is not found. The release keeps it, and has slots in
        their own order.

        Args:
          class_logits: ``B Q C``.
          objectness: ``B Q``, logits.
          logits: of masks, ``B Q H/4 W/4`` float32.
        """
        classes = jax.nn.sigmoid(widen(class_logits))
        best = jnp.sqrt(jnp.max(classes, -1) * jax.nn.sigmoid(widen(objectness)))
        soft = jax.nn.sigmoid(logits)
        last = jnp.moveaxis(soft, 1, -1)
        foreground = last > self.mask_threshold
        areas = jnp.sum(foreground, (1, 2), dtype=jnp.int32)
        sure = masks.maskness(last, foreground, areas)
        scores = jnp.where(best > self.score_threshold, best * sure, 0)
        return answer.best_first(scores, jnp.argmax(classes, -1), soft, most=self.slots)


def mask_logits(features: jax.Array, kernels: jax.Array) -> jax.Array:
    """``B h w E`` features and ``B K E`` kernels -> ``B K 2h 2w`` float32 logits."""
    small = jnp.moveaxis(jax.vmap(dynamic_conv.dynamic_conv)(features, kernels), 1, -1)
    return jnp.moveaxis(resize.double(small), -1, 1)
