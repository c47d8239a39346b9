"""Parity with the recorded tiny SOLOv2, from image to masks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from solojax import convert
from solojax.config import Optimizer
from solojax.data import transforms
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.ops import masks
from solojax.training import optimizer
from solojax.types import InputError, Instances, Mean

MODEL = Detector(
    backbone=ResNet(50, width=8),
    neck=FPN(16),
    head=SOLOv2(
        num_classes=5,
        grid_sizes=(12, 10, 8, 6, 4),
        scale_ranges=((1, 24), (12, 48), (24, 96), (48, 192), (96, 512)),
        width=20,
        kernel_width=8,
        mask_feature_width=12,
        groups=4,
        nms_candidates=40,
        max_detections=15,
    ),
)
HEAD = MODEL.head
CANVAS = (128, 160)
# Two targets of image 0 share a cell with others: the authors average over the 61 targets, the
# recorded program over the 55 distinct cells.
TARGETS, DISTINCT_CELLS = 61, 55


def nhwc(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def variables(tiny_solov2):
    prefix = "params/"
    named = {k.removeprefix(prefix): v for k, v in tiny_solov2.items() if k.startswith(prefix)}
    return convert.load_state_dict(named, MODEL)


@pytest.fixture(scope="module")
def image(tiny_solov2):
    return jnp.asarray(nhwc(tiny_solov2["img"]))


@pytest.fixture(scope="module")
def outputs(variables, image):
    return jax.jit(MODEL.apply)(variables, image)


@pytest.fixture(scope="module")
def instances(tiny_solov2) -> Instances:
    """The recorded ground truth through our own pipeline's functions."""
    each = []
    for b in range(2):
        size = tuple(int(side) for side in tiny_solov2["meta/img_shape"][b])
        placed, dropped = transforms.place_instances(
            tiny_solov2[f"gt{b}/masks"],
            tiny_solov2[f"gt{b}/bboxes"],
            tiny_solov2[f"gt{b}/labels"],
            transforms.Placement(size, size),
            CANVAS,
            max_instances=8,
        )
        assert not dropped
        each.append(placed)
    return Instances(*(jnp.stack(parts) for parts in zip(*each, strict=True)))


@pytest.fixture(scope="module")
def targets(instances):
    return jax.jit(HEAD.targets)(instances, jax.random.key(0))


def test_backbone_and_neck_equal_the_recorded_features(tiny_solov2, variables, image):
    _, state = jax.jit(lambda v, x: MODEL.apply(v, x, capture_intermediates=True))(variables, image)
    found = state["intermediates"]
    for i, level in enumerate(("c2", "c3", "c4", "c5")):
        features = found["backbone"]["__call__"][0][level]
        expected = nhwc(tiny_solov2[f"feat/backbone{i}"])
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    for i, level in enumerate(("p2", "p3", "p4", "p5", "p6")):
        features = found["neck"]["__call__"][0][level]
        expected = nhwc(tiny_solov2[f"feat/fpn{i}"])
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_head_outputs_equal_the_recorded_ones(tiny_solov2, outputs):
    for i, level in enumerate(HEAD.levels):
        for found, name in (
            (outputs.category_logits[level], f"train/cls{i}"),
            (outputs.mask_kernels[level], f"train/kernel{i}"),
        ):
            np.testing.assert_allclose(found, nhwc(tiny_solov2[name]), rtol=1e-4, atol=1e-4)
    expected = nhwc(tiny_solov2["train/mask_feats"])
    np.testing.assert_allclose(outputs.mask_features, expected, rtol=1e-4, atol=1e-4)


def test_targets_equal_the_recorded_ones_exactly(tiny_solov2, targets):
    first = 0
    for level, side in enumerate(HEAD.grid_sizes):
        for b in range(2):
            recorded = {
                name: tiny_solov2[f"tgt{b}/lvl{level}/{name}"]
                for name in ("labels", "pos_index", "mask_targets", "mask_targets_shape")
            }
            labels = np.asarray(targets.cells.labels[b, first : first + side**2])
            np.testing.assert_array_equal(labels.reshape(side, side), recorded["labels"])
            cells = np.asarray(targets.cells.cells[b])
            here = np.asarray(targets.cells.valid[b]) & (cells >= first)
            here &= cells < first + side**2
            # The recorded order is by instance, then cell; a cap's random choice shuffles ours.
            order = np.lexsort((cells[here], np.asarray(targets.cells.instances[b])[here]))
            np.testing.assert_array_equal(cells[here][order] - first, recorded["pos_index"])
            count, _, width = recorded["mask_targets_shape"]
            expected = np.unpackbits(recorded["mask_targets"], axis=-1)[..., :width]
            found = np.asarray(targets.masks[b])[here][order]
            assert len(found) == count
            np.testing.assert_array_equal(found, expected)
        first += side**2


