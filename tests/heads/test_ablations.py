"""The fields that the papers' ablations turn, each by what it changes."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax.heads.assign import Cells, Targets
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid, flatten
from solojax.heads.objective import Objective, loss_terms
from solojax.heads.selection import Selection, select
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import SingleLevel
from solojax.ops import dynamic_conv, losses, nms
from solojax.types import Detections, Instances
from tests.heads.recorded import value

GRID = Grid(levels=("p2", "p4"), strides=(8, 16), sizes=(4, 3), scale_ranges=((1, 48), (24, 200)))
ONE_LEVEL = Grid(levels=("p2",), strides=(8,), sizes=(4,), scale_ranges=((1, 2048),))
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
SEPARATE = SOLOV2.clone(
    depth=1,
    kernel_size=3,
    features="separate",
    collisions="last",
    kernel_coordinates=False,
    # Lets nearly every cell through, for its mask to be looked at.
    selection=Selection(
        **{**vars(SELECTION), "nms": "fast", "nms_iou_threshold": 1.0, "points_nms": False}
    ),
)


def pyramid() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        f"p{i}": jnp.asarray(rng.normal(0, 1, (2, 64 // 2**i, 96 // 2**i, 8)), jnp.float32)
        for i in (2, 3, 4)
    }


@functools.cache
def init_shapes(head: Any) -> Any:
    return jax.eval_shape(head.init, jax.random.key(0), pyramid())


def shapes(head: Any) -> dict[str, tuple[int, ...]]:
    """Name of each parameter -> its shape."""
    params = init_shapes(head)["params"]
    return {"/".join(path): x.shape for path, x in traverse_util.flatten_dict(params).items()}


def noise(tree: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), tree)


def variables(head: Any) -> Any:
    return noise(init_shapes(head))


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


def run(model: Any, head: Any, params: Any, inputs: Any) -> tuple[float, Any, Any, Detections]:
    """Loss, gradients of all parameters, outputs and detections of a head or a whole detector."""

    @jax.jit
    def once(params, inputs, given):
        targets = head.targets(given, jax.random.key(0))

        def loss(params):
            outputs = model.apply(params, inputs)
            return sum(map(value, head.loss(outputs, targets).values())), outputs

        (total, outputs), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return total, gradients, outputs, head.detect(outputs)

    return once(params, inputs, instances(head))


@functools.cache
def run_head(head: Any) -> tuple[float, Any, Any, Detections]:
    return run(head, head, variables(head), pyramid())


def check_all_learn(gradients: Any) -> None:
    for path, gradient in traverse_util.flatten_dict(gradients["params"]).items():
        assert np.isfinite(gradient).all() and np.any(gradient), path


# Each row combines fields whose code does not meet, so that few programs are compiled, and small
# ones: of one level where a second adds nothing.
@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        SOLO_HEAD.clone(
            depth=1,
            grid=Grid(**{**vars(ONE_LEVEL), "alignment": "region_grid"}),
            objective=Objective(mask_loss="bce"),
            selection=Selection(**{**vars(SELECTION), "nms": "hard", "points_nms": False}),
        ),
        DECOUPLED.clone(
            shared_trunk=True,
            coord_convs=0,
            depth=1,
            deform="v1",
            grid=Grid(**{**vars(ONE_LEVEL), "alignment": "adaptive_pool"}),
            objective=Objective(mask_loss="focal"),
            selection=Selection(**{**vars(SELECTION), "nms": "soft", "nms_kernel": "linear"}),
        ),
        SEPARATE,
        SOLOV2.clone(
            depth=1,
            grid=ONE_LEVEL,
            mask_levels=("p2",),
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
    total, gradients, _, detections = run_head(head)
    assert np.isfinite(total)
    check_all_learn(gradients)
    assert detections.masks.shape[2:] == (16, 24)
    assert detections.valid.any() and np.isfinite(detections.scores).all()


@pytest.mark.parametrize("coord_convs", [0, 1, 2])
def test_coord_convs_is_how_many_convolutions_are_given_coordinates(coord_convs):
    found = shapes(SOLO_HEAD.clone(coord_convs=coord_convs))
    inputs = [found[f"mask_trunk/conv_{i}/conv/kernel"][2] for i in range(2)]
    assert inputs == [8 + 2 * (i < coord_convs) for i in range(2)]
    assert found["category_trunk/conv_0/conv/kernel"][2] == 8


@pytest.mark.parametrize("coord_convs", [0, 1, 2])
def test_coord_convs_counts_in_each_of_the_trunks_of_decoupled_solo(coord_convs):
    def inputs(head: DecoupledSOLO) -> dict[str, list[int]]:
        found = shapes(head.clone(coord_convs=coord_convs))
        return {
            trunk: [found[f"{trunk}/conv_{i}/conv/kernel"][2] for i in range(2)]
            for trunk in {name.split("/")[0] for name in found if "trunk/" in name}
        }

    one, both = ([8 + each * (i < coord_convs) for i in range(2)] for each in (1, 2))
    assert inputs(DECOUPLED) == {"x_trunk": one, "y_trunk": one, "category_trunk": [8, 8]}
    light = inputs(DECOUPLED.clone(shared_trunk=True))
    assert light == {"mask_trunk": both, "category_trunk": [8, 8]}


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("feature", [False, True])
def test_coordinates_of_kernels_and_features_are_two_fields(kernel, feature):
    found = shapes(SOLOV2.clone(kernel_coordinates=kernel, feature_coordinates=feature))
    assert found["kernel_trunk/conv_0/conv/kernel"][2] == 8 + 2 * kernel
    assert found["category_trunk/conv_0/conv/kernel"][2] == 8
    assert found["mask_features/p4_0/conv/kernel"][2] == 8 + 2 * feature
    assert found["mask_features/p2_0/conv/kernel"][2] == 8
    separate = SEPARATE.clone(kernel_coordinates=kernel, feature_coordinates=feature)
    found = shapes(separate)
    assert found["kernel_trunk/conv_0/conv/kernel"][2] == 8 + 2 * kernel
    assert found["mask_features/trunk/conv_0/conv/kernel"][2] == 8 + 2 * feature
    assert found["mask_features/trunk/conv_1/conv/kernel"][2] == 12


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


@pytest.mark.slow
def test_masks_of_3x3_kernels_on_separate_features_are_cut_from_the_features_of_their_level():
    _, _, outputs, found = run_head(SEPARATE)

    @jax.jit
    def soft_masks(outputs):
        levels = []
        for kernels, features in zip(
            outputs.mask_kernels.values(), outputs.mask_features, strict=True
        ):
            cells = kernels.reshape(2, -1, kernels.shape[-1])
            masks = jax.vmap(lambda x, k: dynamic_conv.dynamic_conv(x, k, 3))(features, cells)
            levels.append(
                jax.image.resize(
                    jax.nn.sigmoid(masks), (*masks.shape[:2], 16, 24), "bilinear", antialias=False
                )
            )
        return jnp.concatenate(levels, axis=1)

    soft = np.asarray(soft_masks(outputs))
    assert soft.shape == (2, 16 + 9, 16, 24)
    cells = set()
    for b in range(2):
        for k in np.flatnonzero(found.valid[b]):
            distances = np.abs(soft[b] - np.asarray(found.masks[b, k])).max((1, 2))
            cells.add(int(distances.argmin()))
            assert distances.min() < 1e-5
            probability = jax.nn.sigmoid(flatten(outputs.category_logits))[b, distances.argmin()]
            assert found.scores[b, k] <= probability[found.labels[b, k]] + 1e-6
    assert cells == set(range(16 + 9))


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


@pytest.mark.parametrize("head", [SOLO_HEAD, DECOUPLED, SOLOV2])
def test_deformable_convolutions_have_a_bias_where_asked_and_no_others_do(head):
    settings = {"deform": "v2"} | ({"deform_mask_features": True} if head is SOLOV2 else {})
    plain = shapes(head.clone(**settings))
    more = shapes(head.clone(**settings, deform_bias=True))
    deformed = {name.removesuffix("/offset/bias") for name in plain if name.endswith("offset/bias")}
    added = {name: shape for name, shape in more.items() if name not in plain}
    assert added == {f"{name}/bias": plain[f"{name}/kernel"][-1:] for name in deformed}


def test_deformable_mask_features_include_the_fusing_1x1():
    head = SOLOV2.clone(deform="v2", deform_mask_features=True)
    assert shapes(head)["mask_features/fuse/conv/offset/kernel"] == (1, 1, 12, 3)
    assert not any(
        "mask_features" in n and "offset" in n for n in shapes(SOLOV2.clone(deform="v2"))
    )


def test_alignments_agree_on_a_constant_map_and_differ_on_noise():
    given = variables(SOLO_HEAD)
    # The second image of the batch is constant.
    features = {name: x.at[1].set(x[0, :1, :1]) for name, x in pyramid().items()}

    def logits(alignment: str) -> np.ndarray:
        head = SOLO_HEAD.clone(grid=Grid(**{**vars(GRID), "alignment": alignment}))
        predict = jax.jit(lambda *x: flatten(head.apply(*x).category_logits))
        return np.asarray(predict(given, features))

    noise, constant = logits("bilinear")
    for alignment in ("adaptive_pool", "region_grid"):
        found = logits(alignment)
        np.testing.assert_allclose(found[1], constant, atol=1e-4)
        assert np.abs(found[0] - noise).max() > 1e-2


@functools.cache
def targets_of_solo() -> Targets:
    return jax.jit(SOLO_HEAD.targets)(instances(SOLO_HEAD), jax.random.key(0))


@pytest.mark.parametrize(("kind", "weight"), [("dice", 3), ("focal", 20), ("bce", 10)])
def test_mask_losses_bear_their_published_weights(kind, weight):
    mask_losses = jax.jit(losses.mask_losses, static_argnums=2)
    targets = targets_of_solo()
    rng = np.random.default_rng(2)
    mask_logits = [rng.normal(0, 2, m.shape).astype(np.float32) for m in targets.masks]
    category = {"p2": jnp.zeros((2, 4, 4, 3)), "p4": jnp.zeros((2, 3, 3, 3))}
    each = [
        float(mask_losses(logits[b, k], np.asarray(masks)[b, k], kind))
        for logits, masks, positives in zip(
            mask_logits, targets.masks, targets.cells.positives, strict=True
        )
        for b, k in zip(*np.nonzero(positives.valid), strict=True)
    ]
    terms = jax.jit(loss_terms, static_argnums=0)
    found = terms(Objective(mask_loss=kind), category, mask_logits, targets)["mask"]
    np.testing.assert_allclose(value(found), weight * np.mean(each), rtol=1e-5)
    heavy = Objective(mask_loss=kind, mask_weight=1.5)
    found = terms(heavy, category, mask_logits, targets)["mask"]
    np.testing.assert_allclose(value(found), 1.5 * np.mean(each), rtol=1e-5)


@pytest.mark.parametrize(
    ("weight", "alpha", "gamma"),
    [(1.0, 0.25, 2.0), (2.5, 0.25, 2.0), (1.0, 0.7, 2.0), (1.0, 0.25, 0.5)],
)
def test_the_category_term_is_the_focal_loss_with_the_weight_alpha_and_gamma_asked_for(
    weight, alpha, gamma
):
    objective = Objective(category_weight=weight, focal_alpha=alpha, focal_gamma=gamma)
    logits = np.random.default_rng(3).normal(0, 2, (1, 2, 2, 3)).astype(np.float32)
    none = jnp.zeros((1, 1, 1), bool)
    cells = Cells(
        labels=jnp.array([[2, 3, 3, 0]]),  # 3: nothing is there
        owners=jnp.array([[0, -1, -1, 1]]),
        positives=(),
        dropped=jnp.zeros(1, jnp.int32),
        assigned=none,
        lost=none,
    )
    terms = loss_terms(objective, {"p2": jnp.asarray(logits)}, [], Targets(cells, (), {}))
    p = 1 / (1 + np.exp(-logits.reshape(4, 3).astype(np.float64)))
    positive = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    costs = np.where(
        positive,
        -alpha * (1 - p) ** gamma * np.log(p),
        -(1 - alpha) * p**gamma * np.log(1 - p),
    )
    # The mean over the two cells that own an instance, and one.
    np.testing.assert_allclose(value(terms["category"]), weight * costs.sum() / 3, rtol=1e-5)


class Shrunk(nn.Module):
    """In the place of a backbone: the images themselves at the strides of its levels."""

    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        return {f"c{i}": images[:, :: 2**i, :: 2**i] for i in (2, 3, 4, 5)}


@pytest.mark.slow
def test_the_single_level_model_learns_and_finds_with_p3_alone():
    model = Detector(
        backbone=Shrunk(),
        neck=SingleLevel(8),
        head=SOLO_HEAD.clone(
            depth=1,
            grid=Grid(levels=("p3",), strides=(8,), sizes=(12,), scale_ranges=((1, 2048),)),
        ),
    )
    image = jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 64, 96, 3)), jnp.float32)
    given = noise(jax.eval_shape(model.init, jax.random.key(0), image))
    total, gradients, outputs, detections = run(model, model.head, given, image)
    assert np.isfinite(total)
    check_all_learn(gradients)
    neck = gradients["params"]["neck"]
    assert set(neck) == {"lateral_c3", "lateral_c4", "lateral_c5", "output_p3"}
    assert outputs.category_logits["p3"].shape == (2, 12, 12, 3)
    assert outputs.mask_features["p3"].shape == (2, 16, 24, 8)
    assert outputs.mask_kernels.shape == (144, 8)
    assert detections.masks.shape == (2, 60, 16, 24)
    assert detections.valid.any(1).all() and np.isfinite(detections.scores).all()


def find(scores: np.ndarray, masks: np.ndarray, **fields: Any) -> Detections:
    """What ``select`` makes of the scores of the cells of one image, and of the cells' masks."""
    selection = Selection(**{"points_nms": False, **fields})
    cells, side = len(scores), math.isqrt(len(scores))
    grid = Grid(levels=("p2",), strides=(8,), sizes=(side,), scale_ranges=((1, 2048),))
    p = np.float32(scores).reshape(1, side, side, -1)
    soft = jnp.asarray(np.stack(masks)[None], jnp.float32)
    assert soft.shape[1] == cells

    @jax.jit
    def run(logits: jax.Array, soft: jax.Array) -> Detections:
        return select(selection, grid, {"p2": logits}, soft, lambda one, cells: one[cells])

    return run(np.log(p / (1 - p)), soft)


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
    rng = np.random.default_rng(0)
    masks = np.zeros((9, 16, 16), bool)
    for mask, top, left in zip(masks, *rng.integers(0, 7, (2, 9)), strict=True):
        mask[top : top + 9, left : left + 9] = True
    scores = rng.uniform(0.2, 0.9, (9, 2)).astype(np.float32)
    found = find(scores, masks, final_threshold=0.0, **fields)
    cells, labels = np.divmod(np.arange(scores.size), 2)
    expected = np.asarray(suppress(jnp.asarray(masks[cells]), labels, scores.ravel()))
    assert (expected < 0.9 * scores.ravel()).sum() > 3
    np.testing.assert_allclose(found.scores[0], np.sort(expected)[::-1], atol=1e-6)


