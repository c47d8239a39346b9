"""Two heads as one: one finds instances, the other labels pixels, on the same pyramid."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax

from solojax.fields import check_fields
from solojax.heads import protocol
from solojax.heads.merging import Merging
from solojax.types import Detections, InputError, Instances, Mean

PREFIX = "stuff_"
"""Of the names that the pixels' losses and numbers have in the log."""


class Outputs(NamedTuple):
    """Those of both heads."""

    things: Any
    stuff: Any


class Targets(NamedTuple):
    """Those of both heads."""

    things: Any
    stuff: Any
    metrics: dict[str, Mean]


class Panoptic(nn.Module):
    """A head of two heads; the pixels' labels are those of all classes, things as well."""

    things: nn.Module  # finds instances
    stuff: nn.Module  # labels pixels
    merging: Merging = Merging()

    def __post_init__(self) -> None:
        check_fields(self, "head")
        if not protocol.finds_instances(self.things) or not protocol.labels_pixels(self.stuff):
            raise InputError(
                f"head: things={type(self.things).__name__} must find instances, and "
                f"stuff={type(self.stuff).__name__} label pixels"
            )
        super().__post_init__()

    @property
    def num_classes(self) -> int:
        """Classes of instances."""
        return self.things.num_classes

    @property
    def num_labels(self) -> int:
        """Classes of pixels."""
        return self.stuff.num_labels

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Which masks the pipeline delivers."""
        return (*self.things.mask_strides, *self.stuff.mask_strides)

    @property
    def label_strides(self) -> tuple[int, ...]:
        """Which label maps the pipeline delivers."""
        return self.stuff.label_strides

    @property
    def mask_threshold(self) -> float:
        """Above this a probability is in the mask."""
        return self.things.mask_threshold

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs both on ``{"p2": B H/4 W/4 C, ...}``."""
        return Outputs(self.things(pyramid, train), self.stuff(pyramid, train))

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """What is asked of each; ``key`` is for both."""
        keys = jax.random.split(key)
        things = self.things.targets(instances, keys[0])
        stuff = self.stuff.targets(instances, keys[1])
        return Targets(things, stuff, {**things.metrics, **_prefixed(stuff.metrics)})

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """The terms of both."""
        things = self.things.loss(outputs.things, targets.things)
        return {**things, **_prefixed(self.stuff.loss(outputs.stuff, targets.stuff))}

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Finds the instances of a batch."""
        return self.things.detect(outputs.things)

    @nn.nowrap
    def label_logits(self, outputs: Outputs) -> jax.Array:
        """``B h w num_labels`` float32, which span the canvas."""
        return self.stuff.label_logits(outputs.stuff)


def _prefixed(means: dict[str, Mean]) -> dict[str, Mean]:
    return {PREFIX + name: mean for name, mean in means.items()}
