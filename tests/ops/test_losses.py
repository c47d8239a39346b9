import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import losses
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_losses.npz")


@pytest.mark.parametrize(
    ("logit", "target", "expected"),
    [
        (0.0, 1, 0.04332170),
        (0.0, 0, 0.12996510),
        (2.0, 1, 4.508907e-4),
        (2.0, 0, 1.23755863),
        (-4.59511985, 1, 1.12838182),
        (-4.59511985, 0, 7.53775e-7),
    ],
)
def test_focal_of_a_known_logit(logit, target, expected):
    np.testing.assert_allclose(losses.focal(jnp.array(logit), target), expected, rtol=1e-5)


def test_dice_of_known_masks():
    probabilities = jnp.array([[0.9, 0.1, 0.6, 0.4]])
    np.testing.assert_allclose(
        losses.dice(probabilities, jnp.array([[1, 0, 1, 0]])), 0.10233393, rtol=1e-5
    )


def test_dice_of_identical_masks_is_almost_zero():
    mask = jnp.ones((2, 8, 8))
    np.testing.assert_allclose(losses.dice(mask, mask), 0, atol=2e-5)


def test_dice_against_an_empty_target_is_one_without_gradient():
    value, gradient = jax.value_and_grad(lambda p: losses.dice(p, jnp.zeros((3, 4))))(
        jnp.full((3, 4), 0.3)
    )
    assert value == 1
    np.testing.assert_array_equal(gradient, 0)


def test_dice_of_nothing_against_nothing_has_a_finite_gradient():
    zeros = jnp.zeros((3, 4))
    assert np.isfinite(jax.grad(lambda p: losses.dice(p, zeros))(zeros)).all()


@pytest.mark.parametrize("case", ["mixed", "all_bg", "extreme_logits", "no_avg_factor_mean"])
def test_focal_equals_the_recorded_case_and_gradient(case):
    logits, classes, count, expected, gradient = (
        RECORDED[f"focal/{case}/{name}"]
        for name in ("pred", "target", "avg_factor", "loss", "grad")
    )
    targets = jax.nn.one_hot(classes, logits.shape[1])
    count = count if count > 0 else logits.size  # recorded as -1: a plain mean

    def loss(logits):
        return jnp.sum(losses.focal(logits, targets)) / count

    value, found = jax.value_and_grad(loss)(jnp.asarray(logits))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-7)


def test_focal_equals_the_recorded_elements():
    logits, classes = RECORDED["focal/elementwise/pred"], RECORDED["focal/elementwise/target"]
    found = losses.focal(jnp.asarray(logits), jax.nn.one_hot(classes, logits.shape[1]))
    np.testing.assert_allclose(found, RECORDED["focal/elementwise/loss"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "case", ["sigmoid", "prob_no_activation", "empty_and_full_target", "zero_pred_empty_target"]
)
def test_dice_equals_the_recorded_case_and_gradient(case):
    prediction, targets, activate, weight, expected, gradient = (
        RECORDED[f"dice/{case}/{name}"]
        for name in ("pred", "target", "activate", "loss_weight", "loss", "grad_of_sum")
    )

    def loss(prediction):
        probabilities = jax.nn.sigmoid(prediction) if activate else prediction
        each = float(weight) * losses.dice(probabilities, jnp.asarray(targets))
        return jnp.sum(each), each

    found, each = jax.grad(loss, has_aux=True)(jnp.asarray(prediction))
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-6)
