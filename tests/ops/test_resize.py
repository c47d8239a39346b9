import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import coords, resize
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_misc.npz")
BILINEAR = sorted(
    {
        key.split("/")[1]
        for key in RECORDED
        if key.startswith("interp/") and "nearest" not in key and "odd" not in key
    }
)


@pytest.mark.parametrize("case", BILINEAR)
def test_bilinear_equals_the_recorded_case(case):
    features, expected = (
        RECORDED[f"interp/{case}/{side}"].transpose(0, 2, 3, 1) for side in ("in", "out")
    )
    found = resize.bilinear(jnp.asarray(features), expected.shape[1:3])
    np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("case", BILINEAR)
def test_the_matrices_resize_like_bilinear(case):
    features, expected = (RECORDED[f"interp/{case}/{side}"] for side in ("in", "out"))
    (height, width), (out_height, out_width) = features.shape[2:], expected.shape[2:]
    # Longer than needed: what is not used must not matter.
    features = np.pad(features, ((0, 0), (0, 0), (0, 3), (0, 5)), constant_values=1e6)
    rows = resize.bilinear_matrix(
        out_height + 4, height + 3, out_used=jnp.array(out_height), in_used=jnp.array(height)
    )
    columns = resize.bilinear_matrix(
        out_width + 2, width + 5, out_used=jnp.array(out_width), in_used=jnp.array(width)
    )
    found = jnp.einsum("yh,bchw,xw->bcyx", rows, features, columns, precision="highest")
    np.testing.assert_allclose(found[:, :, :out_height, :out_width], expected, atol=3e-6)


@pytest.mark.parametrize("size", [(4, 5), (8, 10), (1, 3), (25, 42)])
def test_coordinates_run_from_minus_one_to_one_x_first(size):
    found = coords.append_coordinates(jnp.zeros((1, *size, 7)))
    assert found.shape == (1, *size, 9)
    expected = RECORDED[f"coord/{size[0]}x{size[1]}"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., 7:], expected, atol=2.5e-7)  # an ulp of linspace
