"""Which network a state dict is of, by the names and shapes of its layers."""

import functools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from solojax.convert import state_dict
from solojax.fields import DEEPEST
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import LEVELS
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.yolact import YOLACT
from solojax.models import detector, resnet
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.types import InputError

# Whose names they are, the surest sign of each first.
SOURCES = {
    "AdelaiDet": re.compile(r"ins_head\..*"),
    "PaddleDetection": re.compile(r"solov2_head\..*"),
    "mmdetection": re.compile(r"mask_head\..*"),
    "the authors of SOLO": re.compile(r"bbox_head\..*"),
    "SparseInst": re.compile(r"decoder\..*"),
    "YOLACT": re.compile(r"prediction_layers\..*"),
}
NECKS: dict[type, type] = {SparseInst: ContextEncoder, YOLACT: BilinearFPN}  # all others have FPNs

Shapes = Mapping[str, tuple[int, ...]]
"""Path of a parameter here, such as ``backbone/conv1/kernel`` -> its shape here."""


class Architecture(NamedTuple):
    """What names and shapes say of a network."""

    source: str
    head: type
    neck: type
    classes: int
    fields: dict[str, Any]  # of a Detector, by path: {"backbone.depth": 50, "head.width": 512}

    def describe(self) -> str:
        """A line for people."""
        said = ", ".join(f"{name}={value}" for name, value in self.fields.items())
        return (
            f"{self.head.__name__} of {self.classes} classes by the names of {self.source}: {said}"
        )


def recognise(arrays: Mapping[str, np.ndarray]) -> Architecture:
    """Tells a whole detector by names -> arrays of another framework.

    Raises:
      InputError: it is none that is known here.
    """
    shapes = _shapes_here(arrays)
    source = next(
        (source for source, name in SOURCES.items() if any(map(name.fullmatch, arrays))), ""
    )
    if not source:
        if any(name.startswith("backbone/") for name in shapes) or _is_backbone(arrays):
            raise InputError(
                "it holds a backbone and no head; begin a training with it by "
                "--set training.pretrained=FILE"
            )
        first = ", ".join(map(state_dict.said, list(arrays)[:3]))
        raise InputError(f"its names are those of no project that is known here: {first}, ...")
    try:
        head, classes, fields = _head(shapes)
        neck = NECKS.get(head, FPN)
        fields = (
            backbone(shapes, "a" if source == "AdelaiDet" else "b") | _neck(shapes, neck) | fields
        )
    except KeyError as error:
        raise InputError(
            f"it has names of {source}, and nothing for {error.args[0]}, which all models have"
        ) from error
    return Architecture(source, head, neck, classes, fields)