def test_points_nms_can_be_left_out():
    scores = np.full((16, 1), 1e-4)
    scores[[5, 6, 9, 10], 0] = 0.9, 0.7, 0.7, 0.5

    def candidates(points_nms: bool) -> int:
        caps = {"max_candidates": 1, "nms_candidates": 1, "max_detections": 1}
        found = find(scores, np.ones((16, 4, 4)), points_nms=points_nms, **caps)
        return int(found.overflow[0]) + 1

    assert (candidates(True), candidates(False)) == (1, 4)


def test_nothing_found_is_zero_rows_of_the_same_shape():
    caps = {"max_candidates": 8, "nms_candidates": 6, "max_detections": 5}
    found = find(np.full((4, 2), 1e-9), np.ones((4, 16, 16)), **caps)
    assert found.masks.shape == (1, 5, 16, 16)
    assert not found.valid.any() and (found.scores == 0).all()


def stripe(first: int, probability: float) -> np.ndarray:
    """A mask of 16 x 16 with two rows, 32 pixels, of a probability."""
    mask = np.zeros((16, 16))
    mask[first : first + 2] = probability
    return mask


@pytest.mark.parametrize(
    ("mask_threshold", "score"),
    [
        (0.3, 0.5 * 0.65),  # both stripes: the mean of 0.9 and 0.4
        (0.5, 0.5 * 0.9),
        (0.9, 0.0),  # above it, not at it, and nothing is
    ],
)
def test_pixels_above_the_mask_threshold_make_the_mask_and_its_maskness(mask_threshold, score):
    mask = np.float32(stripe(0, 0.9) + stripe(2, 0.4))
    found = find(
        [[0.5], [0.01], [0.01], [0.01]],
        [mask] * 4,
        mask_threshold=float(np.float32(mask_threshold)),
    )
    np.testing.assert_allclose(found.scores[0], [score, 0, 0, 0], atol=1e-6)
    assert found.valid[0].tolist() == [score > 0, False, False, False]


@pytest.mark.parametrize(
    ("final_threshold", "count"), [(0.0, 4), (0.05, 4), (0.11, 3), (0.2, 2), (0.7, 1), (0.9, 0)]
)
def test_what_scores_below_the_final_threshold_after_the_nms_is_left_out(final_threshold, count):
    # The third lies on the first: Matrix NMS multiplies it by exp(-2).
    masks = [stripe(first, 1.0) for first in (0, 4, 0, 8)]
    found = find([[0.8], [0.6], [0.75], [0.12]], masks, final_threshold=final_threshold)
    expected = np.array([0.8, 0.6, 0.12, 0.75 * np.exp(-2)])
    expected = np.sort(np.where(expected >= final_threshold, expected, 0))[::-1]
    assert int(found.valid.sum()) == np.count_nonzero(expected) == count
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-5)
