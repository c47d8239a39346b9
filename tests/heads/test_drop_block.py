"""Which features the heads drop blocks of, and when."""

import functools
import re
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads import trunk
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from tests import examples
from tests.heads.programs import equations
from tests.heads.test_ablations import (
    DECOUPLED,
    SEPARATE,
    SOLO_HEAD,
    SOLOV2,
    init_shapes,
    pyramid,
    variables,
)

HEADS = {
    "solo": SOLO_HEAD.clone(depth=1),
    "decoupled": DECOUPLED.clone(depth=1),
    "light": DECOUPLED.clone(depth=1, shared_trunk=True),
    "solov2": SOLOV2.clone(depth=1),
    "separate": SEPARATE,
}
each_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
GRIDS = [(2, 4, 4, 8), (2, 3, 3, 8)]  # the levels as cells
MAPS = [(2, 8, 12, 8), (2, 4, 6, 8)]  # the levels as they are


def program_of(head: Any, **settings: Any) -> Any:
    given = init_shapes(head.clone(drop_block=0.0))
    return jax.make_jaxpr(lambda *x: head.apply(*x, **settings))(given, pyramid())


@functools.cache
def text_of(head: Any, train: bool = False) -> str:
    """What it computes; without the addresses of functions."""
    return re.sub("0x[0-9a-f]+", "", str(program_of(head, train=train)))


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("solo", GRIDS + MAPS),
        ("decoupled", GRIDS + 2 * MAPS),
        ("light", GRIDS + MAPS),
        ("solov2", 2 * GRIDS),
        ("separate", 2 * GRIDS),
    ],
)
def test_in_training_blocks_of_each_trunks_features_are_dropped_at_each_level(name, drawn):
    head = HEADS[name].clone(drop_block=0.2)
    program = program_of(head, train=True, rngs={"dropout": jax.random.key(0)})
    draws = equations(program.jaxpr, "random_bits")
    assert sorted(each.outvars[0].aval.shape for each in draws) == sorted(drawn)


@each_head
def test_outside_of_training_nothing_is_dropped_and_no_key_needed(head):
    assert text_of(head.clone(drop_block=0.2)) == text_of(head)


@each_head
def test_a_head_that_drops_nothing_trains_without_a_key(head):
    assert text_of(head, train=True) == text_of(head)


def test_the_last_features_are_dropped_in_every_trunk_and_level_others():
    grid = Grid(**{**vars(SOLOV2.grid), "sizes": (6, 6)})
    head = HEADS["solov2"].clone(drop_block=0.2, grid=grid)

    def is_trunk(module: Any, method: str) -> bool:
        return isinstance(module, trunk.Trunk) and method == "__call__"

    @jax.jit
    def run(variables: Any, key: jax.Array) -> Any:
        outputs, state = head.apply(
            variables,
            pyramid(),
            train=True,
            rngs={"dropout": key},
            capture_intermediates=is_trunk,
            mutable="intermediates",
        )
        return outputs, state["intermediates"]

    def fill(path: tuple, leaf: np.ndarray) -> np.ndarray:
        # Norms so far above zero that ReLU drops nothing.
        if path[-2].key == "norm":
            return np.full_like(leaf, 0.1 if path[-1].key == "scale" else 9)
        return leaf

    given = jax.tree.map_with_path(fill, variables(head))
    outputs, features = run(given, jax.random.key(0))
    gone = [np.asarray(level == 0) for level in jax.tree.leaves(features)]
    assert len(gone) == 4 and all(0 < each.mean() < 0.5 for each in gone)
    for i, one in enumerate(gone):
        assert all((one != other).any() for other in gone[:i])
    again, others = run(given, jax.random.key(0))[0], run(given, jax.random.key(1))[0]
    jax.tree.map(np.testing.assert_array_equal, again, outputs)
    assert (others.category_logits["p2"] != outputs.category_logits["p2"]).any()
    # What draws nothing is not touched.
    np.testing.assert_array_equal(others.mask_features[0], outputs.mask_features[0])


@pytest.mark.parametrize("head", [SOLO(), DecoupledSOLO(), SOLOv2()])
def test_by_default_nothing_is_dropped(head):
    assert (head.drop_block, head.drop_block_size) == (0, 3)


def test_a_head_that_drops_blocks_does_not_train_without_a_key():
    head = SOLOV2.clone(drop_block=0.1)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v: head.apply(v, pyramid(), train=True), variables(head))


def test_a_detector_tells_its_head_that_it_trains():
    model = examples.MODEL.clone(head=examples.MODEL.head.clone(drop_block=0.1))
    given = examples.make_variables(0.1)
    images = jnp.zeros((1, 64, 64, 3))
    jax.eval_shape(model.apply, given, images)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v: model.apply(v, images, train=True), given)


def test_the_parameters_are_the_same():
    given = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    plain, dropping = (
        jax.eval_shape(lambda head=head: head.init(given, pyramid(), train=True))
        for head in (SOLOV2, SOLOV2.clone(drop_block=0.1))
    )
    assert plain == dropping
