import numpy as np

from solojax.evaluation.analysis import calibration
from solojax.evaluation.metrics.coco import Scene


def truth(category: int, crowd: int = 0) -> dict:
    return {"category_id": category, "iscrowd": crowd}


def found(category: int, score: float) -> dict:
    return {"category_id": category, "score": score}


def counted(*scenes: Scene) -> dict:
    return calibration.count(dict(enumerate(scenes)))


def test_a_detection_is_compared_with_the_best_instance_of_its_class():
    scene = Scene(
        [truth(1), truth(2), truth(1), truth(1, crowd=1)],
        [found(1, 0.93), found(2, 0.72), found(3, 0.31), found(1, 0.13)],
        np.array([[0.62, 0.9, 0.81, 0], [0.9, 0.57, 0, 0], [0.9, 0.9, 0.9, 0], [0.1, 0, 0, 0.9]]),
    )
    one = counted(scene)
    counts = np.array(one["counts"])
    places = {tuple(place) for place in np.argwhere(counts).tolist()}
    # Rows and columns of a twentieth; of class 3 nothing is there, and a crowd counts for nothing.
    assert places == {(18, 16), (14, 11), (6, 0)} and counts.sum() == 3


def test_correlation_is_of_what_is_one_of_something():
    rng = np.random.default_rng(0)
    scores, ious = rng.random(50), rng.uniform(0, 1, 50)
    scenes = [
        Scene([truth(1)], [found(1, score)], np.array([[iou]]))
        for score, iou in zip(scores, ious, strict=True)
    ]
    kept = ious >= 0.5
    expected = np.corrcoef(scores[kept], ious[kept])[0, 1]
    np.testing.assert_allclose(counted(*scenes)["correlation"], expected)


def test_too_little_has_no_correlation():
    nothing = Scene([truth(1)], [], np.zeros((0, 1)))
    one = Scene([truth(1)], [found(1, 0.5)], np.array([[0.9]]))
    assert counted()["correlation"] is counted(nothing)["correlation"] is None
    assert counted(one)["correlation"] is counted(one, one)["correlation"] is None
