import jax
import numpy as np
import pytest

from solojax.config import Optimizer
from solojax.parallel import AXIS
from solojax.training import optimizer, step
from tests import examples


@pytest.fixture(scope="module")
def update():
    """An update on one device, and the state it starts from."""
    settings = Optimizer(algorithm="adamw", learning_rate=3e-3, base_batch_size=8, warmup_steps=0)
    schedule = optimizer.make_schedule(settings, batch_size=8, steps=100, steps_per_epoch=10)
    tx = optimizer.make_optimizer(settings, schedule, examples.MODEL)
    update = step.make_update(examples.MODEL, tx, seed=0, ema_decay=0.9)
    one_device = jax.vmap(update, (None, 0), axis_name=AXIS, axis_size=1, out_axes=None)
    return jax.jit(one_device), step.start_state(examples.make_variables(0.05), tx, ema=True)


def one(batch):
    return jax.tree.map(lambda x: x[None], batch)


def test_loss_falls_on_a_batch_seen_again_and_again(update):
    update, state = update
    batch = one(examples.make_batch(8))
    rows = []
    for _ in range(30):
        state, metrics = update(state, batch)
        rows.append(float(metrics["loss"]))
    assert rows[-1] < 0.6 * rows[0]
    assert int(state.step) == 30


def test_a_batch_without_instances_gives_finite_losses_and_a_zero_mask_loss(update):
    update, state = update
    state, metrics = update(state, one(examples.empty_instances(examples.make_batch(8))))
    assert metrics["mask"] == 0 and metrics["positives"] == 0
    assert np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_what_the_caps_left_out_is_in_the_metrics(update):
    update, state = update
    batch = examples.make_batch(8)
    _, metrics = update(state, one(batch._replace(dropped=np.arange(8, dtype=np.int32))))
    assert metrics["dropped_instances"] == 28
    assert metrics["dropped_positives"] == 0


def test_the_average_follows_the_parameters_slowly(update):
    update, state = update
    start = state.params
    for seed in range(3):
        state, _ = update(state, one(examples.make_batch(8, seed)))

    def distance(tree):
        leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(start), strict=True)
        return sum(float(np.sum(np.square(np.asarray(a) - np.asarray(b)))) for a, b in leaves)

    assert 0 < distance(state.ema_params) < distance(state.params)
    variables = step.eval_variables(state)
    assert variables["params"] is state.ema_params


def test_the_same_step_again_gives_the_same_state_bit_for_bit(update):
    update, state = update
    batch = one(examples.make_batch(8))
    results = [jax.tree.leaves(update(state, batch)[0]) for _ in range(2)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
