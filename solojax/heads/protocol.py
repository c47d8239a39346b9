"""What the rest may touch of a head: this, and nothing else of every head.

What only some have is asked for in one place each: a grid by ``heads.grid.grid_of``, the settings
of Matrix NMS by ``heads.selection.selection_of``, recomputation and names of published files by
``models.detector``.
"""

from typing import Any, Protocol

from solojax.types import Array, Detections, Instances, Mean


class Targets(Protocol):
    """What a head should predict; otherwise its own affair."""

    @property
    def metrics(self) -> dict[str, Mean]:
        """Numbers about them, for the log."""
        ...


class Head(Protocol):
    """A linen module that finds instances (docs/adding_a_head.md)."""

    num_classes: int  # set from the data set; labels are 0 .. num_classes - 1

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Which masks the pipeline delivers: network pixels per pixel, even numbers or 1."""
        ...

    @property
    def mask_threshold(self) -> float:
        """Above this a probability of ``Detections.masks`` is in the mask."""
        ...

    def __call__(self, pyramid: dict[str, Array], train: bool = False) -> Any:
        """Runs on ``{"p2": B H/4 W/4 C, ...}``; the only method that reads parameters."""
        ...

    def targets(self, instances: Instances, key: Array) -> Targets:
        """What ``B N`` instances ask for; ``key`` draws what a cap leaves out."""
        ...

    def loss(self, outputs: Any, targets: Any) -> dict[str, Mean]:
        """The terms to minimise, weights included, and those that are ``types.Logged`` alone.

        Their counts follow from the targets.
        """
        ...

    def detect(self, outputs: Any) -> Detections:
        """``K`` detections an image, best first, with or without boxes; fixed shapes."""
        ...
