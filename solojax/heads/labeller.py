"""The head that labels pixels: what a decoder sees of an image, and a class for each place of it.

Decoders are FCN's, U-Net's, PSPNet's, DeepLabv3+'s, PP-LiteSeg's and Panoptic FPN's.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count, check_fields, check_range
from solojax.models.layers import HEAD_INIT, Conv
from solojax.ops import label_losses, resize
from solojax.ops.precision import widen
from solojax.types import InputError, Instances, Mean


@dataclasses.dataclass(frozen=True)
class LabelObjective:
    """The losses of label maps and their weights; a weight of 0 leaves a loss out."""

    stride: int = 1  # network pixels per pixel of the label maps that logits are enlarged to
    cross_entropy_weight: float = 1.0
    dice_weight: float = 0.0
    lovasz_weight: float = 0.0
    auxiliary_weight: float = 0.4  # of the cross entropy of each of the decoder's other features
    # Of cross entropies: those of pixels count that give their class less than this probability, or
    # that are among the hardest share of an image. All do where the share is 0.
    hard_probability: float = 0.7
    hard_share: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "head.objective")
        check_count(self, "head.objective", "stride")
        check_range(self, "head.objective", "hard_probability", "hard_share", most=1)
        weights = [name for name in self.__dataclass_fields__ if name.endswith("_weight")]
        check_range(self, "head.objective", *weights)
        if not (self.cross_entropy_weight or self.dice_weight or self.lovasz_weight):
            raise InputError(
                "head.objective: the weights of cross entropy, dice and Lovász-softmax are all 0; "
                "raise one"
            )


class Outputs(NamedTuple):
    """Logits of each place's class."""

    logits: jax.Array  # B h w num_labels
    auxiliary: tuple[jax.Array, ...]  # B h w num_labels each, of sizes of their own


class Targets(NamedTuple):
    """The class of every pixel."""

    labels: jax.Array  # B H/stride W/stride, from num_labels on where it is ignored
    metrics: dict[str, Mean]


class Labeller(nn.Module):
    """Dropout and a 1x1 convolution to classes, behind a decoder."""

    decoder: nn.Module  # heads.decoder.Decoder
    num_labels: int = 19
    dropout: float = 0.1  # share of the channels that training drops
    objective: LabelObjective = LabelObjective()

    def __post_init__(self) -> None:
        check_fields(self, "head")
        check_count(self, "head", "num_labels", most=254)
        if not 0 <= self.dropout < 1:
            raise InputError(f"head.dropout={self.dropout} must be at least 0 and below 1")
        super().__post_init__()

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """No masks."""
        return ()

    @property
    def label_strides(self) -> tuple[int, ...]:
        """Network pixels per pixel of the label maps that the pipeline delivers."""
        return (self.objective.stride,)

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs on ``{"p2": B H/4 W/4 C, ...}``, whichever the decoder reads."""

        def logits(features: jax.Array, name: str) -> jax.Array:
            kept = nn.Dropout(self.dropout, (1, 2), deterministic=not train)(features)
            return Conv(self.num_labels, (1, 1), kernel_init=HEAD_INIT, name=name)(kept)

        features, others = self.decoder(pyramid, train)
        # What only teaches the features is asked for by no prediction, and not computed.
        auxiliary = (logits(x, f"auxiliary_predictor_{i}") for i, x in enumerate(others))
        return Outputs(logits(features, "label_predictor"), tuple(auxiliary))

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """The label maps as they are; nothing is drawn."""
        labels = instances.label_maps[self.objective.stride]
        labelled = jnp.sum(labels < self.num_labels, dtype=jnp.float32)
        return Targets(labels, {"labelled": Mean(labelled, jnp.float32(labels.size))})

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """Cross entropy, dice and Lovász-softmax, and cross entropy of what trains alone.

        Cross entropies are over the labelled pixels, of hard ones as well; the others are over the
        classes that each image has.
        """
        objective = self.objective
        _, height, width = targets.labels.shape
        wanted = jax.nn.one_hot(targets.labels, self.num_labels)
        labelled = jnp.sum(wanted, -1) > 0
        pixels = jnp.sum(labelled, dtype=jnp.float32)
        present = jnp.any(wanted > 0, (1, 2))
        classes = jnp.sum(present, dtype=jnp.float32)

        def enlarged(logits: jax.Array) -> jax.Array:
            return resize.bilinear(widen(logits), (height, width))

        def entropy(logits: jax.Array) -> jax.Array:
            each = label_losses.cross_entropy(logits, wanted)
            if objective.hard_share:
                hard = label_losses.hardest(
                    each,
                    labelled,
                    share=objective.hard_share,
                    probability=objective.hard_probability,
                )
                each = jnp.where(hard, each, 0)
            return jnp.sum(each)

        def of_classes(weight: float, each: jax.Array) -> Mean:
            return Mean(weight * jnp.sum(jnp.where(present, each, 0)), classes)

        logits, terms = enlarged(outputs.logits), {}
        if weight := objective.cross_entropy_weight:
            terms["cross_entropy"] = Mean(weight * entropy(logits), pixels)
        if weight := objective.dice_weight:
            terms["dice"] = of_classes(weight, label_losses.dice(logits, wanted))
        if weight := objective.lovasz_weight:
            terms["lovasz"] = of_classes(weight, label_losses.lovasz_softmax(logits, wanted))
        if outputs.auxiliary and (weight := objective.auxiliary_weight):
            total = sum(entropy(enlarged(each)) for each in outputs.auxiliary)
            terms["auxiliary"] = Mean(weight * total, pixels)
        return terms

    @nn.nowrap
    def label_logits(self, outputs: Outputs) -> jax.Array:
        """``B h w num_labels`` float32, at the decoder's size."""
        return widen(outputs.logits)
