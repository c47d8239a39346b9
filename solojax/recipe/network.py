"""Which network: as wide as the time lets it learn."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from solojax.heads.grid import Grid
from solojax.heads.objective import Objective
from solojax.heads.selection import Selection
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import BASIC, BLOCKS, ResNet
from solojax.training import pretrained
from solojax.types import InputError


class Size(NamedTuple):
    """A network but for its grid and its classes."""

    backbone: ResNet
    neck_width: int
    head_width: int
    kernel_width: int
    views: int  # images, repetitions included, below which a smaller network learns more
    groups: int  # of the head's norms


# Narrow to wide. The views are what a network of so many parameters needs before it is worth its
# time (docs/recipes.md has the runs); each step costs about three times the one before it.
SCRATCH = (
    Size(ResNet(10, width=16, norm="group", norm_groups=8, frozen_stages=0), 48, 64, 32, 0, 8),
    Size(
        ResNet(18, width=32, norm="group", norm_groups=16, frozen_stages=0), 64, 96, 48, 60_000, 8
    ),
    Size(ResNet(18, width=64, norm="group", frozen_stages=0), 128, 128, 64, 250_000, 32),
    Size(ResNet(50, width=64, norm="group", frozen_stages=0), 256, 256, 128, 1_000_000, 32),
)
# Of the neck and head on a backbone of weights: widths, width of a kernel, views.
HEADS = ((64, 64, 32, 0), (128, 128, 64, 30_000), (256, 256, 128, 150_000))


def from_weights(path: str) -> tuple[Size, ...]:
    """The networks for the weights of an ImageNet classifier, narrow to wide.

    Raises:
      InputError: they are no ResNet's, or of a depth that is not known.
    """
    backbone = _backbone_of(pretrained.read_weights(path), path)
    return tuple(
        Size(backbone, neck, head, kernel, views, 32 if head % 32 == 0 and head > 64 else 8)
        for neck, head, kernel, views in HEADS
    )


def _backbone_of(weights: Mapping[str, np.ndarray], path: str) -> ResNet:
    """The ResNet whose blocks a state dict has."""
    blocks: dict[int, set[int]] = {}
    for name in weights:
        if found := re.search(r"layer([1-4])\.(\d+)\.conv1", name):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    counts = tuple(len(blocks.get(stage, ())) for stage in range(1, 5))
    bottleneck = any(re.search(r"layer1\.0\.conv3", name) for name in weights)
    depths = [
        depth
        for depth, known in BLOCKS.items()
        if known == counts and (depth in BASIC) != bottleneck
    ]
    if len(depths) != 1:
        raise InputError(
            f"{path} has the blocks {counts}, which are those of none of ResNet "
            f"{', '.join(map(str, BLOCKS))}; give torchvision's state dict as an .npz of arrays"
        )
    stem = [name for name in weights if re.search(r"(conv1|stem)\.0\.weight$", name)]
    return ResNet(
        depths[0], variant="d" if stem else "b", norm="frozen_statistics", frozen_stages=1
    )


def model_of(size: Size, grid: Grid, selection: Selection, classes: int, most: int) -> Detector:
    """A SOLOv2 of a size.

    Args:
      size: its widths.
      grid: its cells.
      selection: its caps.
      classes: how many there are.
      most: positives of an image.
    """
    head = SOLOv2(
        num_classes=classes,
        grid=grid,
        width=size.head_width,
        depth=2,
        groups=size.groups,
        kernel_width=size.kernel_width,
        mask_feature_width=size.kernel_width,
        mask_levels=tuple(level for level in grid.levels if level != "p6"),
        max_positives=most,
        selection=selection,
        # In a short training masks are right before their classes are.
        objective=Objective(category_weight=2),
    )
    return Detector(backbone=size.backbone, neck=FPN(width=size.neck_width), head=head)


def name_of(size: Size) -> str:
    """For people."""
    return f"ResNet-{size.backbone.depth}, {size.backbone.width} wide, head {size.head_width}"
