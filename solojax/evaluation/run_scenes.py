"""How well a run sees whole scenes: its label maps and segments beside those of the records."""

import pickle
from typing import Any

import cv2
import numpy as np

from solojax import processes
from solojax.data.records import coco
from solojax.evaluation.metrics import panoptic, semantic, true_segments
from solojax.evaluation.report import scenes as report
from solojax.heads import protocol
from solojax.heads.merging import merging_of
from solojax.inference.programs import Found
from solojax.inference.save import files
from solojax.inference.scenes import segments_of
from solojax.types import IGNORED, InputError


def check_maps(head: Any, records: coco.Records) -> None:
    """Raises InputError where images have no label maps to score a head of pixels by."""
    if records.stuff_labels is None:
        raise InputError(
            f"{type(head).__name__} labels pixels, and these images have no label maps to "
            "score it by; add annotations/panoptic_*.json"
        )


class Scenes:
    """Counts what is found, image by image, and keeps it.

    Args:
      head: of the run; panoptic segments are counted where it finds instances as well.
      records: the images, with label maps.
    """

    def __init__(self, head: Any, records: coco.Records):
        self._records, self._merging = records, merging_of(head)
        self._is_panoptic = protocol.finds_instances(head)
        self._things, self._labels = len(records.categories), (*records.categories, *records.stuff)
        count = len(self._labels)
        self._counts = semantic.Counts(count), panoptic.Counts(count)
        # Label maps as PNGs: a hundredth of the pixels.
        self._kept: dict[int, tuple[Found, bytes]] = {}

    def add(self, index: int, found: Found) -> None:
        """Counts an image, by the number of its record; one that nobody labelled counts nowhere."""
        assert found.label_map is not None
        png = bytes(files.encode(".png", found.label_map))
        self._kept[index] = found._replace(label_map=None), png
        record = coco.read(self._records, index)
        image_id, labels = self._records.image_ids[index], coco.labels_of(self._records, record)
        if labels is None:
            return
        of_labels, of_segments = self._counts
        of_labels.add(image_id, labels, found.label_map)
        if self._is_panoptic:
            truth = true_segments.read(labels, record.instances, self._things)
            of_segments.add(image_id, *truth, *segments_of(found, self._things, self._merging))

    def bring_together(self) -> None:
        """Adds what all processes counted."""
        parts = processes.collect(pickle.dumps((self._counts, self._kept)))
        (self._counts, self._kept), *others = map(pickle.loads, parts)
        for counts, kept in others:
            self._counts[0].merge(counts[0])
            self._counts[1].merge(counts[1])
            self._kept |= kept

    def scores(self) -> dict[str, Any]:
        """``semantic`` and, of a head that finds instances, ``panoptic``, as of their modules."""
        of_labels, of_segments = self._counts
        scored = {"semantic": semantic.score(of_labels, self._labels)}
        if self._is_panoptic:
            scored["panoptic"] = panoptic.score(of_segments, self._labels, self._things)
        return scored

    def look_at(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """``look`` by the id of the image."""
        return self.look(self._records.image_ids.index(image_id))

    def look(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The prediction and the truth of an image as pictures, each ``H W 3`` uint8 RGB."""
        found, png = self._kept[index]
        label_map = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))
        record = coco.read(self._records, index)
        image, labels = coco.image_of(record), coco.labels_of(self._records, record)
        if labels is None:
            labels = np.full_like(label_map, IGNORED)
        ids, true_ids = None, None
        if self._is_panoptic:
            found = found._replace(label_map=label_map)
            ids, _ = segments_of(found, self._things, self._merging)
            true_ids, _ = true_segments.read(labels, record.instances, self._things)
        return report.picture(label_map, ids, image), report.picture(labels, true_ids, image)
