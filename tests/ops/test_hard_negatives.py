import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import hard_negatives
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")


@pytest.mark.parametrize("name", ["few_negatives", "normal"])
def test_the_loss_of_the_hardest_and_its_gradient_equal_the_recorded_ones(name):
    labels = jnp.asarray(RECORDED[f"ohem/{name}/conf_t"])

    def loss(logits):
        hardest = jax.vmap(hard_negatives.hardest)(logits, jnp.minimum(labels, 1))
        entropies = -jnp.sum(
            jax.nn.one_hot(labels, logits.shape[-1]) * jax.nn.log_softmax(logits), -1
        )
        return jnp.sum(jnp.where(hardest | (labels > 0), entropies, 0))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(RECORDED[f"ohem/{name}/conf"]))
    np.testing.assert_allclose(value, RECORDED[f"ohem/{name}/loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, RECORDED[f"ohem/{name}/grad"], atol=1e-6)


def test_three_for_each_positive_are_chosen_and_none_of_what_is_neutral():
    logits = jnp.stack([-jnp.arange(8.0), jnp.zeros(8)], 1)  # the last looks least like background
    kinds = jnp.array([1, 0, 0, 0, 0, 0, -1, -1])
    hardest = jax.jit(hard_negatives.hardest, static_argnames="per_positive")
    np.testing.assert_array_equal(np.flatnonzero(hardest(logits, kinds)), [3, 4, 5])
    np.testing.assert_array_equal(np.flatnonzero(hardest(logits, kinds, per_positive=1)), [5])
    assert not hardest(logits, jnp.minimum(kinds, 0)).any()
