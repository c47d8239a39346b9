"""The fields that the papers' ablations turn, each by what it changes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid, flatten
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import SingleLevel
from solojax.models.resnet import ResNet
from solojax.ops import losses, nms
from solojax.types import Instances
from tests.heads.recorded import value

GRID = Grid(levels=("p2", "p4"), strides=(8, 16), sizes=(4, 3), scale_ranges=((1, 48), (24, 200)))
SELECTION = Selection(score_threshold=0.01, max_candidates=60, nms_candidates=60, max_detections=60)
SMALL = {"num_classes": 3, "grid": GRID, "width": 8, "depth": 2, "groups": 4}
SOLO_HEAD = SOLO(**SMALL, max_positives=9, selection=SELECTION)
DECOUPLED = DecoupledSOLO(**SMALL, max_positives=9, selection=SELECTION)
SOLOV2 = SOLOv2(
    **SMALL,
    kernel_width=8,
    mask_feature_width=12,
    mask_levels=("p2", "p3", "p4"),
    max_positives=18,
    selection=SELECTION,
)


def pyramid() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        f"p{i}": jnp.asarray(rng.normal(0, 1, (2, 64 // 2**i, 96 // 2**i, 8)), jnp.float32)
        for i in (2, 3, 4)
    }


def shapes(head: Any) -> dict[str, tuple[int, ...]]:
    """Name of each parameter -> its shape."""
    params = jax.eval_shape(head.init, jax.random.key(0), pyramid())["params"]
    return {"/".join(path): x.shape for path, x in traverse_util.flatten_dict(params).items()}


def variables(head: Any) -> Any:
    rng = np.random.default_rng(0)
    tree = jax.eval_shape(head.init, jax.random.key(0), pyramid())
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), tree)


def instances(head: Any) -> Instances:
    rng = np.random.default_rng(1)
    boxes = np.array([[[4, 4, 40, 36], [30, 10, 90, 60]], [[10, 20, 34, 50], [0, 0, 90, 64]]])
    return Instances(
        masks={
            stride: jnp.asarray(rng.integers(0, 2, (2, 2, 64 // stride, 96 // stride)), jnp.uint8)
            for stride in head.mask_strides
        },
        boxes=jnp.asarray(boxes, jnp.float32),
        centers=jnp.asarray((boxes[..., :2] + boxes[..., 2:]) / 2, jnp.float32),
        labels=jnp.array([[0, 1], [2, 1]], jnp.int32),
        valid=jnp.ones((2, 2), bool),
    )


def run(head: Any) -> tuple[float, Any, Any]:
    """Loss, gradients of all parameters, detections."""

    @jax.jit
    def once(params, given):
        targets = head.targets(given, jax.random.key(0))

        def loss(params):
            outputs = head.apply(params, pyramid())
            return sum(map(value, head.loss(outputs, targets).values())), outputs

        (total, outputs), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return total, gradients, head.detect(outputs)

    return once(variables(head), instances(head))


# Each row combines fields whose code does not meet, so that few programs are compiled.
@pytest.mark.parametrize(
    "head",
    [
        SOLO_HEAD.clone(
            coord_convs=2,
            grid=Grid(**{**vars(GRID), "alignment": "region_grid"}),
            objective=Objective(mask_loss="bce"),
            selection=Selection(**{**vars(SELECTION), "nms": "hard", "points_nms": False}),
        ),
        DECOUPLED.clone(
            shared_trunk=True,
            coord_convs=0,
            deform="v1",
            grid=Grid(**{**vars(GRID), "alignment": "adaptive_pool"}),
            objective=Objective(mask_loss="focal"),
            selection=Selection(**{**vars(SELECTION), "nms": "soft", "nms_kernel": "linear"}),
        ),
        SOLOV2.clone(
            kernel_size=3,
            features="separate",
            collisions="last",
            kernel_coordinates=False,
            selection=Selection(**{**vars(SELECTION), "nms": "fast"}),
        ),
        SOLOV2.clone(
            deform="v2",
            deform_convs="all",
            deform_mask_features=True,
            feature_coordinates=False,
            selection=Selection(**{**vars(SELECTION), "nms_kernel": "linear"}),
        ),
    ],
    ids=["solo", "decoupled", "solov2-separate", "solov2-deform"],
)
def test_every_parameter_learns_and_something_is_found(head):
    total, gradients, detections = run(head)
    assert np.isfinite(total)
    for path, gradient in traverse_util.flatten_dict(gradients["params"]).items():
        assert np.isfinite(gradient).all() and np.any(gradient), path
    assert detections.masks.shape[2:] == (16, 24)
    assert detections.valid.any() and np.isfinite(detections.scores).all()


@pytest.mark.parametrize("coord_convs", [0, 1, 2])
def test_coord_convs_is_how_many_convolutions_are_given_coordinates(coord_convs):
    found = shapes(SOLO_HEAD.clone(coord_convs=coord_convs))
    inputs = [found[f"mask_trunk/conv_{i}/conv/kernel"][2] for i in range(2)]
    assert inputs == [8 + 2 * (i < coord_convs) for i in range(2)]
    assert found["category_trunk/conv_0/conv/kernel"][2] == 8


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("feature", [False, True])
def test_coordinates_of_kernels_and_features_are_two_fields(kernel, feature):
    found = shapes(SOLOV2.clone(kernel_coordinates=kernel, feature_coordinates=feature))
    assert found["kernel_trunk/conv_0/conv/kernel"][2] == 8 + 2 * kernel
    assert found["category_trunk/conv_0/conv/kernel"][2] == 8
    assert found["mask_features/p4_0/conv/kernel"][2] == 8 + 2 * feature
    assert found["mask_features/p2_0/conv/kernel"][2] == 8


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("head", [SOLO_HEAD, DECOUPLED, SOLOV2])
def test_depth_is_the_number_of_convolutions_of_every_trunk(head, depth):
    found = shapes(head.clone(depth=depth))
    trunks = {name.split("/")[0] for name in found if "trunk/" in name}
    assert len(trunks) >= 2
    for trunk in trunks:
        assert sum(name.startswith(trunk) and "norm/scale" in name for name in found) == depth


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("width", [4, 12])
def test_dynamic_kernels_have_the_size_and_width_asked_for(size, width):
    found = shapes(SOLOV2.clone(kernel_size=size, kernel_width=width))
    assert found["kernel_predictor/kernel"] == (3, 3, 8, width * size * size)
    assert found["mask_features/fuse/conv/kernel"] == (1, 1, 12, width)


def test_separate_mask_features_have_seven_convolutions_and_half_a_levels_stride():
    head = SOLOV2.clone(features="separate")
    found = shapes(head)
    assert sum("mask_features/trunk" in name and "norm/scale" in name for name in found) == 7
    assert (head.mask_strides, SOLOV2.mask_strides) == ((4, 8), (4,))
    outputs = jax.eval_shape(head.init_with_output, jax.random.key(0), pyramid())[0]
    assert [x.shape for x in outputs.mask_features] == [(2, 16, 24, 8), (2, 8, 12, 8)]


@pytest.mark.parametrize("convs", ["last", "all"])
@pytest.mark.parametrize("head", [SOLO_HEAD, DECOUPLED, SOLOV2])
def test_deformable_convolutions_stand_where_asked(head, convs):
    found = shapes(head.clone(deform="v2", deform_convs=convs))
    trunks = {name.split("/")[0] for name in found if "trunk/" in name}
    deformed = {name.split("/conv/")[0] for name in found if "offset" in name}
    wanted = range(2) if convs == "all" else range(1, 2)
    assert deformed == {f"{trunk}/conv_{i}" for trunk in trunks for i in wanted}
    name = f"{min(trunks)}/conv_1/conv/offset/kernel"
    assert found[name] == (3, 3, 8, 27)
    assert shapes(head.clone(deform="v1", deform_convs=convs))[name] == (3, 3, 8, 18)


def test_deformable_mask_features_include_the_fusing_1x1():
    head = SOLOV2.clone(deform="v2", deform_mask_features=True)
    assert shapes(head)["mask_features/fuse/conv/offset/kernel"] == (1, 1, 12, 3)
    assert not any(
        "mask_features" in n and "offset" in n for n in shapes(SOLOV2.clone(deform="v2"))
    )


def test_alignments_agree_on_a_constant_map_and_differ_on_noise():
    def logits(alignment: str, features: Any) -> np.ndarray:
        head = SOLO_HEAD.clone(grid=Grid(**{**vars(GRID), "alignment": alignment}))
        outputs = jax.jit(head.apply)(variables(SOLO_HEAD), features)
        return np.asarray(flatten(outputs.category_logits))

    constant = jax.tree.map(lambda x: jnp.ones_like(x) * x[:1, :1, :1], pyramid())
    expected, noise = logits("bilinear", constant), logits("bilinear", pyramid())
    for alignment in ("adaptive_pool", "region_grid"):
        np.testing.assert_allclose(logits(alignment, constant), expected, atol=1e-4)
        assert np.abs(logits(alignment, pyramid()) - noise).max() > 1e-2


@pytest.mark.parametrize(("kind", "weight"), [("dice", 3), ("focal", 20), ("bce", 10)])
def test_mask_losses_bear_their_published_weights(kind, weight):
    targets = jax.jit(SOLO_HEAD.targets)(instances(SOLO_HEAD), jax.random.key(0))
    rng = np.random.default_rng(2)
    mask_logits = [jnp.asarray(rng.normal(0, 2, m.shape), jnp.float32) for m in targets.masks]
    category = {"p2": jnp.zeros((2, 4, 4, 3)), "p4": jnp.zeros((2, 3, 3, 3))}
    each = [
        float(losses.mask_losses(logits[b, k], masks[b, k], kind))
        for logits, masks, positives in zip(
            mask_logits, targets.masks, targets.cells.positives, strict=True
        )
        for b, k in zip(*np.nonzero(positives.valid), strict=True)
    ]
    found = loss_terms(Objective(mask_loss=kind), category, mask_logits, targets)["mask"]
    np.testing.assert_allclose(value(found), weight * np.mean(each), rtol=1e-5)
    heavy = Objective(mask_loss=kind, mask_weight=1.5)
    found = loss_terms(heavy, category, mask_logits, targets)["mask"]
    np.testing.assert_allclose(value(found), 1.5 * np.mean(each), rtol=1e-5)


def test_the_single_level_model_needs_no_other_level():
    model = Detector(
        backbone=ResNet(18, width=8, norm="group", norm_groups=4, frozen_stages=0),
        neck=SingleLevel(8),
        head=SOLO_HEAD.clone(
            grid=Grid(levels=("p3",), strides=(8,), sizes=(12,), scale_ranges=((1, 2048),))
        ),
    )
    image = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    outputs, tree = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert outputs.category_logits["p3"].shape == (2, 12, 12, 3)
    assert outputs.mask_features["p3"].shape == (2, 16, 24, 8)
    assert outputs.mask_kernels.shape == (144, 8)
    assert set(tree["params"]["neck"]) == {"lateral_c3", "lateral_c4", "lateral_c5", "output_p3"}
    targets = jax.jit(model.head.targets)(instances(model.head), jax.random.key(0))
    assert [m.shape[2:] for m in targets.masks] == [(16, 24)]
    assert targets.cells.positives[0].valid.any(1).all()
    assert jax.eval_shape(model.head.detect, outputs).masks.shape == (2, 60, 16, 24)


@pytest.mark.parametrize(
    ("fields", "suppress"),
    [
        ({"nms": "matrix"}, lambda *x: nms.matrix_nms(*x, kernel="gaussian", sigma=2.0)),
        ({"nms": "matrix", "nms_kernel": "linear"}, lambda *x: nms.matrix_nms(*x, kernel="linear")),
        ({"nms": "soft", "nms_sigma": 3.0}, lambda *x: nms.soft_nms(*x, sigma=3.0)),
        ({"nms": "hard"}, nms.hard_nms),
        ({"nms": "hard", "nms_iou_threshold": 0.2}, lambda *x: nms.hard_nms(*x, iou_threshold=0.2)),
        ({"nms": "fast", "nms_iou_threshold": 0.2}, lambda *x: nms.fast_nms(*x, iou_threshold=0.2)),
    ],
)
def test_the_nms_is_the_one_asked_for(fields, suppress):
    outputs = jax.jit(SOLOV2.apply)(variables(SOLOV2), pyramid())
    settings = {**vars(SELECTION), "final_threshold": 0.0, **fields}
    # Without suppression, to have the candidates.
    none = SOLOV2.clone(
        selection=Selection(**{**settings, "nms": "hard", "nms_iou_threshold": 1.0})
    )
    candidates = jax.jit(none.detect)(outputs)
    found = jax.jit(SOLOV2.clone(selection=Selection(**settings)).detect)(outputs)
    for b in range(2):
        count = int(candidates.valid[b].sum())
        assert count > 10
        scores = suppress(
            candidates.masks[b, :count] > 0.5,
            candidates.labels[b, :count],
            candidates.scores[b, :count],
        )
        expected = np.sort(np.asarray(scores))[::-1]
        np.testing.assert_allclose(found.scores[b, :count], np.maximum(expected, 0), atol=1e-6)


def test_points_nms_can_be_left_out():
    logits = {
        "p2": jnp.full((1, 4, 4, 3), -9.0).at[0, 1:3, 1:3, 0].set(jnp.array([[2.0, 1], [1, 0]]))
    }
    logits["p4"] = jnp.full((1, 3, 3, 3), -9.0)
    outputs = jax.jit(SOLOV2.apply)(variables(SOLOV2), jax.tree.map(lambda x: x[:1], pyramid()))
    outputs = outputs._replace(category_logits=logits)

    def candidates(points_nms: bool) -> int:
        few = Selection(
            **{
                **vars(SELECTION),
                "points_nms": points_nms,
                "max_candidates": 1,
                "nms_candidates": 1,
                "max_detections": 1,
            }
        )
        return int(jax.jit(SOLOV2.clone(selection=few).detect)(outputs).overflow[0]) + 1

    assert (candidates(True), candidates(False)) == (1, 4)
