"""Parity with the recorded tiny SOLO, from image to masks."""

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
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def variables(tiny_solo):
    return convert.load_state_dict(recorded.state_dict(tiny_solo), MODEL)


@pytest.fixture(scope="module")
def image(tiny_solo):
    return jnp.asarray(nhwc(tiny_solo["img"]))


@pytest.fixture(scope="module")
def instances(tiny_solo):
    return recorded.instances(tiny_solo, HEAD.mask_strides)


@pytest.fixture(scope="module")
def found(variables, image, instances):
    return recorded.run(MODEL, HEAD, variables, image, instances, gradients=False)


@pytest.fixture(scope="module")
def trajectory(variables, image, found):
    return recorded.train(MODEL, variables, image, found.targets)


@pytest.fixture(scope="module")
def alone(found, instances):
    return recorded.one_by_one(HEAD, found, instances)


def test_category_logits_equal_the_recorded_ones(tiny_solo, found):
    for i, logits in enumerate(found.outputs.category_logits.values()):
        recorded.check_channels(tiny_solo, f"train/cls{i}", logits)


def test_mask_logits_of_every_cell_equal_the_recorded_channels(tiny_solo, found):
    outputs = found.outputs
    for i, (start, features) in enumerate(
        zip(HEAD.grid.starts[:-1], outputs.mask_features.values(), strict=True)
    ):
        cells = slice(start, HEAD.grid.starts[i + 1])
        logits = jnp.einsum("bhwe,ke->bhwk", features, outputs.mask_kernels[cells])
        logits += outputs.mask_biases[cells][None, None, None]
        recorded.check_channels(tiny_solo, f"train/mask{i}", logits)


def test_targets_equal_the_recorded_ones_exactly(tiny_solo, found):
    targets = found.targets
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
            recorded.check_mask_targets(tiny_solo, b, level, np.asarray(masks[b])[valid][order])


def test_losses_equal_the_recorded_ones(tiny_solo, found):
    category, mask = value(found.terms["category"]), value(found.terms["mask"])
    np.testing.assert_allclose(category, tiny_solo["loss/loss_cls"], rtol=1e-5)
    np.testing.assert_allclose(mask, tiny_solo["loss/loss_mask"], rtol=1e-5)


def test_losses_of_one_image_equal_the_recorded_ones(tiny_solo, alone):
    terms = alone["0"].terms
    expected = tiny_solo["loss_img0/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    expected = tiny_solo["loss_img0/loss_mask"]
    np.testing.assert_allclose(value(terms["mask"]), expected, rtol=1e-5)

    terms = alone["nothing"].terms
    expected = tiny_solo["loss_nogt/loss_cls"]
    np.testing.assert_allclose(value(terms["category"]), expected, rtol=1e-5)
    assert value(terms["mask"]) == tiny_solo["loss_nogt/loss_mask"] == 0


def test_gradients_equal_the_recorded_ones(tiny_solo, trajectory):
    recorded.check_gradients(tiny_solo, MODEL, trajectory.gradients)


def test_five_steps_of_sgd_follow_the_recorded_ones(tiny_solo, variables, trajectory):
    recorded.check_trajectory(tiny_solo, variables, trajectory)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(tiny_solo, found, b):
    recorded.check_detections(tiny_solo, found.detections, b)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_of_a_batch_equal_those_of_its_images(found, alone, b):
    recorded.check_batch_is_its_images(found.detections, alone[str(b)].detections, b)
