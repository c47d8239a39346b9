"""What the rest may touch of a head: this, and nothing else of every head.

A head finds instances, or labels pixels, or both.

What only some have is asked for in one place each: a grid by ``heads.grid.grid_of``, the settings
of Matrix NMS by ``heads.selection.selection_of``, recomputation and names of published files by
``models.detector``.

What a head answers is checked where it is traced, once: what is of another form would be taken for
something else, or fail far from here.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

from solojax.types import MASK_STRIDE, Array, Detections, InputError, Instances, Mean


class Targets(Protocol):
    """What a head should predict; otherwise its own affair."""

    @property
    def metrics(self) -> dict[str, Mean]:
        """Numbers about them, for the log."""
        ...


class Head(Protocol):
    """What every head has, a linen module (docs/adding_a_head.md)."""

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Which masks the pipeline delivers: network pixels per pixel, even numbers or 1."""
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


class InstanceHead(Head, Protocol):
    """One that finds instances."""

    @property
    def num_classes(self) -> int:
        """Set from the data set; labels are ``0 .. num_classes - 1``."""
        ...

    @property
    def mask_threshold(self) -> float:
        """Above this a probability of ``Detections.masks`` is in the mask."""
        ...

    def detect(self, outputs: Any) -> Detections:
        """``K`` detections an image, best first, with or without boxes; fixed shapes."""
        ...


class PixelHead(Head, Protocol):
    """One that labels pixels."""

    @property
    def num_labels(self) -> int:
        """``L``, set from the data set: its things, then its stuff."""
        ...

    @property
    def label_strides(self) -> tuple[int, ...]:
        """Which label maps the pipeline delivers: network pixels per pixel."""
        ...

    def label_logits(self, outputs: Any) -> Array:
        """``B h w L`` float32, which span the canvas."""
        ...


def finds_instances(head: Any) -> TypeGuard[InstanceHead]:
    """Whether a head finds instances."""
    return hasattr(head, "detect")


def finder(head: Any, place: str = "model.head") -> tuple[str, Any]:
    """What finds the instances, the head or a head in it, and the place of it in a config."""
    inner = getattr(head, "things", None)
    return (place, head) if inner is None else finder(inner, f"{place}.things")


def labels_pixels(head: Any) -> TypeGuard[PixelHead]:
    """Whether a head labels pixels."""
    return hasattr(head, "label_logits")


def check_means(head: Head, method: str, means: Mapping[str, Any]) -> None:
    """Refuses losses, or numbers for the log, that are not each two float32 scalars.

    Raises:
      InputError: one is not.
    """
    for name, mean in means.items():
        parts = (mean.total, mean.count) if isinstance(mean, Mean) else (mean,)
        found = [
            f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else type(x).__name__ for x in parts
        ]
        if found != ["float32[]", "float32[]"]:
            what = " and ".join(found)
            raise InputError(
                f"{type(head).__name__}.{method}: {name!r} is {what} where a types.Mean of two "
                "float32 scalars is wanted, a sum over the images and a count"
            )


def check_label_logits(head: Head, logits: Any, images: int) -> None:
    """Refuses logits of pixels that are not float32 ``B h w num_labels``.

    Raises:
      InputError: they are of another type or shape.
    """
    wanted = "float32", (images, *logits.shape[1:3], getattr(head, "num_labels", 0))
    if (logits.dtype.name, logits.shape) != wanted:
        raise InputError(
            f"{type(head).__name__}.label_logits gives {logits.dtype.name}{list(logits.shape)} "
            f"where {wanted[0]}{list(wanted[1])} is wanted"
        )


def check_detections(head: Head, found: Any, images: int, canvas: tuple[int, int]) -> None:
    """Refuses detections that are not as ``Detections`` says.

    Raises:
      InputError: an array is of another type or shape.
    """
    kind = f"{type(head).__name__}.detect"
    if not isinstance(found, Detections):
        raise InputError(f"{kind} gives {type(found).__name__}, not types.Detections")
    least = tuple(side // MASK_STRIDE for side in canvas)
    most = found.scores.shape[-1]
    height, width = (*found.masks.shape, *least)[2:4]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "scores": ("float32", (images, most)),
        "labels": ("int32", (images, most)),
        "masks": ("float32", (images, most, max(height, least[0]), max(width, least[1]))),
        "valid": ("bool", (images, most)),
        "overflow": ("int32", (images,)),
        "boxes": ("float32", (images, most, 4)),
        "cells": ("int32", (images, most)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(found, name)
        if array is None and name in ("boxes", "cells"):
            continue
        if (array.dtype.name, array.shape) != (dtype, shape):
            raise InputError(
                f"{kind}: {name} is {array.dtype.name}{list(array.shape)} where {dtype}"
                f"{list(shape)} is wanted" + (", or finer" if name == "masks" else "")
            )
