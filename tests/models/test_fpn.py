import jax
import numpy as np
import pytest

from solojax.models.fpn import FPN, SingleLevel

WIDTHS = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    """Levels of a canvas of 64 x 96."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(2, 64 >> level, 96 >> level, width)).astype(np.float32)
        for level, (name, width) in enumerate(WIDTHS.items(), start=2)
    }


def test_the_pyramid_has_strides_4_to_64(features):
    found, variables = jax.eval_shape(FPN(6).init_with_output, jax.random.key(0), features)
    assert {name: level.shape for name, level in found.items()} == {
        "p2": (2, 16, 24, 6),
        "p3": (2, 8, 12, 6),
        "p4": (2, 4, 6, 6),
        "p5": (2, 2, 3, 6),
        "p6": (2, 1, 2, 6),
    }
    assert len(variables["params"]) == 8


@pytest.mark.parametrize(
    ("widths", "expected"),
    [((256, 512, 1024, 2048), 3_344_384), ((64, 128, 256, 512), 2_607_104)],
)
def test_parameters_are_as_many_as_published(widths, expected):
    levels = zip(WIDTHS, widths, strict=True)
    features = {name: np.zeros((1, 8, 8, width), np.float32) for name, width in levels}
    sides = {"c2": 8, "c3": 4, "c4": 2, "c5": 1}
    features = {name: level[:, : sides[name], : sides[name]] for name, level in features.items()}
    params = jax.eval_shape(FPN().init, jax.random.key(0), features)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_the_single_level_sums_what_is_enlarged_to_stride_8(features):
    neck = SingleLevel(6)
    found, variables = jax.jit(neck.init_with_output)(jax.random.key(0), features)
    params = variables["params"]
    assert set(params) == {"lateral_c3", "lateral_c4", "lateral_c5", "output_p3"}
    total = 0
    for level, factor in ((3, 1), (4, 2), (5, 4)):
        layer = params[f"lateral_c{level}"]
        x = features[f"c{level}"] @ layer["kernel"][0, 0] + layer["bias"][None, None, None]
        total = total + np.repeat(np.repeat(x, factor, axis=1), factor, axis=2)
    output = params["output_p3"]
    expected = jax.lax.conv_general_dilated(
        total,
        output["kernel"],
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert set(found) == {"p3"} and found["p3"].shape == (2, 8, 12, 6)
    np.testing.assert_allclose(found["p3"], expected, rtol=1e-4, atol=1e-5)
