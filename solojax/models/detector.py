"""Backbone, neck and head, one after the other."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from solojax.fields import check_fields
from solojax.ops import images
from solojax.types import InputError

REMAT: dict[str, Any] = {"remat_stages": (1, 2, 3, 4), "remat": True}
"""Fields that let a part compute again what it would keep for the backward pass, and all of it.

The numbers are the same; a part that lacks the field keeps everything.
"""


Names = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""(regular expression of a layer's name in published files, path in our tree), of a part's layers.

``{0}`` in the path is the first group of the expression; an empty path leaves the layer out. In
place of a path may stand what makes one of the match, where names count otherwise than we do.
"""


class Backbone(Protocol):
    """A linen module that reads images (docs/adding_a_head.md)."""

    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs on ``B H W 3`` normalised images; gives ``{"c2": B H/4 W/4 C, ...}``, strides 2^n.

        Sides that do not divide are rounded up.
        """
        ...


class Neck(Protocol):
    """A linen module between backbone and head (docs/adding_a_head.md)."""

    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Runs on what the backbone gives; gives ``{"p2": B H/4 W/4 C, ...}``, strides 2^n."""
        ...


class Detector(nn.Module):
    """A whole network; its parameters are ``{"backbone", "neck", "head"}``."""

    backbone: nn.Module
    neck: nn.Module
    head: nn.Module
    # RGB that pixels of 0..255 lose before the network, and what they are then divided by.
    mean: tuple[float, float, float] = images.MEAN
    std: tuple[float, float, float] = images.STD

    def __post_init__(self) -> None:
        check_fields(self, "model")
        if min(self.std) <= 0:
            raise InputError(f"model.std={self.std} must be above 0: red, green and blue")
        super().__post_init__()

    @property
    def canvas_multiple(self) -> int:
        """What both sides of a canvas are multiples of, by what the head asks for and the neck.

        A neck that takes any canvas lacks ``canvas_multiple``.
        """
        for stride in self.head.mask_strides:
            if stride != 1 and (stride < 1 or stride % 2):
                raise InputError(
                    f"{type(self.head).__name__}.mask_strides has {stride}; even numbers and 1 are "
                    "what masks are made at"
                )
        strides = *self.head.mask_strides, *label_strides(self)
        return math.lcm(getattr(self.neck, "canvas_multiple", 1), *strides)

    @nn.nowrap
    def normalize(self, pixels: jax.Array, sizes: jax.Array, dtype: DTypeLike) -> jax.Array:
        """``B H W 3`` uint8 on canvases -> what the network reads (``ops.images.normalize``)."""
        return images.normalize(pixels, sizes, dtype, mean=self.mean, std=self.std)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Any:
        """Runs ``B H W 3`` normalised float images, H and W multiples of ``canvas_multiple``.

        All of it computes in their type, float32 or bfloat16, norms in float32. Returns what the
        head returns; ``head.loss`` and ``head.detect`` take it from there, in float32.

        ``train`` is for the backbone's norms (``layers.make_norm``) and for what a head leaves out
        at random (``drop_block``), which takes a key by the name of "dropout".
        """
        _, height, width, _ = images.shape
        step = self.canvas_multiple
        if height % step or width % step:
            raise InputError(f"canvas {height}x{width} is not a multiple of {step} each way")
        return self.head(self.neck(self.backbone(images, train)), train)


def init_variables(model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Fresh variables of a detector; their shapes do not depend on the size of the images."""
    # Inside jit what the network computes on the way is left out.
    side = math.lcm(64, model.canvas_multiple)
    return dict(jax.jit(model.init)(key, jnp.zeros((1, side, side, 3))))


@functools.cache
def variable_shapes(model: nn.Module) -> dict[str, Any]:
    """The variables of ``init_variables`` as shapes and types alone; do not write into it."""
    # Kept: to trace a network takes a second or more.
    return jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))


# What else only some parts have is asked for here.


def label_strides(model: nn.Module) -> tuple[int, ...]:
    """Which label maps the head asks the pipeline for: network pixels per pixel.

    One that labels no pixels lacks ``label_strides``.
    """
    return tuple(getattr(model.head, "label_strides", ()))


def is_frozen(model: nn.Module, path: str) -> bool:
    """Whether the backbone never changes the parameter under a path such as backbone/conv1/kernel.

    One that lacks ``is_frozen`` trains all of it.
    """
    part, *below = path.split("/")
    asked = getattr(model.backbone, "is_frozen", None) if part == "backbone" else None
    return asked is not None and asked(tuple(below))


def wants_pretrained(model: nn.Module) -> bool:
    """Whether the backbone keeps something as it begins, and so should not begin at random."""
    return getattr(model.backbone, "wants_pretrained", False)


def state_dict_names(model: nn.Module) -> Names:
    """What the layers of all parts that say so are called in published files."""
    parts = (model.backbone, model.neck, model.head)
    return tuple(row for part in parts for row in getattr(part, "state_dict_names", ()))


def modules(module: nn.Module, place: str = "model") -> Iterator[tuple[str, nn.Module]]:
    """The modules in a module, each with its place in a config, such as ``model.head.things``."""
    for field in dataclasses.fields(module):
        inner = getattr(module, field.name, None)
        if field.name != "parent" and isinstance(inner, nn.Module):
            yield f"{place}.{field.name}", inner
            yield from modules(inner, f"{place}.{field.name}")
