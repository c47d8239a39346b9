"""Parity with the recorded tiny SOLO, from image to masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import convert
from solojax.heads.selection import Selection
from solojax.heads.solo import SOLO
from tests.heads import recorded
from tests.heads.recorded import nhwc, value

HEAD = SOLO(
    num_classes=5,
    grid=recorded.GRID,
    width=20,
    groups=4,
    selection=Selection(nms_candidates=40, max_detections=15),
)
MODEL = recorded.detector(HEAD)


@pytest.fixture(scope="module")
def variables(tiny_solo):
    return convert.load_state_dict(recorded.state_dict(tiny_solo), MODEL)


@pytest.fixture(scope="module")
def image(tiny_solo):
    return jnp.asarray(nhwc(tiny_solo["img"]))


@pytest.fixture(scope="module")
def outputs(variables, image):
    return jax.jit(MODEL.apply)(variables, image)


@pytest.fixture(scope="module")
def instances(tiny_solo):
    return recorded.instances(tiny_solo, HEAD.mask_strides)


@pytest.fixture(scope="module")
def targets(instances):
    return jax.jit(HEAD.targets)(instances, jax.random.key(0))


def test_category_logits_equal_the_recorded_ones(tiny_solo, outputs):
    for i, logits in enumerate(outputs.category_logits.values()):
        recorded.check_channels(tiny_solo, f"train/cls{i}", logits)


def test_mask_logits_of_every_cell_equal_the_recorded_channels(tiny_solo, outputs):
    for i, (start, features) in enumerate(
        zip(HEAD.grid.starts[:-1], outputs.mask_features.values(), strict=True)
    ):
        cells = slice(start, HEAD.grid.starts[i + 1])
        logits = jnp.einsum("bhwe,ke->bhwk", features, outputs.mask_kernels[cells])
        logits += outputs.mask_biases[cells][None, None, None]
        recorded.check_channels(tiny_solo, f"train/mask{i}", logits)


def test_targets_equal_the_recorded_ones_exactly(tiny_solo, targets):
    recorded.check_labels(tiny_solo, targets)
    for level, (positives, masks) in enumerate(
        zip(targets.cells.positives, targets.masks, strict=True)
    ):
        start, end = HEAD.grid.starts[level : level + 2]
        for b in range(2):
            valid = np.asarray(positives.valid[b])
            cells = np.asarray(positives.cells[b])[valid]
            order = np.argsort(cells)
            owned = np.flatnonzero(tiny_solo[f"tgt{b}/lvl{level}/pos_mask"])
            np.testing.assert_array_equal(cells[order] - start, owned)
            assert ((cells >= start) & (cells < end)).all()
            found = np.asarray(masks[b])[valid][order]
            recorded.check_mask_targets(tiny_solo, b, level, found)


def test_losses_equal_the_recorded_ones(tiny_solo, outputs, targets):
    terms = jax.jit(HEAD.loss)(outputs, targets)
    np.testing.assert_allclose(value(terms["category"]), tiny_solo["loss/loss_cls"], rtol=1e-5)
    np.testing.assert_allclose(value(terms["mask"]), tiny_solo["loss/loss_mask"], rtol=1e-5)


def test_losses_of_one_image_equal_the_recorded_ones(tiny_solo, outputs, instances):
    first = outputs._replace(
        category_logits=jax.tree.map(lambda x: x[:1], outputs.category_logits),
        mask_features=jax.tree.map(lambda x: x[:1], outputs.mask_features),
    )
    one = jax.tree.map(lambda x: x[:1], instances)
    loss = jax.jit(HEAD.loss)
    terms = loss(first, HEAD.targets(one, jax.random.key(0)))
    expected = tiny_solo["loss_img0/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    expected = tiny_solo["loss_img0/loss_mask"]
    np.testing.assert_allclose(value(terms["mask"]), expected, rtol=1e-5)

    nothing = HEAD.targets(recorded.no_instances(instances), jax.random.key(0))
    terms = loss(first, nothing)
    expected = tiny_solo["loss_nogt/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    assert value(terms["mask"]) == tiny_solo["loss_nogt/loss_mask"] == 0


@pytest.mark.slow
def test_gradients_equal_the_recorded_ones(tiny_solo, variables, image, targets):
    recorded.check_gradients(tiny_solo, MODEL, variables, image, targets)


@pytest.mark.slow
def test_five_steps_of_sgd_follow_the_recorded_ones(tiny_solo, variables, image, targets):
    recorded.check_trajectory(tiny_solo, MODEL, variables, image, targets)


@pytest.fixture(scope="module")
def detections(outputs):
    return jax.jit(HEAD.detect)(outputs)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(tiny_solo, detections, b):
    recorded.check_detections(tiny_solo, detections, b)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_of_a_batch_equal_those_of_its_images(outputs, detections, b):
    recorded.check_batch_is_its_images(HEAD, outputs, detections, b)
