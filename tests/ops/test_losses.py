from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import losses
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_losses.npz")
# Called plainly, each operation within is compiled alone.
mask_losses = jax.jit(losses.mask_losses, static_argnums=2)
focal = jax.jit(losses.focal)


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
    np.testing.assert_allclose(focal(logit, target), expected, rtol=1e-5)


def test_focal_of_a_fresh_head_on_an_empty_image_is_small():
    # 3872 cells of 80 classes at the prior of 0.01.
    logits = jnp.full(3872 * 80, -4.59511985)
    found = jnp.sum(focal(logits, jnp.zeros_like(logits)))
    np.testing.assert_allclose(found, 0.23348940, rtol=1e-5)


def test_dice_of_known_masks():
    probabilities = jnp.array([[0.9, 0.1, 0.6, 0.4]])
    np.testing.assert_allclose(
        losses.dice(probabilities, jnp.array([[1, 0, 1, 0]])), 0.10233393, rtol=1e-5
    )


def test_dice_has_the_epsilon_that_is_asked_for():
    half, nothing = jnp.full((1, 4), 0.5), jnp.zeros((1, 4))
    # Of two sums of squares 1 and 0, and twice the epsilon.
    np.testing.assert_allclose(losses.dice(half, half, epsilon=0.5), 1 - 2 / 3, rtol=1e-6)
    assert losses.dice(half, nothing, epsilon=0.5) == 1


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

    value, found = jax.jit(jax.value_and_grad(loss))(logits)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-7)


def test_focal_equals_the_recorded_elements():
    logits, classes = RECORDED["focal/elementwise/pred"], RECORDED["focal/elementwise/target"]
    found = focal(logits, jax.nn.one_hot(classes, logits.shape[1]))
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

    found, each = jax.jit(jax.grad(loss, has_aux=True))(prediction)
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Of the probabilities 0.5, 0.8, 0.2 and 0.5: 1 - 2 x 1.3 / (1.18 + 2 + 0.002).
        ("dice", 0.18290383),
        # 0.25 x (0.5^2 log 2 + 0.2^2 log 1.25) and 0.75 x (0.2^2 log 1.25 + 0.5^2 log 2), over 4.
        ("focal", 0.04555307),
        # 2 x (log 2 + log 1.25) and log 1.25 + log 2, over 4 pixels.
        ("bce", 0.68721805),
    ],
)
def test_mask_loss_of_a_known_mask(kind, expected):
    logits = jnp.array([[0.0, np.log(4.0)], [-np.log(4.0), 0.0]])
    targets = jnp.array([[1, 1], [0, 0]])
    np.testing.assert_allclose(mask_losses(logits, targets, kind), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"), [("dice", 1), ("focal", 0.1299651), ("bce", 0.6931472)]
)
def test_mask_loss_of_an_unsure_mask_against_an_empty_target(kind, expected):
    found = mask_losses(jnp.zeros((2, 2)), jnp.zeros((2, 2), int), kind)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", get_args(losses.MaskLoss))
def test_a_perfect_mask_costs_almost_nothing(kind):
    targets = jnp.eye(2, dtype=int)
    found = mask_losses(jnp.where(targets > 0, 20.0, -20.0), targets, kind)
    np.testing.assert_allclose(found, 0, atol=6e-4)  # dice's epsilon


@pytest.mark.parametrize("kind", get_args(losses.MaskLoss))
def test_each_mask_is_judged_by_itself(kind):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 3, 2, 2)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 2, (2, 3, 2, 2)))
    found = losses.mask_losses(logits, targets, kind)
    assert found.shape == (2, 3)
    for index in np.ndindex(2, 3):
        alone = mask_losses(logits[index], targets[index], kind)
        np.testing.assert_allclose(found[index], alone, rtol=1e-6)


@pytest.mark.parametrize("kind", get_args(losses.MaskLoss))
def test_mask_losses_of_extreme_logits_have_finite_gradients(kind):
    logits = jnp.array([[100.0, -100.0], [100.0, -100.0]])
    targets = jnp.array([[1, 1], [0, 0]])
    value, gradient = jax.value_and_grad(mask_losses)(logits, targets, kind)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_mask_losses_read_targets_of_any_type(dtype):
    logits, targets = jnp.array([[0.5, -2.0]]), jnp.array([[1, 0]])
    for kind in get_args(losses.MaskLoss):
        found = losses.mask_losses(logits, targets.astype(dtype), kind)
        assert found == losses.mask_losses(logits, targets, kind)


def test_unknown_mask_loss_is_refused():
    with pytest.raises(ValueError, match="'hinge'"):
        losses.mask_losses(jnp.zeros((2, 2)), jnp.zeros((2, 2)), "hinge")


def test_every_mask_loss_has_its_published_weight():
    assert losses.MASK_LOSS_WEIGHTS == {"dice": 3, "focal": 20, "bce": 10}
    assert set(losses.MASK_LOSS_WEIGHTS) == set(get_args(losses.MaskLoss))


def test_the_product_of_two_even_chances_is_one_in_four():
    found = losses.product_logit(jnp.array(0.0), jnp.array(0.0))
    np.testing.assert_allclose(found, -np.log(3), rtol=1e-6)


def test_product_logit_equals_the_double_precision_formula_with_its_gradients():
    x, y = np.meshgrid(np.float32([-100, -30, -3, -0.1, 0, 2, 17, 100]), np.linspace(-100, 100, 9))
    x, y = (array.astype(np.float64) for array in (x, y))
    odds_against = np.exp(-x) + np.exp(-y) + np.exp(-x - y)

    def total(x, y):
        found = losses.product_logit(x, y)
        return jnp.sum(found), found

    inputs = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    gradients, found = jax.grad(total, argnums=(0, 1), has_aux=True)(*inputs)
    np.testing.assert_allclose(found, -np.log(odds_against), rtol=1e-6, atol=1e-6)
    expected = [np.exp(-v) * (1 + np.exp(-w)) / odds_against for v, w in ((x, y), (y, x))]
    np.testing.assert_allclose(gradients, expected, rtol=2e-5, atol=1e-30)


def test_the_sigmoid_of_a_product_logit_is_the_product_of_the_sigmoids():
    x, y = jnp.asarray(np.random.default_rng(0).normal(0, 4, (2, 50)), jnp.float32)
    found = jax.nn.sigmoid(losses.product_logit(x, y))
    np.testing.assert_allclose(found, jax.nn.sigmoid(x) * jax.nn.sigmoid(y), rtol=1e-5)
