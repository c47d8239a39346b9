import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solojax.config import Optimizer
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.layers import Norm
from solojax.models.resnet import ResNet
from solojax.training import optimizer
from tests import examples

PUBLISHED = Optimizer()


def schedule_of(settings: Optimizer, **sizes: int):
    return optimizer.make_schedule(settings, **sizes)


@pytest.mark.parametrize(("batch_size", "expected"), [(16, 0.01), (2, 0.00125), (64, 0.04)])
def test_learning_rate_scales_linearly_with_the_batch(batch_size, expected):
    found = optimizer.scaled_learning_rate(PUBLISHED, batch_size)
    np.testing.assert_allclose(found, expected)


def test_the_published_schedule_warms_up_and_drops_at_epochs_27_and_33():
    rate = schedule_of(PUBLISHED, batch_size=16, steps=36 * 1000, steps_per_epoch=1000)
    for step, expected in [
        (0, 1e-4),
        (250, 1e-4 + (1e-2 - 1e-4) / 2),
        (500, 1e-2),
        (26_999, 1e-2),
        (27_001, 1e-3),
        (32_999, 1e-3),
        (33_001, 1e-4),
        (35_999, 1e-4),
    ]:
        np.testing.assert_allclose(rate(step), expected, rtol=1e-5)


def test_the_cosine_ends_at_zero():
    settings = Optimizer(schedule="cosine", warmup_steps=10)
    rate = schedule_of(settings, batch_size=16, steps=110, steps_per_epoch=1)
    np.testing.assert_allclose(rate(10), 0.01, rtol=1e-6)
    np.testing.assert_allclose(rate(60), 0.005, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 0, atol=1e-9)


def test_a_short_run_still_reaches_its_full_rate():
    rate = schedule_of(PUBLISHED, batch_size=16, steps=100, steps_per_epoch=1000)
    assert max(float(rate(step)) for step in range(100)) == pytest.approx(0.01)


def updates_for(
    settings: Optimizer,
    gradient: float,
    frozen_stages: int = 0,
    norm: Norm = "frozen_statistics",
):
    """Updates of parameters that are all 1, at a learning rate of 1."""
    conv = {"kernel": jnp.ones((3, 3, 2, 2))}
    affine = {"scale": jnp.ones(2), "bias": jnp.ones(2)}
    params = {
        "backbone": {
            "conv1": conv,
            "bn1": affine,
            "layer1_0": {"conv1": conv, "bn1": affine},
            "layer2_0": {"conv1": conv, "bn1": affine},
        },
        "neck": {"lateral_c2": conv},
        "head": {"kernel_predictor": conv},
    }
    backbone = ResNet(18, norm=norm, frozen_stages=frozen_stages)
    model = Detector(backbone, FPN(), examples.MODEL.head)
    tx = optimizer.make_optimizer(settings, optax.constant_schedule(1.0), model)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), params)
    updates, _ = tx.update(gradients, tx.init(params), params)
    return updates


def test_frozen_parameters_do_not_decay():
    updates = updates_for(Optimizer(weight_decay=0.1), gradient=0, frozen_stages=1)
    moved = {
        name: float(np.max(np.abs(jax.tree.leaves(tree)[0])))
        for name, tree in {**updates["backbone"], **updates["neck"]}.items()
    }
    still = dict.fromkeys(("conv1", "bn1", "layer1_0"), 0)
    assert moved == pytest.approx({**still, "layer2_0": 0.1, "lateral_c2": 0.1})


@pytest.mark.parametrize(("norm", "moved"), [("frozen", 0), ("frozen_statistics", 0.1)])
def test_only_norms_that_are_frozen_altogether_do_not_decay(norm, moved):
    updates = updates_for(Optimizer(weight_decay=0.1), gradient=0, norm=norm)
    for name in ("bn1", "layer1_0", "layer2_0"):
        tree = updates["backbone"][name]
        for leaf in jax.tree.leaves(tree.get("bn1", tree)):
            np.testing.assert_allclose(leaf, -moved, rtol=1e-6)
    for kernel in (updates["backbone"]["conv1"], updates["backbone"]["layer2_0"]["conv1"]):
        np.testing.assert_allclose(kernel["kernel"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_frozen_norms_stay_whatever_their_gradient(algorithm):
    settings = Optimizer(algorithm=algorithm, weight_decay=0.1)
    updates = updates_for(settings, gradient=1, norm="frozen")
    for leaf in jax.tree.leaves(updates["backbone"]["layer2_0"]["bn1"]):
        np.testing.assert_array_equal(leaf, 0)


def test_norms_and_biases_need_not_decay():
    settings = Optimizer(weight_decay=0.1, decay_norms_and_biases=False)
    updates = updates_for(settings, gradient=0)
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_allclose(leaf, -0.1 if leaf.ndim > 1 else 0, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    settings = Optimizer(weight_decay=0, clip_norm=2)
    updates = updates_for(settings, gradient=1)
    np.testing.assert_allclose(optax.tree.norm(updates), 2, rtol=1e-5)
