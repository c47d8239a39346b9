import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solojax.config import Optimizer
from solojax.parallel import AXIS
from solojax.training import optimizer, step
from solojax.types import TrainState
from tests import examples

WILD = 1000  # from this step on the rate is beyond all measure


@functools.cache
def compiled(**options):
    """An update of SGD on one device, and the state it starts from."""
    tx = optimizer.make_optimizer(
        Optimizer(), lambda count: jnp.where(count < WILD, 0.05, 1e38), examples.MODEL
    )
    update = step.make_update(examples.MODEL, tx, seed=0, ema_decay=0.9, **options)
    one_device = jax.vmap(update, (None, 0), axis_name=AXIS, axis_size=1, out_axes=None)
    return jax.jit(one_device), step.start_state(examples.make_variables(0.1), tx, ema=True)


@pytest.fixture
def update():
    return compiled()


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

    assert 0 < distance(state.ema["params"]) < distance(state.params)
    variables = step.eval_variables(state)
    assert variables["params"] is state.ema["params"]


def test_the_same_step_again_gives_the_same_state_bit_for_bit(update):
    update, state = update
    batch = one(examples.make_batch(8))
    results = [jax.tree.leaves(update(state, batch)[0]) for _ in range(2)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def updated(steps: int, **options) -> tuple[list[dict[str, float]], TrainState]:
    """Metrics by step and the last state."""
    update, state = compiled(**options)
    rows = []
    # After batches 0 and 1, rounding decides on a part of the gradient of batch 2.
    for seed in range(10, 10 + steps):
        state, metrics = update(state, one(examples.make_batch(8, seed)))
        rows.append({name: float(value) for name, value in metrics.items()})
    return rows, state


@pytest.mark.slow
def test_a_batch_in_parts_is_the_big_batch():
    rows, state = updated(3)
    in_parts, of_parts = updated(3, accumulate=4)
    for ours, theirs in zip(in_parts, rows, strict=True):
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
    for ours, theirs in zip(*map(jax.tree.leaves, (of_parts.params, state.params)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_step_in_bfloat16_keeps_float32_parameters_and_nearly_the_losses():
    rows, state = updated(3)
    narrow, narrow_state = updated(3, precision="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow_state.params)} == {np.dtype("float32")}
    for ours, theirs in zip(narrow, rows, strict=True):
        assert ours["loss"] != theirs["loss"]
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=0.02)


def test_a_state_stands_still_from_the_first_loss_that_is_not_finite(update):
    update, state = update
    batch = examples.make_batch(8)
    state, metrics = update(state, one(batch))
    assert metrics["finite"] and state.finite
    poison = jax.tree.map(lambda leaf: leaf, state.params)
    poison["neck"]["output_p2"]["bias"] = np.full_like(poison["neck"]["output_p2"]["bias"], np.inf)
    poisoned, metrics = update(state._replace(params=poison), one(batch))
    assert not metrics["finite"] and not poisoned.finite and poisoned.step == state.step
    # Whole parameters again: it still does not move, so nobody misses which step it was.
    after, metrics = update(poisoned._replace(params=state.params), one(batch))
    assert np.isfinite(metrics["loss"]) and not metrics["finite"]
    for ours, theirs in zip(
        jax.tree.leaves(after.opt_state), jax.tree.leaves(state.opt_state), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert after.step == state.step


def test_averages_of_what_does_not_change_do_not_change():
    values = np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32)
    variables = {"params": {"kernel": values[0]}, "batch_stats": {"mean": values[1]}}
    state = step.start_state(variables, optax.identity(), ema=True)
    averages = jax.jit(step._follow)(state, step.eval_variables(state), 0.9)
    for ours, theirs in zip(*map(jax.tree.leaves, (averages, variables)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_update_that_overflows_is_not_made(update):
    update, state = update
    late = jax.tree.map(
        lambda x: jnp.full_like(x, WILD) if x.dtype == jnp.int32 else x, state.opt_state
    )
    after, metrics = update(state._replace(opt_state=late), one(examples.make_batch(8)))
    assert np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"])
    assert not metrics["finite"] and after.step == state.step
    for ours, theirs in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
