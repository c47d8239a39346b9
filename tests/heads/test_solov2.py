"""Parity with the recorded tiny SOLOv2, from image to masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import convert
from solojax.heads.selection import Selection
from solojax.heads.solov2 import SOLOv2
from solojax.types import InputError
from tests.heads import recorded
from tests.heads.recorded import nhwc, value

HEAD = SOLOv2(
    num_classes=5,
    grid=recorded.GRID,
    width=20,
    kernel_width=8,
    mask_feature_width=12,
    groups=4,
    selection=Selection(nms_candidates=40, max_detections=15),
)
MODEL = recorded.detector(HEAD)
# Two targets of image 0 share a cell with others: the authors average over the 61 targets, the
# recorded program over the 55 distinct cells.
TARGETS, DISTINCT_CELLS = 61, 55


@pytest.fixture(scope="module")
def variables(tiny_solov2):
    return convert.load_state_dict(recorded.state_dict(tiny_solov2), MODEL)


@pytest.fixture(scope="module")
def image(tiny_solov2):
    return jnp.asarray(nhwc(tiny_solov2["img"]))


@pytest.fixture(scope="module")
def outputs(variables, image):
    return jax.jit(MODEL.apply)(variables, image)


@pytest.fixture(scope="module")
def instances(tiny_solov2):
    return recorded.instances(tiny_solov2, HEAD.mask_strides)


@pytest.fixture(scope="module")
def targets(instances):
    return jax.jit(HEAD.targets)(instances, jax.random.key(0))


def test_backbone_and_neck_equal_the_recorded_features(tiny_solov2, variables, image):
    _, state = jax.jit(lambda v, x: MODEL.apply(v, x, capture_intermediates=True))(variables, image)
    found = state["intermediates"]
    for i, level in enumerate(("c2", "c3", "c4", "c5")):
        features = found["backbone"]["__call__"][0][level]
        recorded.check_channels(tiny_solov2, f"feat/backbone{i}", features)
    for i, level in enumerate(("p2", "p3", "p4", "p5", "p6")):
        features = found["neck"]["__call__"][0][level]
        recorded.check_channels(tiny_solov2, f"feat/fpn{i}", features)


def test_head_outputs_equal_the_recorded_ones(tiny_solov2, outputs):
    for i, level in enumerate(HEAD.grid.levels):
        recorded.check_channels(tiny_solov2, f"train/cls{i}", outputs.category_logits[level])
        recorded.check_channels(tiny_solov2, f"train/kernel{i}", outputs.mask_kernels[level])
    recorded.check_channels(tiny_solov2, "train/mask_feats", outputs.mask_features[0])


def test_targets_equal_the_recorded_ones_exactly(tiny_solov2, targets):
    recorded.check_labels(tiny_solov2, targets)
    (positives,), (masks,) = targets.cells.positives, targets.masks
    for level, start in enumerate(HEAD.grid.starts[:-1]):
        for b in range(2):
            cells = np.asarray(positives.cells[b])
            here = np.asarray(positives.valid[b]) & (cells >= start)
            here &= cells < HEAD.grid.starts[level + 1]
            # The recorded order is by instance, then cell; a cap's random choice shuffles ours.
            order = np.lexsort((cells[here], np.asarray(positives.instances[b])[here]))
            expected = tiny_solov2[f"tgt{b}/lvl{level}/pos_index"]
            np.testing.assert_array_equal(cells[here][order] - start, expected)
            found = np.asarray(masks[b])[here][order]
            recorded.check_mask_targets(tiny_solov2, b, level, found)


def test_losses_equal_the_recorded_ones(tiny_solov2, outputs, targets):
    terms = HEAD.loss(outputs, targets)
    np.testing.assert_allclose(value(terms["category"]), tiny_solov2["loss/loss_cls"], rtol=1e-5)
    assert terms["mask"].count == TARGETS and terms["category"].count == DISTINCT_CELLS
    np.testing.assert_allclose(
        value(terms["mask"], DISTINCT_CELLS), tiny_solov2["loss/loss_mask"], rtol=1e-5
    )


def test_losses_of_one_image_equal_the_recorded_ones(tiny_solov2, outputs, instances):
    first_outputs, first = jax.tree.map(lambda x: x[:1], (outputs, instances))
    terms = HEAD.loss(first_outputs, HEAD.targets(first, jax.random.key(0)))
    expected = tiny_solov2["loss_img0/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    distinct = float(terms["category"].count)
    expected = tiny_solov2["loss_img0/loss_mask"]
    np.testing.assert_allclose(value(terms["mask"], distinct), expected, rtol=1e-5)


def test_an_image_without_instances_has_a_category_loss_and_finite_gradients(
    tiny_solov2, outputs, instances
):
    targets = HEAD.targets(recorded.no_instances(instances), jax.random.key(0))

    def loss(outputs):
        terms = HEAD.loss(outputs, targets)
        return value(terms["category"]) + value(terms["mask"]), terms

    first = jax.tree.map(lambda x: x[:1], outputs)
    gradients, terms = jax.jit(jax.grad(loss, has_aux=True))(first)
    expected = tiny_solov2["loss_nogt/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    assert value(terms["mask"]) == tiny_solov2["loss_nogt/loss_mask"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_gradients_equal_the_recorded_ones(tiny_solov2, variables, image, targets):
    recorded.check_gradients(tiny_solov2, MODEL, variables, image, targets, DISTINCT_CELLS)


@pytest.mark.slow
def test_five_steps_of_sgd_follow_the_recorded_ones(tiny_solov2, variables, image, targets):
    recorded.check_trajectory(
        tiny_solov2, MODEL, variables, image, targets, DISTINCT_CELLS, exact=2
    )


@pytest.fixture(scope="module")
def detections(outputs):
    return jax.jit(HEAD.detect)(outputs)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(tiny_solov2, detections, b):
    recorded.check_detections(tiny_solov2, detections, b)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_of_a_batch_equal_those_of_its_images(outputs, detections, b):
    recorded.check_batch_is_its_images(HEAD, outputs, detections, b)


def test_an_overflow_of_candidates_is_counted(outputs, detections):
    assert (detections.overflow == 0).all()
    few = HEAD.clone(
        selection=Selection(max_candidates=100, nms_candidates=40, max_detections=15)
    ).detect(outputs)
    assert (few.overflow > 0).all()
    assert few.scores.shape == detections.scores.shape


def test_nothing_found_is_zero_rows_of_the_same_shape(outputs, detections):
    silent = outputs._replace(
        category_logits=jax.tree.map(lambda x: jnp.full_like(x, -20), outputs.category_logits)
    )
    found = HEAD.detect(silent)
    assert found.masks.shape == detections.masks.shape
    assert not found.valid.any() and (found.scores == 0).all()


def test_a_state_dict_that_does_not_fit_lists_every_name(tiny_solov2):
    named = recorded.state_dict(tiny_solov2)
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
