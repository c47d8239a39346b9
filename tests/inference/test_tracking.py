"""Claims about ids of instances in a film, by detections that are drawn by hand."""

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from solojax.inference import draw, tracking
from solojax.inference.result import Result
from solojax.types import InputError
from tests.inference.save.scene import CATEGORIES, frame, load, result_of, write

SIZE = 120, 160


def scene(time: int, *, without: tuple[int, ...] = ()) -> tuple[Result, list[int]]:
    """A disc to the right, a square downwards, a disc to the left through both: in any order.

    Returns:
      What is found, and which of the three each is.
    """
    canvases = [np.zeros(SIZE, np.uint8) for _ in range(3)]
    cv2.circle(canvases[0], (20 + 4 * time, 60), 12, 1, -1)
    cv2.rectangle(canvases[1], (70, 5 + 3 * time), (95, 30 + 3 * time), 1, -1)
    cv2.circle(canvases[2], (140 - 4 * time, 90), 9, 1, -1)
    order = np.random.default_rng(time).permutation(3).tolist()
    order = [which for which in order if which not in without]
    return result_of([canvases[which] for which in order], SIZE), order


def test_instances_keep_the_ids_that_they_get_at_once() -> None:
    pytest.importorskip("trackers")
    tracker, ids = tracking.Tracker(), {}
    for time in range(28):
        hidden = () if time < 8 else (0,) if time < 14 else (1, 2) if time == 20 else ()
        result, order = scene(time, without=(*hidden, 2) if time < 3 else hidden)
        found = tracker(result)
        assert found.rles == result.rles and found.scores is result.scores
        for which, number in zip(order, found.ids.tolist(), strict=True):
            assert ids.setdefault(which, number) == number, (time, which)
    assert sorted(ids.values()) == [1, 2, 3] and ids[2] == 3


def test_a_frame_without_detections_is_one_and_films_are_apart() -> None:
    pytest.importorskip("trackers")
    first, second = tracking.Tracker(), tracking.Tracker()
    nothing = scene(0, without=(0, 1, 2))[0]
    assert first(nothing).ids.tolist() == []
    assert sorted(first(scene(1)[0]).ids) == [1, 2, 3]
    assert first(nothing).ids.tolist() == []
    assert sorted(first(scene(3)[0]).ids) == sorted(second(scene(3)[0]).ids) == [1, 2, 3]


def test_two_in_one_box_are_two() -> None:
    pytest.importorskip("trackers")
    tracker, result = tracking.Tracker(), scene(0)[0].take(np.array([0, 0]))
    assert [sorted(tracker(result).ids) for _ in range(3)] == [[1, 2]] * 3


def test_without_its_package_a_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(
        InputError, match=r'^--track needs trackers; pip install "solojax\[track\]"$'
    ):
        tracking.Tracker()


TRACKED = dataclasses.replace(scene(5)[0], ids=np.array([7, 2, 12], np.int32))


def test_ids_are_in_what_is_saved(tmp_path: Path) -> None:
    write(tmp_path, [(frame(0, 0.0), TRACKED.take(np.array([2, 0])))], "json", "rle")
    (image,) = load(tmp_path / "detections.json")
    for rows in (image["detections"], load(tmp_path / "results.json")):
        assert [row["track_id"] for row in rows] == [12, 7]
    untracked = dataclasses.replace(TRACKED, ids=None)
    assert not any("track_id" in row for row in untracked.to_coco(1))
    pytest.importorskip("supervision")
    assert TRACKED.to_supervision().tracker_id.tolist() == [7, 2, 12]
    assert untracked.to_supervision().tracker_id is None


def test_colours_follow_ids(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(draw, "draw_masks", lambda *arguments: drawn.append(arguments[2:]))
    TRACKED.plot()
    dataclasses.replace(TRACKED, categories=CATEGORIES[:1], labels=np.zeros(3, np.int32)).plot()
    (several, colors), (single, same) = drawn
    assert colors == same == [7, 2, 12]
    assert several == ["circle #7 0.90", "square #2 0.80", "circle #12 0.70"]
    assert single == ["#7 0.90", "#2 0.80", "#12 0.70"]
