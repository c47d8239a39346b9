"""Claims about panoptic quality, held against the numbers of its authors' program."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.data.annotations import Instance
from solojax.data.panoptic_ids import Segment
from solojax.evaluation.metrics import panoptic, true_segments
from tests.evaluation import scenes
from tests.evaluation.scenes import LABELS, THINGS

# PQ, SQ, RQ of six images each, from seed 6 k on, and of each label, by panopticapi's program as
# cityscapesscripts 2.3.0 carries it; hotcoco 1.3.0 gives the same.
RECORDED = [
    (
        {
            "all": (0.183535930381, 0.591415295105, 0.311363636364),
            "things": (0.175824915825, 0.618518518519, 0.281818181818),
            "stuff": (0.191246944937, 0.564312071692, 0.340909090909),
        },
        [
            (0.231650, 0.637037, 0.363636),
            (0.120000, 0.600000, 0.200000),
            (0.278598, 0.557196, 0.500000),
            (0.103896, 0.571429, 0.181818),
        ],
    ),
    (
        {
            "all": (0.161028600870, 0.512600128229, 0.239898989899),
            "things": (0.256789136473, 0.666225897484, 0.388888888889),
            "stuff": (0.065268065268, 0.358974358974, 0.090909090909),
        },
        [
            (0.277711, 0.624849, 0.444444),
            (0.235868, 0.707603, 0.333333),
            (0.000000, 0.000000, 0.000000),
            (0.130536, 0.717949, 0.181818),
        ],
    ),
    (
        {
            "all": (0.291825721344, 0.532527941348, 0.410504201681),
            "things": (0.188803297231, 0.330405770154, 0.285714285714),
            "stuff": (0.394848145458, 0.734650112543, 0.535294117647),
        },
        [
            (0.377607, 0.660812, 0.571429),
            (0.000000, 0.000000, 0.000000),
            (0.334123, 0.710012, 0.470588),
            (0.455573, 0.759289, 0.600000),
        ],
    ),
    (
        {
            "all": (0.425373777635, 0.732126579120, 0.578418803419),
            "things": (0.350713618011, 0.666088774652, 0.522222222222),
            "stuff": (0.500033937259, 0.798164383588, 0.634615384615),
        },
        [
            (0.279655, 0.629224, 0.444444),
            (0.421772, 0.702954, 0.600000),
            (0.423201, 0.846402, 0.500000),
            (0.576867, 0.749927, 0.769231),
        ],
    ),
]


def counted(seeds: range) -> panoptic.Counts:
    counts = panoptic.Counts(len(LABELS))
    for seed in seeds:
        counts.add(seed, *scenes.drawn(seed))
    return counts


def one_image(
    truth: list[list[int]], truths: list[Segment], found: list[list[int]], founds: list[Segment]
) -> tuple[int, int, int, float]:
    """right, false, missed and the sum of IoUs."""
    counts = panoptic.Counts(len(LABELS))
    counts.add(1, np.array(truth, np.int32), truths, np.array(found, np.int32), founds)
    sums = (int(some.sum()) for some in (counts.right, counts.false, counts.missed))
    return *sums, float(counts.ious.sum())


@pytest.mark.parametrize("case", range(len(RECORDED)))
def test_random_scenes_score_what_panopticapi_says(case):
    groups, classes = RECORDED[case]
    scored = panoptic.score(counted(range(6 * case, 6 * case + 6)), LABELS, THINGS)
    for group, numbers in groups.items():
        ours = scored if group == "all" else scored[group]
        np.testing.assert_allclose([ours[name] for name in panoptic.NAMES], numbers, atol=1e-11)
    ours = [[one[name] for name in panoptic.NAMES] for one in scored["classes"]]
    np.testing.assert_allclose(ours, classes, atol=1e-6)


def test_parts_of_a_set_merge_to_the_whole():
    whole, parts = counted(range(6)), counted(range(2))
    parts.merge(counted(range(2, 6)))
    ours, theirs = (panoptic.score(counts, LABELS, THINGS) for counts in (parts, whole))
    assert ours["worst"] == theirs["worst"] and ours["images"] == theirs["images"]
    assert ours["classes"] == theirs["classes"] and list(ours["images"]) == [*range(6)]


def test_half_is_no_match_and_void_is_no_part_of_a_union():
    true, found = [Segment(1, 0)], [Segment(5, 0)]
    assert one_image([[1, 1, 2, 2]], [*true, Segment(2, 1)], [[5, 5, 5, 5]], found) == (0, 1, 2, 0)
    assert one_image([[1, 1, 0, 0]], true, [[5, 5, 5, 5]], found) == (1, 0, 0, 1)
    assert one_image([[1, 1, 1, 0]], true, [[0, 5, 5, 5]], found) == (1, 0, 0, 2 / 3)
    assert one_image([[1, 1, 1, 1]], true, [[5, 5, 5, 5]], [Segment(5, 1)]) == (0, 1, 1, 0)


def test_what_lies_on_void_or_on_a_crowd_of_its_label_is_not_false():
    crowd = [Segment(1, 0, True), Segment(2, 1)]
    for half, false in (([[1, 0, 2, 2]], 1), ([[1, 0, 0, 2]], 0), ([[1, 1, 1, 2]], 0)):
        assert one_image(half, crowd, [[5, 5, 5, 5]], [Segment(5, 0)])[1] == false
    assert one_image([[1, 1, 1, 2]], crowd, [[5, 5, 5, 5]], [Segment(5, 1)])[1] == 1
    assert one_image([[1, 1]], crowd[:1], [[0, 0]], []) == (0, 0, 0, 0), "no crowd is missed"


def test_a_label_without_segments_takes_no_part_and_nothing_has_no_number():
    empty = panoptic.score(panoptic.Counts(len(LABELS)), LABELS, THINGS)
    assert [empty[name] for name in panoptic.NAMES] == [-1, -1, -1] and empty["labels"] == 0
    counts = panoptic.Counts(len(LABELS))
    same = np.ones((2, 2), np.int32)
    counts.add(1, same, [Segment(1, 3)], same, [Segment(1, 3)])
    scored = panoptic.score(counts, LABELS, THINGS)
    assert scored["PQ"] == scored["stuff"]["PQ"] == 1 and scored["things"]["PQ"] == -1
    assert (scored["labels"], scored["things"]["labels"]) == (1, 0)
    assert [one["PQ"] for one in scored["classes"]] == [-1, -1, -1, 1]


def test_the_largest_without_a_match_come_first_with_what_lies_on_them():
    counts = panoptic.Counts(len(LABELS))
    truth = np.array([[1, 1, 1, 1, 2, 2]] * 2, np.int32)
    found = np.array([[7, 8, 8, 8, 8, 9]] * 2, np.int32)
    founds = [Segment(7, 0), Segment(8, 3), Segment(9, 1)]
    counts.add(4, truth, [Segment(1, 0), Segment(2, 2)], found, founds)
    worst = panoptic.score(counts, LABELS, THINGS)["worst"]
    assert [(one["area"], one["kind"], one["label"], one["other"]) for one in worst[:2]] == [
        (8, "missed", 3, 10),
        (8, "false", 10, 3),
    ]
    assert worst[0]["box"] == (0, 0, 4, 2) and worst[0]["iou"] == 0.25
    assert counts.images == {4: {"PQ": 0, "right": 0, "false": 3, "missed": 2}}


def test_the_true_segments_are_instances_by_the_label_map_and_stuff_by_label():
    labels = np.array([[0, 0, 0, 1, 1, 0, 2, 255, 3, 2]], np.uint8)
    places = [(0, 5, 0, False), (1, 3, 0, False), (2, 5, 1, True), (9, 10, 1, False)]
    instances = []
    for first, last, label, is_crowd in places:
        mask = np.zeros(labels.shape, np.uint8, order="F")
        mask[0, first:last] = 1
        area, counts = float(last - first), coco_mask.encode(mask)["counts"]
        box = (float(first), 0.0, float(last), 1.0)
        instances.append(Instance(1, label, counts, box, area, (0.0, 0.0), is_crowd))
    ids, segments = true_segments.read(labels, instances, THINGS)
    first = true_segments.FIRST
    large, small, crowd = first, first + 1, first + 2
    # The last instance has no pixel of its label, and the thing at 5 no instance.
    assert ids.tolist() == [[large, small, small, crowd, crowd, 0, 3, 0, 4, 3]]
    assert segments == [
        Segment(3, 2),
        Segment(4, 3),
        Segment(large, 0),
        Segment(small, 0),
        Segment(crowd, 1, True),
    ]