def value(term: Mean, count: float | None = None) -> jax.Array:
    return term.total / jnp.maximum((count or term.count) + term.prior, 1)


def test_losses_equal_the_recorded_ones(tiny_solov2, outputs, targets):
    terms = HEAD.loss(outputs, targets)
    np.testing.assert_allclose(value(terms["category"]), tiny_solov2["loss/loss_cls"], rtol=1e-5)
    assert terms["mask"].count == TARGETS and terms["category"].count == DISTINCT_CELLS
    np.testing.assert_allclose(
        value(terms["mask"], DISTINCT_CELLS), tiny_solov2["loss/loss_mask"], rtol=1e-5
    )


def test_losses_of_one_image_equal_the_recorded_ones(tiny_solov2, outputs, targets):
    terms = HEAD.loss(*jax.tree.map(lambda x: x[:1], (outputs, targets)))
    expected = tiny_solov2["loss_img0/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    distinct = float(terms["category"].count)
    expected = tiny_solov2["loss_img0/loss_mask"]
    np.testing.assert_allclose(value(terms["mask"], distinct), expected, rtol=1e-5)


def test_an_image_without_instances_has_a_category_loss_and_finite_gradients(
    tiny_solov2, outputs, instances
):
    nothing = jax.tree.map(lambda x: x[:1], instances)
    nothing = nothing._replace(valid=jnp.zeros_like(nothing.valid))
    targets = HEAD.targets(nothing, jax.random.key(0))

    def loss(outputs):
        terms = HEAD.loss(outputs, targets)
        return value(terms["category"]) + value(terms["mask"]), terms

    first = jax.tree.map(lambda x: x[:1], outputs)
    gradients, terms = jax.jit(jax.grad(loss, has_aux=True))(first)
    expected = tiny_solov2["loss_nogt/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    assert value(terms["mask"]) == tiny_solov2["loss_nogt/loss_mask"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_five_steps_of_sgd_follow_the_recorded_trajectory(tiny_solov2, variables, image, targets):
    published = Optimizer(
        learning_rate=0.01, base_batch_size=2, warmup_steps=0, drop_epochs=(1000,), clip_norm=35
    )
    schedule = optimizer.make_schedule(published, batch_size=2, steps=5, steps_per_epoch=1)
    tx = optimizer.make_optimizer(published, schedule, MODEL)

    @jax.jit
    def step(params, opt_state):
        def loss(params):
            terms = HEAD.loss(MODEL.apply({**variables, "params": params}, image), targets)
            parts = value(terms["mask"], DISTINCT_CELLS), value(terms["category"])
            return sum(parts), parts

        gradients, parts = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, (*parts, optax.tree.norm(gradients)), gradients

    params, opt_state, rows = variables["params"], tx.init(variables["params"]), []
    for number in range(5):
        params, opt_state, row, gradients = step(params, opt_state)
        rows.append([float(x) for x in row])
        if number == 0:
            check_gradients(tiny_solov2, gradients)
    # Rounding differences grow about threefold a step on their way through the ReLUs.
    np.testing.assert_allclose(rows[:3], tiny_solov2["traj"][:3], rtol=1e-4)
    np.testing.assert_allclose(rows[3:], tiny_solov2["traj"][3:], rtol=1e-3)
    for name in ("conv1", "bn1", "layer1_0"):
        jax.tree.map(
            np.testing.assert_array_equal,
            params["backbone"][name],
            variables["params"]["backbone"][name],
        )


def check_gradients(tiny_solov2, gradients):
    """Every recorded gradient to a relative norm of 1e-4; those not recorded are frozen: zero."""
    names = {k: v for k, v in tiny_solov2.items() if k.startswith("params/")}
    # Through the converter, so that names and layouts are those of the parameters.
    recorded = {
        name.removeprefix("params/"): tiny_solov2.get(
            name.replace("params/", "grad/"), np.zeros_like(array)
        )
        for name, array in names.items()
    }
    expected = convert.load_state_dict(recorded, MODEL)["params"]
    flat = traverse_util.flatten_dict(expected)
    for path, found in traverse_util.flatten_dict(gradients).items():
        error = np.linalg.norm(found - flat[path])
        assert error <= 1e-4 * np.linalg.norm(flat[path]) + 1e-9, path


@pytest.fixture(scope="module")
def detections(outputs):
    return jax.jit(HEAD.detect)(outputs)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(tiny_solov2, detections, b):
    np.testing.assert_allclose(detections.scores[b], tiny_solov2[f"pred{b}/scores"], atol=1e-5)
    np.testing.assert_array_equal(detections.labels[b], tiny_solov2[f"pred{b}/labels"])
    height, width = (int(side) for side in tiny_solov2["meta/ori_shape"][b])
    packed = masks.restore(
        detections.masks[b],
        jnp.asarray(tiny_solov2["meta/img_shape"][b]),
        jnp.array([height, width]),
        output_size=(192, 256),
    )
    found = np.unpackbits(np.asarray(packed), axis=-1)[:, :height, :width]
    expected = np.unpackbits(tiny_solov2[f"pred{b}/masks"], axis=-1)[..., :width]
    assert (found == expected).mean() >= 0.999


def test_detections_of_a_batch_equal_those_of_its_images(outputs, detections):
    for b in range(2):
        single = HEAD.detect(jax.tree.map(lambda x, b=b: x[b : b + 1], outputs))
        np.testing.assert_allclose(single.scores[0], detections.scores[b], atol=1e-6)
        np.testing.assert_array_equal(single.labels[0], detections.labels[b])
        np.testing.assert_allclose(single.masks[0], detections.masks[b], atol=1e-5)


def test_an_overflow_of_candidates_is_counted(outputs, detections):
    assert (detections.overflow == 0).all()
    few = HEAD.clone(max_candidates=100).detect(outputs)
    assert (few.overflow > 0).all()
    assert few.scores.shape == detections.scores.shape


def test_nothing_found_is_zero_rows_of_the_same_shape(outputs, detections):
    silent = outputs._replace(
        category_logits=jax.tree.map(lambda x: jnp.full_like(x, -20), outputs.category_logits)
    )
    found = HEAD.detect(silent)
    assert found.masks.shape == detections.masks.shape
    assert not found.valid.any() and (found.scores == 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grid_sizes": (40, 36, 24)}, "grid_sizes has 3 entries for the 5 levels"),
        ({"width": 65}, "head.width=65 does not divide into head.groups=32"),
        ({"kernel_width": -1}, "head.kernel_width=-1"),
        ({"strides": (8, 8, 0, 32, 32)}, "level 'p4' at stride 0"),
        ({"levels": ("p2", "p3", "p4", "p5", "p9")}, "level 'p9'"),
        ({"mask_levels": ()}, "head.mask_levels"),
        ({"max_positives": 0}, "at least 1"),
        ({"grid_sizes": (0, 4, 4, 4, 4)}, "at least 1"),
        ({"max_candidates": 10}, "head.max_candidates=10 must be at least nms_candidates=500"),
    ],
)
def test_a_head_that_cannot_work_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        SOLOv2(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 42}, "ResNet depth 42 is unknown"),
        ({"frozen_stages": 5}, "frozen_stages=5 must be in 0..4"),
        ({"norm": "group", "norm_groups": 3}, "width=64 does not divide into norm_groups=3"),
    ],
)
def test_a_backbone_that_cannot_work_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        ResNet(**fields)


def test_a_state_dict_that_does_not_fit_lists_every_name(tiny_solov2):
    prefix = "params/"
    named = {k.removeprefix(prefix): v for k, v in tiny_solov2.items() if k.startswith(prefix)}
    named["mask_head.extra.weight"] = named.pop("mask_head.conv_cls.weight")
    named["backbone.conv1.weight"] = named["backbone.conv1.weight"][:4]
    with pytest.raises(InputError) as error:
        convert.load_state_dict(named, MODEL)
    for part in (
        "mask_head.extra.weight has no place",
        "backbone.conv1.weight gives (7, 7, 3, 4)",
        "params/head/category_predictor/kernel is not filled",
    ):
        assert part in str(error.value)
