"""Claims about the scores of label maps, against their definitions written out."""

import numpy as np
import pytest

from solojax.evaluation.metrics import boundary, semantic
from tests.evaluation.scenes import LABELS, SIZE

L = len(LABELS)


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A map of rectangles with ignored places, and one that is nearly it; label 3 is in neither."""
    rng = np.random.RandomState(seed)
    truth = np.full(SIZE, 255, np.uint8)
    for _ in range(12):
        top, left = rng.randint(SIZE[0]), rng.randint(SIZE[1])
        truth[top : top + 20, left : left + 30] = rng.choice([0, 1, 2, 255], p=[0.3, 0.3, 0.3, 0.1])
    found = np.roll(truth, rng.randint(-3, 4, 2), (0, 1))
    found[:, : rng.randint(20)] = rng.choice([0, 1, 2])
    return truth, found


def counted(*seeds: int) -> semantic.Counts:
    counts = semantic.Counts(L)
    for seed in seeds:
        counts.add(seed, *maps(seed))
    return counts


def test_the_scores_are_their_definitions():
    pairs = [maps(seed) for seed in range(3)]
    scored = semantic.score(counted(0, 1, 2), LABELS)
    truth, found = (np.concatenate([one[side].ravel() for one in pairs]) for side in (0, 1))
    seen = truth != 255
    truth, found = truth[seen], found[seen]
    for label, one in enumerate(scored["classes"][:3]):
        true, given = truth == label, found == label
        assert one["IoU"] == (true & given).sum() / (true | given).sum()
        assert one["accuracy"] == (true & given).sum() / true.sum()
        assert one["pixels"] == true.sum()
    assert scored["accuracy"] == (truth == found).mean() and (found == 255).any()
    for mean, name in (("mIoU", "IoU"), ("mAcc", "accuracy"), ("boundary", "boundary")):
        numbers = [one[name] for one in scored["classes"]]
        assert numbers.pop() == -1, "a label that is nowhere takes no part"
        assert scored[mean] == pytest.approx(np.mean(numbers)) and 0.2 < scored[mean] < 1
    given = {
        (one["truth"], one["prediction"]): one["count"] for one in scored["confusion"]["counts"]
    }
    assert given[3, 70] == ((truth == 0) & (found == 1)).sum()
    assert given[9, None] == ((truth == 2) & (found == 255)).sum()
    assert sum(given.values()) == len(truth)


def test_boundary_iou_is_that_of_the_bands_of_each_label():
    width = boundary.width_in(SIZE)
    common, either = np.zeros((2, L), int)
    for seed in range(3):
        truth, found = maps(seed)
        found[truth == 255] = 255
        for label in range(L):
            bands = [
                boundary.band((some == label).astype(np.uint8), width) for some in (truth, found)
            ]
            common[label] += (bands[0] & bands[1]).sum()
            either[label] += (bands[0] | bands[1]).sum()
    ours = [one["boundary"] for one in semantic.score(counted(0, 1, 2), LABELS)["classes"]]
    assert ours[:3] == (common[:3] / either[:3]).tolist()


def test_parts_of_a_set_merge_to_the_whole():
    parts = counted(2)
    parts.merge(counted(0, 1))
    assert semantic.score(parts, LABELS) == semantic.score(counted(0, 1, 2), LABELS)


def test_an_image_without_labels_has_no_number_and_costs_nothing():
    counts = counted(0)
    before = semantic.score(counts, LABELS)
    counts.add(7, np.full(SIZE, 255, np.uint8), np.zeros(SIZE, np.uint8))
    after = semantic.score(counts, LABELS)
    assert after["images"][7] == {"mIoU": -1, "accuracy": -1}
    assert after["classes"] == before["classes"] and after["mIoU"] == before["mIoU"]
    assert semantic.score(semantic.Counts(L), LABELS)["mIoU"] == -1
    assert "mIoU" in semantic.table(after)
