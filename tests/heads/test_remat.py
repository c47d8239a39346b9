"""Heads that compute their convolutions' insides again: less held, nothing else changed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import examples
from tests.heads.recorded import value
from tests.heads.test_ablations import (
    DECOUPLED,
    ONE_LEVEL,
    SEPARATE,
    SOLO_HEAD,
    SOLOV2,
    pyramid,
    shapes,
    variables,
)

HEADS = {
    "solo": SOLO_HEAD,
    "decoupled": DECOUPLED,
    "light": DECOUPLED.clone(shared_trunk=True, deform="v2"),
    "solov2": SOLOV2,
    "deform": SOLOV2.clone(deform="v1", deform_mask_features=True, mask_levels=("p2",)),
    "separate": SEPARATE,
}
each_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


@each_head
def test_parameters_bear_the_same_names(head):
    assert shapes(head.clone(remat=True)) == shapes(head)


@each_head
def test_less_is_held_for_the_backward_pass(head):
    def held(head: Any) -> int:
        _, backward = jax.eval_shape(lambda given: jax.vjp(head.apply, given, pyramid()), given)
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    given = variables(head)
    assert held(head.clone(remat=True)) < 0.8 * held(head)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [SOLO_HEAD, DECOUPLED.clone(shared_trunk=True), HEADS["deform"]],
    ids=["solo", "light", "deform"],
)
def test_outputs_and_gradients_are_the_same(head):
    head = head.clone(depth=1, grid=ONE_LEVEL, drop_block=0.1)  # the same blocks in both passes
    given = variables(head)

    def run(head: Any) -> Any:
        @jax.jit
        def once(given):
            def total(given):
                rngs = {"dropout": jax.random.key(1)}
                outputs = head.apply(given, pyramid(), train=True, rngs=rngs)
                return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(outputs)), outputs

            return jax.value_and_grad(total, has_aux=True)(given)

        return once(given)

    for ours, theirs in zip(
        *map(jax.tree.leaves, (run(head.clone(remat=True)), run(head))), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.slow
def test_a_whole_network_that_holds_little_learns_the_same():
    plain = examples.MODEL
    little = plain.clone(
        backbone=plain.backbone.clone(remat_stages=(1, 2, 3, 4)), head=plain.head.clone(remat=True)
    )
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)

    def gradients(model: Any) -> Any:
        targets = model.head.targets(examples.make_instances(2), jax.random.key(0))

        def loss(variables):
            outputs = model.apply(variables, images, train=True)
            return sum(map(value, model.head.loss(outputs, targets).values()))

        return jax.jit(jax.grad(loss))(examples.make_variables(0.1))

    for ours, theirs in zip(
        *map(jax.tree.leaves, (gradients(little), gradients(plain))), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
