"""Which network: as wide as the time lets it learn."""

import dataclasses
from typing import Any, NamedTuple

from solojax.convert import architecture, parts
from solojax.convert.backbones import Backbone
from solojax.heads.grid import Grid
from solojax.heads.objective import Objective
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet, Variant
from solojax.training import checkpoint, hub, pretrained
from solojax.types import InputError


class Network(NamedTuple):
    """A network of some width, but for its grid, its classes and its caps."""

    name: str  # for people
    views: int  # images, repetitions included, below which a narrower one learns more
    model: Detector


def scratch() -> tuple[Network, ...]:
    """Those without weights, narrow to wide: each step costs some three times the one before it."""
    return (
        _solov2(ResNet(10, width=16, norm="group", norm_groups=8, frozen_stages=0), 48, 64, 32, 0),
        _solov2(
            ResNet(18, width=32, norm="group", norm_groups=16, frozen_stages=0), 64, 96, 48, 60_000
        ),
        _solov2(ResNet(18, norm="group", frozen_stages=0), 128, 128, 64, 250_000),
        _solov2(ResNet(50, norm="group", frozen_stages=0), 256, 256, 128, 1_000_000),
    )


def from_weights(path: str) -> tuple[tuple[Network, ...], bool]:
    """The networks for some weights, narrow to wide, and whether the weights are those of a run.

    Args:
      path: of an ImageNet ResNet; or a run (``hub.folder_of``), whose own network it is then.

    Raises:
      InputError: there are no such weights, or they are of another kind of network.
    """
    if (run := hub.folder_of(path)).is_dir():
        model = checkpoint.read_config(run).model
        if not isinstance(getattr(model.head, "grid", None), Grid):
            raise InputError(
                f"{path} is a run of {type(model.head).__name__}, which has no grid to fit; train "
                "its config with --config and --set training.pretrained"
            )
        return (Network(f"that of {path}", 0, model),), True
    backbone = _backbone_of(pretrained.read_weights(path), path)
    widths = ((64, 64, 32, 0), (128, 128, 64, 30_000), (256, 256, 128, 150_000))
    return tuple(_solov2(backbone, *one) for one in widths), False


def fitted(network: Network, grid: Grid, classes: int, positives: int, detections: int) -> Detector:
    """The model for a grid, so many classes, positives of an image and detections."""
    head = network.model.head
    changes: dict[str, Any] = {"num_classes": classes, "max_positives": positives}
    if isinstance(head, SOLOv2):  # of others' grids the layers follow
        changes["grid"] = grid
    changes["selection"] = dataclasses.replace(
        head.selection,
        max_candidates=5 * detections,
        nms_candidates=3 * detections,
        max_detections=detections,
    )
    return network.model.clone(head=head.clone(**changes))


def _solov2(backbone: ResNet, neck: int, width: int, kernel: int, views: int) -> Network:
    head = SOLOv2(
        width=width,
        depth=2,
        groups=32 if width >= 128 else 8,
        kernel_width=kernel,
        mask_feature_width=kernel,
        # In a short training masks are right before their classes are.
        objective=Objective(category_weight=2),
    )
    name = f"ResNet-{backbone.depth}, {backbone.width} wide, head {width}"
    return Network(name, views, Detector(backbone=backbone, neck=FPN(width=neck), head=head))


def _backbone_of(weights: Backbone, path: str) -> ResNet:
    """The ResNet whose blocks a state dict has."""
    named = {f"backbone.{name}": array for name, array in weights.arrays.items()}
    plain: Variant = "a" if weights.is_caffe2 else "b"
    try:
        fields = parts.backbone(architecture.shapes_here(named), plain)
    except InputError as error:
        raise InputError(f"{path}: {error}; give a state dict of one of them") from error
    except KeyError as error:
        raise InputError(f"{path} has no such array for {error.args[0]} as ResNets have") from error
    fields = {name.removeprefix("backbone."): value for name, value in fields.items()}
    return ResNet(**fields, norm="frozen_statistics", frozen_stages=1)
