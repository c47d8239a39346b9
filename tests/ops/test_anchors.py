import numpy as np
import pytest

from solojax.ops.anchors import make_anchors
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_yolact.npz")


def cube_roots(*scales: float) -> list[tuple[float, ...]]:
    return [tuple(scale * 2 ** (i / 3) for i in range(3)) for scale in scales]


def alone(*scales: float) -> list[tuple[float, ...]]:
    return [(scale,) for scale in scales]


@pytest.mark.parametrize(
    ("name", "side", "scales", "square"),
    [
        ("base_550", 550, alone(24, 48, 96, 192, 384), True),
        ("im400", 400, alone(17, 34, 69, 139, 279), True),
        ("im700", 700, alone(30, 61, 122, 244, 488), True),
        ("resnet50_pascal", 550, alone(32, 64, 128, 256, 512), False),
        ("plus_550", 550, cube_roots(24, 48, 96, 192, 384), False),
    ],
)
def test_anchors_equal_those_of_the_published_models(name, side, scales, square):
    recorded = {key: RECORDED[f"priors/{name}/{key}"] for key in ("sizes", "index", "rows", "sum")}
    sizes = [(size, size) for size in recorded["sizes"].tolist()]
    found = make_anchors(sizes, scales, (1, 0.5, 2), (side, side), square=square)
    assert found.dtype == np.float32 and len(found) == RECORDED[f"priors/{name}/count"]
    np.testing.assert_allclose(found[recorded["index"]], recorded["rows"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.sum(0, dtype=np.float64), recorded["sum"], rtol=1e-6)


def test_anchors_keep_their_shape_in_pixels_where_the_canvas_is_no_square():
    found = make_anchors([(2, 4)], [(16,)], (1, 4), (32, 64))
    assert found.shape == (16, 4)
    np.testing.assert_allclose(found[1] * [64, 32, 64, 32], [8, 8, 32, 8])
    np.testing.assert_allclose(found[-2] * [64, 32, 64, 32], [56, 24, 16, 16])
