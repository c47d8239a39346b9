import jax
import numpy as np
import pytest

from solojax.models.bilinear_fpn import BilinearFPN
from solojax.types import InputError

WIDTHS = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    """Levels of a canvas of 138 x 100, whose sides halve with a remainder."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(1, -(-138 // 2**level), -(-100 // 2**level), width)).astype("f4")
        for level, (name, width) in enumerate(WIDTHS.items(), start=2)
    }


@pytest.mark.parametrize(
    ("neck", "sizes"),
    [
        (BilinearFPN(6), {"p3": (18, 13), "p4": (9, 7), "p5": (5, 4), "p6": (3, 2), "p7": (2, 1)}),
        (
            BilinearFPN(6, finest_level=2, coarser_levels=0),
            {"p2": (35, 25), "p3": (18, 13), "p4": (9, 7), "p5": (5, 4)},
        ),
    ],
)
def test_levels_have_the_sizes_of_the_backbones_and_each_coarser_one_half_of_that(
    features, neck, sizes
):
    found, variables = jax.eval_shape(neck.init_with_output, jax.random.key(0), features)
    assert {name: level.shape[1:3] for name, level in found.items()} == sizes
    assert list(found) == list(sizes)
    places = {place.removeprefix("neck/") for _, place in neck.state_dict_names if place}
    assert places == set(variables["params"])


def test_all_levels_but_those_beyond_p5_are_not_negative(features):
    found, _ = jax.jit(BilinearFPN(6).init_with_output)(jax.random.key(0), features)
    assert {name: bool((level < 0).any()) for name, level in found.items()} == {
        "p3": False,
        "p4": False,
        "p5": False,
        "p6": True,
        "p7": True,
    }


def test_a_level_that_no_backbone_has_is_refused():
    with pytest.raises(InputError, match="neck.finest_level=1 must be in 2..5"):
        BilinearFPN(finest_level=1)
