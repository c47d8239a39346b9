import jax
import numpy as np

from solojax.heads import answer

SCORES = np.array([[0.2, 0.9, 0.0, 0.5], [0.0, 0.1, 0.3, 0.0]], np.float32)
LABELS = np.array([[3, 1, 2, 0], [0, 1, 2, 3]])
MASKS = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1) / 8
BOXES = np.arange(32, dtype=np.float32).reshape(2, 4, 4)

best_first = jax.jit(answer.best_first, static_argnames=("most", "threshold"))


def test_the_best_come_first_with_all_that_is_theirs():
    found = best_first(SCORES, LABELS, MASKS, most=3, boxes=BOXES)
    np.testing.assert_allclose(found.scores, [[0.9, 0.5, 0.2], [0.3, 0.1, 0]])
    assert found.valid.tolist() == [[True, True, True], [True, True, False]]
    order = np.array([[1, 3, 0], [2, 1, 0]])
    np.testing.assert_array_equal(found.labels, np.take_along_axis(LABELS, order, 1))
    np.testing.assert_array_equal(
        found.masks[..., 0, 0], np.take_along_axis(MASKS[..., 0, 0], order, 1)
    )
    np.testing.assert_array_equal(
        found.boxes, [one[some] for one, some in zip(BOXES, order, strict=True)]
    )
    assert found.overflow.tolist() == [0, 0]


def test_what_is_not_above_the_threshold_is_not_found_and_what_has_no_room_is_counted():
    found = best_first(SCORES, LABELS, MASKS, most=1, threshold=0.2)
    assert found.valid.tolist() == [[True], [True]] and found.boxes is None
    assert found.overflow.tolist() == [1, 0]
    found = best_first(SCORES, LABELS, MASKS, most=9, threshold=0.95)
    assert found.scores.shape == (2, 4) and not found.scores.any() and not found.valid.any()
