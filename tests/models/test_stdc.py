"""Parameter counts and levels; tests/heads/test_decoders.py compares its numbers with others'."""

import jax
import jax.numpy as jnp
import pytest

from solojax.models.stdc import STDC
from solojax.types import InputError

IMAGE = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)


def block(inputs: int, width: int, halves: bool) -> int:
    """Weights of the convolutions of a block, and a scale and a bias for each of their outputs."""
    half, quarter, eighth = width // 2, width // 4, width // 8
    convolutions = inputs * half + 9 * (half * quarter + quarter * eighth + eighth * eighth)
    return convolutions + 2 * width + halves * (9 * half + 2 * half)


@pytest.mark.parametrize(("blocks", "total"), [((2, 2, 2), 5_318_304), ((4, 5, 3), 9_348_768)])
def test_layers_have_as_many_parameters_as_those_of_stdc1_and_stdc2(blocks, total):
    levels, variables = jax.eval_shape(STDC(blocks).init_with_output, jax.random.key(0), IMAGE)
    stages = zip((64, 256, 512), (256, 512, 1024), blocks, strict=True)
    expected = 9 * 3 * 32 + 64 + 9 * 32 * 64 + 128
    for inputs, width, count in stages:
        expected += block(inputs, width, True) + (count - 1) * block(width, width, False)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected == total
    assert {name: level.shape for name, level in levels.items()} == {
        "c1": (1, 32, 48, 32),
        "c2": (1, 16, 24, 64),
        "c3": (1, 8, 12, 256),
        "c4": (1, 4, 6, 512),
        "c5": (1, 2, 3, 1024),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": (2, 2)}, r"backbone.blocks=\(2, 2\) must be three numbers"),
        ({"width": 9}, "backbone.width=9 must be even"),
        ({"width": 32, "norm": "group"}, "backbone.norm_groups=32 groups with norm group"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        STDC(**settings)
