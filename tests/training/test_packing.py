import jax
import numpy as np
import optax
import pytest

from solojax.config import Optimizer
from solojax.training import optimizer, packing, step
from tests import examples

# All that treats leaves differently: frozen ones, decay, rates of their own.
SETTINGS = {
    "decay_norms": False,
    "undecayed": ("neck/*",),
    "rate_factors": (("backbone/layer1_*", 0.0), ("head/*/bias", 2.0)),
}


def leaves_of(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


# Muon multiplies the matrices of a stack in another order.
@pytest.mark.parametrize(("algorithm", "left", "error"), [("sgd", 0.3, 0), ("muon", 0.4, 1e-6)])
def test_what_is_packed_is_updated_as_leaf_by_leaf(algorithm, left, error):
    settings = Optimizer(algorithm=algorithm, **SETTINGS)
    tx = optimizer.make_optimizer(settings, optax.constant_schedule(0.5), examples.MODEL)
    params = examples.make_variables(0.1)["params"]
    state = step.start_state({"params": params, "batch_stats": {}}, tx, ema=True)
    together = packing.Packing(params, tx.kinds)
    packed = together.pack(state)
    assert len(jax.tree.leaves(packed)) < left * len(jax.tree.leaves(state))

    rng = np.random.default_rng(1)
    gradients = jax.tree.map(lambda x: rng.normal(0, 0.01, x.shape).astype(np.float32), params)
    # The clip's norm is a sum in another order; nothing is clipped here.
    update = jax.jit(tx.update)
    ours = update(together.pack(gradients), packed.opt_state, packed.params)
    theirs = update(gradients, state.opt_state, params)
    ours = together.unpack(ours, like=(params, state.opt_state))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for mine, other in zip(leaves_of(ours), leaves_of(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=error)


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_a_packed_state_is_unpacked_to_itself(algorithm):
    tx = optimizer.make_optimizer(
        Optimizer(algorithm=algorithm), optax.constant_schedule(0.5), examples.MODEL
    )
    params = examples.make_variables(0.1)["params"]
    stats = {"backbone": {"bn1": {"mean": np.zeros(8, np.float32), "var": np.ones(8, np.float32)}}}
    state = step.start_state({"params": params, "batch_stats": stats}, tx, ema=True)
    together = packing.Packing(params, tx.kinds)
    again = together.unpack(together.pack(state), like=state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for mine, other in zip(leaves_of(again), leaves_of(state), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_large_leaves_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(packing, "SMALL", 2)
    tree = {"head": {"a": np.ones(3), "b": np.ones(2), "c": np.zeros(1)}}
    together = packing.Packing(tree, lambda paths: dict.fromkeys(paths, ""))
    packed = together.pack(tree)
    assert packed["head/a"] is tree["head"]["a"]
    np.testing.assert_array_equal(packed["head/b"], [1, 1, 0])