def backbone(shapes: Shapes, plain: resnet.Variant = "b") -> dict[str, Any]:
    """Fields of a ResNet; ``plain`` is the variant of one without the stem of variant d.

    Raises:
      InputError: it has the blocks of none.
    """
    depth = depth_of(shapes)
    deep_stem = "backbone/conv1_0/kernel" in shapes
    width = shapes["backbone/conv1_2/kernel" if deep_stem else "backbone/conv1/kernel"][-1]
    found: dict[str, Any] = {
        "depth": depth,
        "width": width,
        "variant": "d" if deep_stem else plain,
    }
    if depth not in resnet.BASIC:
        _, _, inputs, inner = shapes["backbone/layer1_0/conv2/kernel"]
        found |= {"groups": inner // inputs, "group_width": inputs * 64 // width}
    found["deform"] = _deform(shapes, "backbone/")
    if found["deform"] != "none":
        found["deform_stages"] = tuple(
            stage for stage in range(1, 5) if _deform(shapes, f"backbone/layer{stage}_") != "none"
        )
    return {f"backbone.{name}": value for name, value in found.items()}


def depth_of(shapes: Collection[str]) -> int:
    """The depth of a ResNet by the paths of its parameters.

    Raises:
      InputError: it has the blocks of none.
    """
    blocks = tuple(
        _count(shapes, f"backbone/layer{stage}_{{}}/conv1/kernel") for stage in range(1, 5)
    )
    basic = "backbone/layer1_0/conv3/kernel" not in shapes
    depths = [
        depth
        for depth, known in resnet.BLOCKS.items()
        if known == blocks and (depth in resnet.BASIC) == basic
    ]
    if not depths:
        raise InputError(
            f"its backbone has the blocks {blocks}, which are those of none of ResNet "
            f"{', '.join(map(str, resnet.BLOCKS))}"
        )
    return depths[0]


@functools.cache
def names() -> detector.Names:
    """Names and places of the layers of all networks that are known here."""
    whole = (
        Detector(resnet.ResNet(), FPN(), SOLOv2()),
        Detector(resnet.ResNet(), ContextEncoder(), SparseInst(depth=DEEPEST, mask_depth=DEEPEST)),
        Detector(
            resnet.ResNet(),
            BilinearFPN(finest_level=2, coarser_levels=10),
            YOLACT(rescoring_widths=(1,) * 10),
        ),
    )
    rows = [row for model in whole for row in detector.state_dict_names(model)]
    return tuple(dict.fromkeys(rows))


def _is_backbone(arrays: Mapping[str, np.ndarray]) -> bool:
    named = {f"backbone.{name}": array for name, array in arrays.items()}
    return "backbone/layer1_0/conv1/kernel" in _shapes_here(named)


def _shapes_here(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Where a name has several places, of all."""
    shapes = {}
    for name, array in arrays.items():
        shape = state_dict.our_axes(array).shape if array.ndim > 1 else array.shape
        for kind, *path in state_dict.places_of(name, names()):
            if kind == "params" and (path[-1] == "kernel") == (array.ndim > 1):
                shapes["/".join(path)] = shape
    return shapes


def _count(shapes: Collection[str], path: str) -> int:
    """How many there are of a path with a number for ``{}``, from 0 on."""
    count = 0
    while path.format(count) in shapes:
        count += 1
    return count


def _deform(shapes: Shapes, start: str) -> str:
    """Of the first convolution under ``start`` that has offsets: 2 or 3 of them for each tap."""
    for path, shape in shapes.items():
        if path.startswith(start) and path.endswith("/offset/kernel"):
            taps = math.prod(shape[:2])
            return {2 * taps: "v1", 3 * taps: "v2"}.get(shape[-1], f"{shape[-1]} offsets")
    return "none"


def _neck(shapes: Shapes, neck: type) -> dict[str, Any]:
    found: dict[str, Any] = {"width": shapes["neck/output_p5/kernel"][-1]}
    if neck is BilinearFPN:
        found["finest_level"] = next(
            level for level in range(2, 6) if f"neck/lateral_c{level}/kernel" in shapes
        )
        found["coarser_levels"] = sum(f"neck/coarser_p{6 + i}/kernel" in shapes for i in range(10))
    if neck is ContextEncoder:
        found["pool_width"] = shapes["neck/pyramid_pooling/pool_0/kernel"][-1]
    return {f"neck.{name}": value for name, value in found.items()}


def _head(shapes: Shapes) -> tuple[type, int, dict[str, Any]]:
    """Class of the head, number of classes, fields."""
    if "head/box_predictor/kernel" in shapes:
        classes, found = _yolact(shapes)
        return YOLACT, classes, found
    if "head/activation_maps/kernel" in shapes:
        classes, found = _sparseinst(shapes)
        return SparseInst, classes, found
    kind: type = SOLO
    classes = shapes["head/category_predictor/kernel"][-1]
    found = {
        "width": shapes["head/category_trunk/conv_0/conv/kernel"][-1],
        "depth": _count(shapes, "head/category_trunk/conv_{}/conv/kernel"),
        "deform": _deform(shapes, "head/"),
    }
    if found["deform"] != "none":
        everywhere = "head/category_trunk/conv_0/conv/offset/kernel" in shapes
        found["deform_convs"] = "all" if everywhere and found["depth"] > 1 else "last"
        last = f"head/category_trunk/conv_{found['depth'] - 1}/conv"
        found["deform_bias"] = f"{last}/bias" in shapes
    if "head/kernel_predictor/kernel" in shapes:
        return SOLOv2, classes, _in("head", found | _solov2(shapes))
    sides: dict[str, int] = {}
    for level in LEVELS:
        if f"head/x_predictor_{level}/kernel" in shapes:
            kind, sides[level] = DecoupledSOLO, shapes[f"head/x_predictor_{level}/kernel"][-1]
        elif f"head/mask_predictor_{level}/kernel" in shapes:
            sides[level] = math.isqrt(shapes[f"head/mask_predictor_{level}/kernel"][-1])
    if kind is DecoupledSOLO:
        found["shared_trunk"] = "head/mask_trunk/conv_0/conv/kernel" in shapes
    trunk = "x_trunk" if found.get("shared_trunk") is False else "mask_trunk"
    given = [shapes[f"head/{trunk}/conv_{i}/conv/kernel"][2] for i in range(found["depth"])]
    before = [shapes["head/category_trunk/conv_0/conv/kernel"][2], *[found["width"]] * DEEPEST]
    found["coord_convs"] = sum(a != b for a, b in zip(given, before, strict=False))
    return kind, classes, _in("head", found | {"grid.sizes": tuple(sides.values())})


def _solov2(shapes: Shapes) -> dict[str, Any]:
    features = "head/mask_features"
    kernel_width = shapes[f"{features}/fuse/conv/kernel"][-1]
    levels = [level for level in LEVELS if f"{features}/{level}_0/conv/kernel" in shapes]
    inputs = [shapes[f"{features}/{level}_0/conv/kernel"][2] for level in levels]
    category, kernel = (
        shapes[f"head/{trunk}_trunk/conv_0/conv/kernel"][2] for trunk in ("category", "kernel")
    )
    found = {
        "kernel_width": kernel_width,
        "kernel_size": math.isqrt(shapes["head/kernel_predictor/kernel"][-1] // kernel_width),
        "kernel_coordinates": kernel != category,
        "mask_feature_width": shapes[f"{features}/fuse/conv/kernel"][2],
        "mask_levels": tuple(levels),
        "feature_coordinates": inputs[-1] != category,
    }
    if _deform(shapes, "head/") != "none":
        found["deform_mask_features"] = f"{features}/fuse/conv/offset/kernel" in shapes
    return found


def _sparseinst(shapes: Shapes) -> tuple[int, dict[str, Any]]:
    width = shapes["head/instance_trunk/conv_0/conv/kernel"][-1]
    _, _, inputs, maps = shapes["head/activation_maps/kernel"]
    groups = width // inputs
    found = {
        "slots": maps // groups,
        "activation": "single",
        "width": width,
        "depth": _count(shapes, "head/instance_trunk/conv_{}/conv/kernel"),
        "mask_width": shapes["head/mask_trunk/conv_0/conv/kernel"][-1],
        "mask_depth": _count(shapes, "head/mask_trunk/conv_{}/conv/kernel"),
        "kernel_width": shapes["head/mask_predictor/kernel"][-1],
    }
    if "head/group_fusion/kernel" in shapes:
        softmax = "head/softmax_bias" in shapes
        found |= {"activation": "group_softmax" if softmax else "group", "groups": groups}
    return shapes["head/class_predictor/kernel"][-1], _in("head", found)


def _yolact(shapes: Shapes) -> tuple[int, dict[str, Any]]:
    per_cell = shapes["head/box_predictor/kernel"][-1] // 4
    rescoring = _count(shapes, "head/rescoring/conv_{}/kernel")
    found = {
        "anchors.per_cell": per_cell,
        "width": shapes["head/trunk/conv/kernel"][-1],
        "prototype_width": shapes["head/prototypes/conv_0/conv/kernel"][-1],
        "prototypes": shapes["head/prototypes/predictor/kernel"][-1],
        "rescoring_widths": tuple(
            shapes[f"head/rescoring/conv_{i}/kernel"][-1] for i in range(rescoring - 1)
        ),
    }
    return shapes["head/class_predictor/kernel"][-1] // per_cell - 1, _in("head", found)


def _in(part: str, found: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in found.items()}
