"""Fields of a backbone, a neck and a head, by the shapes of their parameters."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from solojax.fields import DEEPEST
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import LEVELS
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.yolact import YOLACT
from solojax.models import resnet
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.types import InputError

Shapes = Mapping[str, tuple[int, ...]]
"""Path of a parameter here, such as ``backbone/conv1/kernel`` -> its shape here."""


def backbone(shapes: Shapes, plain: resnet.Variant = "b") -> dict[str, Any]:
    """Fields of a ResNet; ``plain`` is the variant of one without the stem of variant d.

    Raises:
      InputError: it has the blocks of none.
      KeyError: of a parameter that all have.
    """
    depth = depth_of(shapes)
    deep_stem = "backbone/conv1_0/kernel" in shapes
    width = _conv(shapes, "backbone/conv1_2/kernel" if deep_stem else "backbone/conv1/kernel")[-1]
    found: dict[str, Any] = {
        "depth": depth,
        "width": width,
        "variant": "d" if deep_stem else plain,
    }
    if depth not in resnet.BASIC:
        _, _, inputs, inner = _conv(shapes, "backbone/layer1_0/conv2/kernel")
        found |= {"groups": inner // inputs, "group_width": inputs * 64 // width}
    found["deform"] = _deform(shapes, "backbone/")
    if found["deform"] != "none":
        found["deform_stages"] = tuple(
            stage for stage in range(1, 5) if _deform(shapes, f"backbone/layer{stage}_") != "none"
        )
        blocks = [
            int(re.split("[_/]", path)[2]) for path in shapes if "conv2/offset/kernel" in path
        ]
        found["deform_every"] = min((block for block in blocks if block), default=1)
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


def _conv(shapes: Shapes, path: str) -> tuple[int, ...]:
    """The shape of a convolution's kernel.

    Raises:
      KeyError: there is none.
    """
    if len(shape := shapes.get(path, ())) != 4 or min(shape) < 1:
        raise KeyError(path)
    return shape


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


def neck(shapes: Shapes, kind: type) -> dict[str, Any]:
    """Fields of a neck of some class."""
    found: dict[str, Any] = {"width": _conv(shapes, "neck/output_p5/kernel")[-1]}
    if kind is BilinearFPN:
        finest = (level for level in range(2, 6) if f"neck/lateral_c{level}/kernel" in shapes)
        found["finest_level"] = next(finest, 5)
        found["coarser_levels"] = sum(f"neck/coarser_p{6 + i}/kernel" in shapes for i in range(10))
    if kind is ContextEncoder:
        found["pool_width"] = _conv(shapes, "neck/pyramid_pooling/pool_0/kernel")[-1]
    return {f"neck.{name}": value for name, value in found.items()}


def head(shapes: Shapes) -> tuple[type, int, dict[str, Any]]:
    """Class of a head, number of its classes, fields.

    Raises:
      KeyError: of a parameter that all heads of this kind have.
    """
    if "head/box_predictor/kernel" in shapes:
        classes, found = _yolact(shapes)
        return YOLACT, classes, found
    if "head/activation_maps/kernel" in shapes:
        classes, found = _sparseinst(shapes)
        return SparseInst, classes, found
    kind: type = SOLO
    classes = _conv(shapes, "head/category_predictor/kernel")[-1]
    found = {
        "width": _conv(shapes, "head/category_trunk/conv_0/conv/kernel")[-1],
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
            kind, sides[level] = (
                DecoupledSOLO,
                _conv(shapes, f"head/x_predictor_{level}/kernel")[-1],
            )
        elif f"head/mask_predictor_{level}/kernel" in shapes:
            sides[level] = math.isqrt(_conv(shapes, f"head/mask_predictor_{level}/kernel")[-1])
    if kind is DecoupledSOLO:
        found["shared_trunk"] = "head/mask_trunk/conv_0/conv/kernel" in shapes
    trunk = "x_trunk" if found.get("shared_trunk") is False else "mask_trunk"
    given = [_conv(shapes, f"head/{trunk}/conv_{i}/conv/kernel")[2] for i in range(found["depth"])]
    before = [
        _conv(shapes, "head/category_trunk/conv_0/conv/kernel")[2],
        *[found["width"]] * DEEPEST,
    ]
    found["coord_convs"] = sum(a != b for a, b in zip(given, before, strict=False))
    return kind, classes, _in("head", found | {"grid.sizes": tuple(sides.values())})


def _solov2(shapes: Shapes) -> dict[str, Any]:
    features = "head/mask_features"
    kernel_width = _conv(shapes, f"{features}/fuse/conv/kernel")[-1]
    levels = [level for level in LEVELS if f"{features}/{level}_0/conv/kernel" in shapes]
    if not levels:
        raise KeyError(f"{features}/p2_0/conv/kernel")
    inputs = [_conv(shapes, f"{features}/{level}_0/conv/kernel")[2] for level in levels]
    category, kernel = (
        _conv(shapes, f"head/{trunk}_trunk/conv_0/conv/kernel")[2]
        for trunk in ("category", "kernel")
    )
    found = {
        "kernel_width": kernel_width,
        "kernel_size": math.isqrt(
            _conv(shapes, "head/kernel_predictor/kernel")[-1] // kernel_width
        ),
        "kernel_coordinates": kernel != category,
        "mask_feature_width": _conv(shapes, f"{features}/fuse/conv/kernel")[2],
        "mask_levels": tuple(levels),
        "feature_coordinates": inputs[-1] != category,
    }
    if _deform(shapes, "head/") != "none":
        found["deform_mask_features"] = f"{features}/fuse/conv/offset/kernel" in shapes
    return found


def _sparseinst(shapes: Shapes) -> tuple[int, dict[str, Any]]:
    width = _conv(shapes, "head/instance_trunk/conv_0/conv/kernel")[-1]
    _, _, inputs, maps = _conv(shapes, "head/activation_maps/kernel")
    groups = max(width // inputs, 1)
    found = {
        "slots": maps // groups,
        "activation": "single",
        "width": width,
        "depth": _count(shapes, "head/instance_trunk/conv_{}/conv/kernel"),
        "mask_width": _conv(shapes, "head/mask_trunk/conv_0/conv/kernel")[-1],
        "mask_depth": _count(shapes, "head/mask_trunk/conv_{}/conv/kernel"),
        "kernel_width": _conv(shapes, "head/mask_predictor/kernel")[-1],
    }
    if "head/group_fusion/kernel" in shapes:
        softmax = "head/softmax_bias" in shapes
        found |= {"activation": "group_softmax" if softmax else "group", "groups": groups}
    return shapes["head/class_predictor/kernel"][-1], _in("head", found)


def _yolact(shapes: Shapes) -> tuple[int, dict[str, Any]]:
    per_cell = max(_conv(shapes, "head/box_predictor/kernel")[-1] // 4, 1)
    rescoring = _count(shapes, "head/rescoring/conv_{}/kernel")
    found = {
        "anchors.per_cell": per_cell,
        "width": _conv(shapes, "head/trunk/conv/kernel")[-1],
        "prototype_width": _conv(shapes, "head/prototypes/conv_0/conv/kernel")[-1],
        "prototypes": _conv(shapes, "head/prototypes/predictor/kernel")[-1],
        "rescoring_widths": tuple(
            _conv(shapes, f"head/rescoring/conv_{i}/kernel")[-1] for i in range(rescoring - 1)
        ),
    }
    return _conv(shapes, "head/class_predictor/kernel")[-1] // per_cell - 1, _in("head", found)


def _in(part: str, found: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in found.items()}
