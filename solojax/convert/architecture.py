"""Which network a state dict is of, by the names and shapes of its layers."""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from solojax.convert import parts, state_dict
from solojax.fields import DEEPEST
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


class Architecture(NamedTuple):
    """What names and shapes say of a network."""

    source: str
    head: type
    neck: type
    classes: int
    fields: dict[str, Any]  # of a Detector, by path: {"backbone.depth": 50, "head.width": 512}

    def describe(self) -> str:
        """A line for people."""
        field = self.fields
        deform = field["backbone.deform"]
        head = ", ".join(
            f"{name} {field[key]}"
            for name in ("width", "depth", "kernel_width", "slots", "prototypes")
            if (key := f"head.{name}") in field
        )
        return (
            f"{self.head.__name__} of {self.classes} classes by the names of {self.source}; "
            f"ResNet-{field['backbone.depth']} of variant {field['backbone.variant']}"
            f"{'' if deform == 'none' else f', deformable {deform}'}; head: {head}"
        )


def recognise(arrays: Mapping[str, np.ndarray]) -> Architecture:
    """Tells a whole detector by names -> arrays of another framework.

    Raises:
      InputError: it is none that is known here.
    """
    shapes = shapes_here(arrays)
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
        head, classes, fields = parts.head(shapes)
        neck = NECKS.get(head, FPN)
        fields = (
            parts.backbone(shapes, "a" if source == "AdelaiDet" else "b")
            | parts.neck(shapes, neck)
            | fields
        )
    except KeyError as error:
        raise InputError(
            f"it has names of {source}, and no such array for {error.args[0]} as its models have "
            "that are known here"
        ) from error
    return Architecture(source, head, neck, classes, fields)


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
    return "backbone/layer1_0/conv1/kernel" in shapes_here(named)


def shapes_here(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes of another framework's arrays here; where a name has several places, of all."""
    shapes = {}
    for name, array in arrays.items():
        shape = state_dict.our_axes(array).shape if array.ndim > 1 else array.shape
        for kind, *path in state_dict.places_of(name, names()):
            if kind == "params" and (path[-1] == "kernel") == (array.ndim > 1):
                shapes["/".join(path)] = shape
    return shapes
