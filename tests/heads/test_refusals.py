"""What no head can work with is refused when it is written down, with the field and the fix."""

import re
from typing import Any

import pytest

from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.heads.objective import Objective
from solojax.heads.selection import Selection
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.models import detector
from solojax.models.detector import Detector
from solojax.models.fpn import FPN, SingleLevel
from solojax.models.resnet import ResNet
from solojax.types import InputError

RANGES = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
ORDER = "must be some of p2, p3, p4, p5, in this order"


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (SOLO, "deform", "v3", "head.deform: 'v3' is none of 'none', 'v1', 'v2'"),
        (SOLO, "deform_convs", "first", "head.deform_convs: 'first' is none of 'last', 'all'"),
        (SOLO, "collisions", "first", "head.collisions: 'first' is none of 'both', 'last'"),
        (DecoupledSOLO, "deform", "v3", "head.deform: 'v3' is none of"),
        (DecoupledSOLO, "collisions", "first", "head.collisions: 'first' is none of"),
        (SOLOv2, "deform", "v3", "head.deform: 'v3' is none of"),
        (SOLOv2, "collisions", "first", "head.collisions: 'first' is none of"),
        (SOLOv2, "features", "seperate", "head.features: 'seperate' is none of 'unified', "),
        (Selection, "nms", "none", "head.selection.nms: 'none' is none of 'matrix', 'hard', "),
        (Selection, "nms_kernel", "box", "head.selection.nms_kernel: 'box' is none of 'gaussian'"),
        (Grid, "alignment", "nearest", "head.grid.alignment: 'nearest' is none of 'bilinear', "),
        (Objective, "mask_loss", "hinge", "head.objective.mask_loss: 'hinge' is none of 'dice', "),
    ],
)
def test_a_mistyped_word_lists_the_words_there_are(kind, field, value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        kind(**{field: value})


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (SOLO, "depth", 1.5, "head.depth: 1.5 is not of type int"),
        (SOLO, "grid", RANGES, "is not of type Grid"),
        (SOLO, "selection", None, "head.selection: None is not of type Selection"),
        (DecoupledSOLO, "shared_trunk", 1, "head.shared_trunk: 1 is not of type bool"),
        (SOLOv2, "remat", 1, "head.remat: 1 is not of type bool"),
        (SOLOv2, "kernel_coordinates", "xy", "head.kernel_coordinates: 'xy' is not of type bool"),
        (SOLOv2, "mask_levels", "p2", "head.mask_levels: 'p2' is not of type tuple"),
        (Grid, "scale_ranges", ((1, 2, 3), *RANGES[1:]), "head.grid.scale_ranges: "),
        (Grid, "sizes", 40, "head.grid.sizes: 40 is not of type tuple"),
    ],
)
def test_a_value_of_another_type_is_refused(kind, field, value, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        kind(**{field: value})
    assert "is not of type" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (SOLOv2, "width", 65, "head.width=65 does not divide into head.groups=32"),
        (SOLOv2, "kernel_width", -1, "head.kernel_width=-1 must be at least 1"),
        (SOLOv2, "kernel_size", 2, "head.kernel_size=2 is neither 1 nor 3"),
        (SOLOv2, "max_positives", 0, "head.max_positives=0 must be at least 1"),
        (SOLOv2, "depth", 0, "head.depth=0 must be at least 1"),
        (SOLOv2, "mask_levels", (), f"head.mask_levels=() {ORDER}"),
        (SOLOv2, "mask_levels", ("p5", "p2"), f"head.mask_levels=('p5', 'p2') {ORDER}"),
        (SOLOv2, "mask_levels", ("p2", "p2"), f"head.mask_levels=('p2', 'p2') {ORDER}"),
        (SOLOv2, "mask_levels", ("p2", "p6"), f"head.mask_levels=('p2', 'p6') {ORDER}"),
        (SOLO, "coord_convs", -1, "head.coord_convs=-1 must be in 0..7"),
        (SOLO, "coord_convs", 8, "head.coord_convs=8 must be in 0..7"),
        (DecoupledSOLO, "coord_convs", 8, "head.coord_convs=8 must be in 0..7"),
        (SOLOv2, "drop_block", 1, "head.drop_block=1.0 must be at least 0 and below 1"),
        (SOLO, "drop_block", -0.1, "head.drop_block=-0.1 must be at least 0 and below 1"),
        (SOLOv2, "drop_block_size", 2, "head.drop_block_size=2 must be odd, and at least 1"),
        (DecoupledSOLO, "drop_block_size", -1, "head.drop_block_size=-1 must be odd, and at"),
        (Grid, "sizes", (40, 36, 24), "head.grid.sizes has 3 entries for the 5 levels"),
        (Grid, "sizes", (0, 4, 4, 4, 4), "head.grid.sizes=(0, 4, 4, 4, 4) must be at least 1"),
        (Grid, "strides", (8, 8, 0, 32, 32), "head.grid: level 'p4' at stride 0"),
        (Grid, "levels", ("p2", "p3", "p4", "p5", "p9"), "head.grid: level 'p9'"),
        (Grid, "levels", ("p2", "p3", "p4", "p5", "p5"), "names a level twice"),
        (Grid, "levels", (), "head.grid.levels is empty"),
        (Grid, "sigma", 0.0, "head.grid.sigma=0.0 must be above 0"),
        (Grid, "scale_ranges", ((96, 1), *RANGES[1:]), "must be (least, greatest) each"),
        (Grid, "scale_ranges", ((-1, 96), *RANGES[1:]), "must be (least, greatest) each"),
        (Selection, "score_threshold", 2, "head.selection.score_threshold=2.0 must be in 0..1"),
        (Selection, "mask_threshold", -1, "head.selection.mask_threshold=-1.0 must be in 0..1"),
        (Selection, "final_threshold", 9, "head.selection.final_threshold=9.0 must be in 0..1"),
        (Selection, "nms_iou_threshold", 7, "head.selection.nms_iou_threshold=7.0 must be in 0..1"),
        (Selection, "nms_sigma", -3, "head.selection.nms_sigma=-3.0 must be at least 0"),
        (Selection, "max_candidates", 10, "max_candidates=10 must be at least nms_candidates=500"),
        (Selection, "max_detections", 0, "max_detections=0 must be at least 1"),
        (Objective, "category_weight", -1, "head.objective.category_weight=-1.0 must be at least"),
        (Objective, "mask_weight", -1, "head.objective.mask_weight=-1.0 must be at least 0"),
        (Objective, "focal_gamma", -1, "head.objective.focal_gamma=-1.0 must be at least 0"),
        (Objective, "focal_alpha", 1.5, "head.objective.focal_alpha=1.5 must be in 0..1"),
        (FPN, "width", 0, "neck.width=0 must be at least 1"),
        (SingleLevel, "width", 0, "neck.width=0 must be at least 1"),
    ],
)
def test_a_value_that_cannot_work_names_its_field(kind, field, value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        kind(**{field: value})


def test_what_a_clone_changes_is_checked_as_well():
    with pytest.raises(InputError, match="head.deform: 'v3'"):
        SOLO().clone(deform="v3")


@pytest.mark.parametrize("kind", [SOLO, DecoupledSOLO, SOLOv2])
def test_lists_become_tuples_so_that_a_head_is_hashable(kind):
    grid = Grid(sizes=[40, 36, 24, 16, 12], scale_ranges=[list(pair) for pair in RANGES])
    assert grid.sizes == (40, 36, 24, 16, 12) and grid.scale_ranges == RANGES
    assert grid == Grid() and hash(kind(grid=grid)) == hash(kind())
    assert SOLOv2(mask_levels=["p2", "p3"]).mask_levels == ("p2", "p3")


ONE_LEVEL = Grid(levels=("p3",), strides=(8,), sizes=(4,), scale_ranges=((1, 2048),))
TWO_LEVELS = Grid(
    levels=("p2", "p3"), strides=(8, 8), sizes=(4, 4), scale_ranges=((1, 64), (32, 2048))
)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (SOLO(grid=TWO_LEVELS), "head.grid.levels=('p2', 'p3'): the neck gives p3, not p2"),
        (
            DecoupledSOLO(grid=TWO_LEVELS),
            "head.grid.levels=('p2', 'p3'): the neck gives p3, not p2",
        ),
        (
            SOLOv2(grid=ONE_LEVEL),
            "head.mask_levels=('p2', 'p3', 'p4', 'p5'): the neck gives p3, not p2, p4, p5",
        ),
    ],
)
def test_levels_that_the_neck_does_not_give_are_named(head: Any, message: str):
    model = Detector(backbone=ResNet(18, width=8), neck=SingleLevel(8), head=head)
    with pytest.raises(InputError, match=re.escape(message)):
        detector.variable_shapes(model)


def test_separate_features_take_a_neck_of_one_level():
    head = SOLOv2(grid=ONE_LEVEL, features="separate")
    model = Detector(backbone=ResNet(18, width=8), neck=SingleLevel(8), head=head)
    shapes = detector.variable_shapes(model)
    assert "mask_features" in shapes["params"]["head"]
