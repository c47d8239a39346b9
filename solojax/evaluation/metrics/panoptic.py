"""Panoptic quality (Kirillov et al., 2019): how well segments agree, things and stuff alike.

A found segment and a true one of its label match where their IoU is above one half, of which there
can be but one pair. PQ = SQ RQ is the sum of the IoUs of matches over matches + half of what was
missed + half of what is false; SQ the mean IoU of matches.

The numbers are those of panopticapi, in the cases that the paper leaves open as well. Void is no
part of a union. A crowd matches nothing and is not missed. A found segment is not false either
where more than half of it lies on void and on the crowd of its label; of several such crowds in an
image on the last one alone.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from solojax.config import Category
from solojax.data.panoptic_ids import VOID, Segment
from solojax.evaluation.metrics.semantic import mean

NAMES = {
    "PQ": "panoptic quality, SQ x RQ of each label, mean of the labels",
    "SQ": "how well matched segments fit: their mean IoU",
    "RQ": "how many segments are matched: F1",
}
IOU = 0.5  # above which segments match
EXCUSED = 0.5  # share of a found segment on void or crowd above which it is not false
KEPT = 100  # of the largest segments without a match that are kept, for people


class Unmatched(NamedTuple):
    """A segment that costs; of two the larger one comes first."""

    area: int  # pixels
    image_id: int
    label: int
    kind: str  # "missed" or "false"
    box: tuple[int, int, int, int]  # x y width height, pixels
    iou: float  # with the best one of its label
    other: int | None  # the label of most of what lies on it; None: nothing does


class Counts:
    """What scores are made of, added up over images; those of processes are merged.

    Attributes:
      ious: ``L`` float64, the sum of the IoUs of each label's matches.
      right, false, missed: ``L`` int64, segments.
      images: ``PQ``, ``right``, ``false`` and ``missed`` of each by its id; PQ is -1 where there is
        nothing.
      worst: the largest segments without a match, the largest first.
    """

    def __init__(self, labels: int):
        self.ious = np.zeros(labels)
        self.right, self.false, self.missed = np.zeros((3, labels), np.int64)
        self.images: dict[int, dict[str, Any]] = {}
        self.worst: list[Unmatched] = []

    def add(
        self,
        image_id: int,
        truth: np.ndarray,
        truths: Sequence[Segment],
        found: np.ndarray,
        founds: Sequence[Segment],
    ) -> None:
        """Counts an image.

        Args:
          image_id: of it.
          truth: ``H W`` int32, which segment each pixel is of; 0 is void.
          truths: the segments.
          found: of the prediction, likewise.
          founds: its segments, each with a pixel. Where it is void it says nothing.
        """
        here = _judge(truth, truths, found, founds)
        one = Counts(len(self.ious))
        for iou, segment in here.matches:
            one.ious[segment.label] += iou
            one.right[segment.label] += 1
        for segments, counts in ((here.missed, one.missed), (here.false, one.false)):
            for segment in segments:
                counts[segment.label] += 1
        quality, _, _ = (mean(column) for column in _qualities(one))
        sums = {name: int(getattr(one, name).sum()) for name in ("right", "false", "missed")}
        one.images = {image_id: {"PQ": quality, **sums}}
        least = self.worst[-1].area if len(self.worst) == KEPT else -1
        one.worst = [
            *_unmatched("missed", image_id, here.missed, truth, founds, here.common, least),
            *_unmatched("false", image_id, here.false, found, truths, here.turned(), least),
        ]
        self.merge(one)

    def merge(self, other: "Counts") -> None:
        """Adds those of other images."""
        self.ious += other.ious
        self.right += other.right
        self.false += other.false
        self.missed += other.missed
        self.images |= other.images
        self.worst = heapq.nlargest(KEPT, [*self.worst, *other.worst], lambda one: one.area)


Overlaps = dict[tuple[int, int], int]
"""Pixels by the ids of both maps."""


class _Judged(NamedTuple):
    matches: list[tuple[float, Segment]]
    missed: list[Segment]
    false: list[Segment]
    common: Overlaps  # by the ids of truth and prediction

    def turned(self) -> Overlaps:
        return {(there, here): area for (here, there), area in self.common.items()}


def overlaps(truth: np.ndarray, found: np.ndarray) -> Overlaps:
    """How many pixels each pair of ids has that has any."""
    pairs = truth.astype(np.int64).ravel() << 32 | found.ravel()
    begins = np.flatnonzero(np.diff(pairs, prepend=-1))  # of runs: a thousandth of the pixels
    lengths = np.diff(begins, append=len(pairs))
    keys, runs = np.unique(pairs[begins], return_inverse=True)
    areas = np.bincount(runs, lengths).astype(int)
    both = zip((keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist(), strict=True)
    return dict(zip(both, areas.tolist(), strict=True))


def _judge(
    truth: np.ndarray, truths: Sequence[Segment], found: np.ndarray, founds: Sequence[Segment]
) -> _Judged:
    common = overlaps(truth, found)
    true_areas, areas = _areas(common, 0), _areas(common, 1)
    true, given = ({one.id: one for one in some} for some in (truths, founds))
    matches: dict[int, int] = {}  # found -> true
    ious = []
    for (here, there), area in common.items():
        if here not in true or there not in given or true[here].is_crowd:
            continue
        if true[here].label == given[there].label:
            union = true_areas[here] + areas[there] - area - common.get((VOID, there), 0)
            if area / union > IOU:
                matches[there] = here
                ious.append((area / union, true[here]))
    crowds = {one.label: one.id for one in truths if one.is_crowd}
    false = []
    for one in founds:
        if one.id not in matches:
            excuses = [VOID, *([crowds[one.label]] if one.label in crowds else [])]
            excused = sum(common.get((excuse, one.id), 0) for excuse in excuses)
            if excused <= EXCUSED * areas[one.id]:
                false.append(one)
    taken = set(matches.values())
    missed = [one for one in truths if not one.is_crowd and one.id not in taken]
    return _Judged(ious, missed, false, common)


def _areas(common: Overlaps, side: int) -> dict[int, int]:
    """Pixels of each id of one of both maps."""
    areas: dict[int, int] = {}
    for ids, area in common.items():
        areas[ids[side]] = areas.get(ids[side], 0) + area
    return areas


def _unmatched(
    kind: str,
    image_id: int,
    segments: Sequence[Segment],
    ids: np.ndarray,
    others: Sequence[Segment],
    common: Overlaps,
    least: int,
) -> Iterable[Unmatched]:
    """Segments of one map of more than ``least`` pixels, with what of the other lies on them."""
    labels = {one.id: one.label for one in others}
    areas, other_areas = _areas(common, 0), _areas(common, 1)
    for segment in segments:
        if areas.get(segment.id, 0) <= least:
            continue
        on = {there: area for (here, there), area in common.items() if here == segment.id}
        shares: dict[int, int] = {}
        for there, area in on.items():
            if there in labels:
                shares[labels[there]] = shares.get(labels[there], 0) + area
        alike = [
            area / (areas[segment.id] + other_areas[there] - area)
            for there, area in on.items()
            if labels.get(there) == segment.label
        ]
        yield Unmatched(
            areas.get(segment.id, 0),
            image_id,
            segment.label,
            kind,
            _box(ids == segment.id),
            max(alike, default=0.0),
            max(shares, key=shares.__getitem__, default=None),
        )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    top, left = int(rows[0]), int(columns[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def score(counts: Counts, labels: Sequence[Category], things: int) -> dict[str, Any]:
    """The scores of all images.

    Args:
      counts: of them.
      labels: things, and then stuff.
      things: how many of them are things.

    Returns:
      What JSON can hold: the numbers of ``NAMES`` with ``labels``, how many they are the mean of;
      those of ``things`` and ``stuff`` alone; ``classes``, those of each label with its counts;
      ``images`` and ``worst``, as of ``Counts``. A label without a segment in truth or prediction
      has -1 and takes no part in a mean; -1 also where no label is left.
    """
    columns = _qualities(counts)
    groups = {"all": slice(None), "things": slice(things), "stuff": slice(things, None)}
    means = {
        group: {
            **{name: mean(column[part]) for name, column in zip(NAMES, columns, strict=True)},
            "labels": int((columns[0][part] >= 0).sum()),
        }
        for group, part in groups.items()
    }
    return {
        **means.pop("all"),
        **means,
        "classes": [
            {
                "id": one.id,
                "name": one.name,
                "is_thing": label < things,
                **{name: float(c[label]) for name, c in zip(NAMES, columns, strict=True)},
                **{
                    name: int(getattr(counts, name)[label]) for name in ("right", "false", "missed")
                },
            }
            for label, one in enumerate(labels)
        ],
        "images": dict(counts.images),
        "worst": [
            {
                **one._asdict(),
                "label": labels[one.label].id,
                "other": None if one.other is None else labels[one.other].id,
            }
            for one in counts.worst
        ],
    }


def table(scores: dict[str, Any]) -> str:
    """The numbers as lines for people, named."""
    groups = {"all": scores, "things": scores["things"], "stuff": scores["stuff"]}
    lines = [f"  {'':6}" + "".join(f" {name:>8}" for name in groups)]
    for name, what in NAMES.items():
        lines.append(f"  {name:6}" + "".join(f" {one[name]:8.3f}" for one in groups.values()))
        lines[-1] += f"  {what}"
    return "\n".join(
        [*lines, "  labels" + "".join(f" {one['labels']:8}" for one in groups.values())]
    )


def _qualities(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PQ, SQ and RQ of each label, -1 where there is no segment."""
    whole = counts.right + (counts.false + counts.missed) / 2
    there = whole > 0
    recognised = counts.right / np.maximum(whole, 0.5)
    fit = counts.ious / np.maximum(counts.right, 1)
    quality = counts.ious / np.maximum(whole, 0.5)
    pq, sq, rq = (np.where(there, one, -1.0) for one in (quality, fit, recognised))
    return pq, sq, rq
