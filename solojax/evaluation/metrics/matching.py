"""COCOeval's matching, by its rules, in time and memory of the pairs that overlap, not of all.

pycocotools walks all truths for each detection at each of ten thresholds and four areas: for 10,000
instances in an image, hours.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

ROWS = 1024  # detections that are overlapped with all truths at once

Pairs = list[list[tuple[int, float]]]  # of each detection, best first: places of truths, IoUs


class Judge(COCOeval):
    """A COCOeval that keeps pairs that can match alone.

    Args:
      gold: the truth.
      found: the detections.
      kind: "segm" or "bbox".
      scenes: ``coco.Scene`` by image id, whose overlaps are taken in place of computing them.
    """

    def __init__(self, gold: COCO, found: COCO, kind: str, scenes: dict[int, Any] | None):
        super().__init__(gold, found, kind)
        self._scenes = scenes
        all_scenes = scenes.values() if scenes else ()
        self._rows = {one["id"]: row for s in all_scenes for row, one in enumerate(s.found)}
        self._columns = {one["id"]: n for s in all_scenes for n, one in enumerate(s.truths)}

    def computeIoU(self, imgId: int, catId: int) -> Pairs:
        found, truths = self._dts[imgId, catId], self._gts[imgId, catId]
        if not (found and truths):
            return []
        order = np.argsort([-one["score"] for one in found], kind="mergesort")
        best = [found[i] for i in order[: self.params.maxDets[-1]]]
        least = self.params.iouThrs.min()
        pairs: Pairs = []
        for ious in self._overlap(imgId, best, truths):
            for row in ious:
                places = np.flatnonzero(row >= least)
                pairs.append(list(zip(places.tolist(), row[places].tolist(), strict=True)))
        return pairs

    def _overlap(
        self, image_id: int, found: list[dict[str, Any]], truths: list[dict[str, Any]]
    ) -> Iterator[np.ndarray]:
        """The IoUs of some detections after the other with all truths."""
        shape = {"segm": "segmentation", "bbox": "bbox"}[self.params.iouType]
        crowds = [int(one["iscrowd"]) for one in truths]
        shapes = [one[shape] for one in truths]
        columns = [self._columns[one["id"]] for one in truths] if self._scenes else []
        for start in range(0, len(found), ROWS):
            here = found[start : start + ROWS]
            if self._scenes:
                rows = [self._rows[one["id"]] for one in here]
                yield self._scenes[image_id].ious[np.ix_(rows, columns)]
            else:
                yield coco_mask.iou([one[shape] for one in here], shapes, crowds)

    def evaluateImg(
        self, imgId: int, catId: int, aRng: list[float], maxDet: int
    ) -> dict[str, Any] | None:
        """Gives each detection, best first, the free truth it overlaps most, at each threshold.

        Of equal overlaps the last one; one that counts before one that is ignored, as crowds and
        truths of other areas are; crowds are never taken up.
        """
        truths, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not (truths or found):
            return None
        ignored = np.array(
            [bool(one["ignore"]) or not aRng[0] <= one["area"] <= aRng[1] for one in truths], bool
        )
        order = np.argsort(ignored, kind="mergesort")  # those that count come first
        rank = np.argsort(order).tolist()
        ignores = ignored.tolist()
        crowds = [bool(one["iscrowd"]) for one in truths]
        by_score = np.argsort([-one["score"] for one in found], kind="mergesort")
        best = [found[i] for i in by_score[:maxDet]]
        pairs = [sorted(here, key=lambda pair: rank[pair[0]]) for here in self.ious[imgId, catId]]
        thresholds = self.params.iouThrs
        matches = np.zeros((len(thresholds), len(best)))
        outside = [not aRng[0] <= one["area"] <= aRng[1] for one in best]
        ignored_matches = np.zeros(matches.shape, bool)
        for number, threshold in enumerate(thresholds):
            taken: set[int] = set()
            for row, here in enumerate(pairs[: len(best)]):
                most, match = min(threshold, 1 - 1e-10), -1
                for place, iou in here:
                    if place in taken and not crowds[place]:
                        continue
                    if match >= 0 and not ignores[match] and ignores[place]:
                        break
                    if iou >= most:
                        most, match = iou, place
                if match >= 0:
                    taken.add(match)
                    matches[number, row] = truths[match]["id"]
                    ignored_matches[number, row] = ignores[match]
        return {
            "dtIds": [one["id"] for one in best],
            "dtMatches": matches,
            "dtScores": [one["score"] for one in best],
            "gtIgnore": ignored[order],
            "dtIgnore": ignored_matches | ((matches == 0) & np.array(outside, bool)),
        }
