"""The boxes of a head that predicts them, on their way to who asks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.evaluation import evaluate
from solojax.evaluation.metrics import coco
from solojax.inference import predict, programs, tiles
from solojax.inference.predictor import Predictor
from tests.inference.networks import Colors
from tests.inference.test_predictor import CATEGORIES, DATA, noise
from tests.inference.test_tiles import SIZE, TWO, found

BOXES = np.array(
    [[12 * n, 10, 30 + 12 * n, 50 + n] for n in range(6)], np.float32
)  # network pixels


class Framed(Colors):
    """Says of its six detections, in the order of their scores, that they lie in BOXES."""

    def detect(self, outputs):
        detections = super().detect(outputs)
        boxes = jnp.broadcast_to(jnp.asarray(BOXES), (len(detections.scores), *BOXES.shape))
        return detections._replace(boxes=boxes)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Framed(), {"least": np.float32(0)}, DATA)


def test_they_are_those_of_the_result_in_its_own_pixels(predictor):
    result = predictor(noise(32, 40))  # seen at twice its size, 64 x 80
    expected = np.minimum(BOXES / 2, [40, 32] * 2)
    np.testing.assert_allclose(result.boxes, expected, rtol=1e-6)
    assert result.boxes.dtype == np.float32
    assert (expected < BOXES / 2).any(), "one has to leave the image"
    some = result.take(np.array([4, 1]))
    np.testing.assert_array_equal(some.boxes, result.boxes[[4, 1]])
    written = np.array([one["bbox"] for one in result.to_coco(7)])
    np.testing.assert_allclose(written[:, 2:], expected[:, 2:] - expected[:, :2], rtol=1e-6)


def test_the_one_program_gives_them_as_well():
    images = np.stack([noise(64, 96)] * 2)
    sizes, originals = np.array([[64, 96], [64, 80]]), np.array([[64, 96], [32, 40]])
    run = jax.jit(predict.make_predict(Framed(), (64, 96)))
    results = run({"least": np.float32(0)}, images, sizes, originals)
    np.testing.assert_allclose(results.boxes[0], BOXES, rtol=1e-6)
    np.testing.assert_allclose(results.boxes[1], np.minimum(BOXES / 2, [40, 32] * 2), rtol=1e-6)


def test_tiles_move_them_and_joined_ones_lie_around_their_parts():
    whole = found(SIZE, (70, 5, 90, 25, 0.9))
    left = found((100, 100), (10, 20, 40, 100, 0.8))  # goes on beyond the border
    right = found((100, 100), (10, 0, 40, 70, 0.6))
    looks = [
        one._replace(boxes=np.array([box], np.float32))
        for one, box in (
            (whole, [4, 69, 26, 91]),
            (left, [19, 9, 99, 41]),
            (right, [1, 8, 72, 40]),
        )
    ]
    options = {"margin": 4, "kernel": "gaussian", "sigma": 2.0, "threshold": 0.05}
    merged = tiles.merge(looks[0], looks[1:], TWO, SIZE, **options)
    assert merged.boxes.tolist() == [[4, 69, 26, 91], [19, 8, 132, 41]]
    assert tiles.merge(whole, [left, right], TWO, SIZE, **options).boxes is None


def test_box_ap_is_of_them():
    result = programs.Found(
        np.array([0.9], np.float32),
        np.array([1]),
        found((10, 10), (2, 2, 8, 8, 0.9)).rles,
        0,
        np.array([[1, 2, 8, 9]], np.float32),
    )
    (one,) = evaluate.to_coco(result, np.array([10, 10]), 7, CATEGORIES)
    assert one["bbox"] == [1, 2, 7, 7]
    (scored,) = coco.masks_found([one])
    assert scored["bbox"] == [1, 2, 7, 7] and scored["area"] == 36
    without = evaluate.to_coco(result._replace(boxes=None), np.array([10, 10]), 7, CATEGORIES)
    (plain,) = coco.masks_found(without)
    assert plain["bbox"] == [2, 2, 6, 6]
