"""What was found in one image, in that image's own pixels."""

import dataclasses
import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data import rle
from solojax.data.panoptic_ids import Segment
from solojax.inference import draw
from solojax.types import IGNORED, InputError

SCORE = 0.3  # the least that is shown, where a run has chosen none


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """``K`` detections, best first; ``K`` may be 0. Pixels are original ones."""

    image: np.ndarray  # H W 3 uint8 RGB
    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32, place in categories
    rles: list[bytes]  # K, compressed COCO run lengths: all about the masks follows from them
    categories: tuple[Category, ...]  # that the network knows
    source: str = ""  # the file it came from, if any
    given_boxes: np.ndarray | None = None  # K 4 float32, of a head that predicts them
    least_scores: np.ndarray | None = None  # C, of the classes, that its run shows; None: SCORE
    ids: np.ndarray | None = None  # K int32, of instances that are tracked through a film
    # Of a network that labels pixels; labels are places in categories and then in stuff.
    stuff: tuple[Category, ...] = ()
    label_map: np.ndarray | None = None  # H W uint8, IGNORED where there is none
    segment_ids: np.ndarray | None = None  # H W int32, 0: void; of one that finds instances too
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        height, width = self.size
        where = f" in {self.source}" if self.source else ""
        return f"<Result: {len(self)} detections{where}, {width}x{height}>"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def names(self) -> list[str]:
        """``K`` names of classes."""
        return [self.categories[label].name for label in self.labels]

    @property
    def masks(self) -> np.ndarray:
        """``K H W`` bool."""
        return rle.decode(self.rles, *self.size).astype(bool)

    @property
    def boxes(self) -> np.ndarray:
        """``K 4`` float32, x0 y0 x1 y1: the head's, if it has any, else tight around masks."""
        if self.given_boxes is not None:
            return self.given_boxes
        boxes = np.array([coco_mask.toBbox(one) for one in self._encoded()], np.float32)
        boxes = boxes.reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    @property
    def areas(self) -> np.ndarray:
        """``K`` int64, pixels."""
        return np.array([coco_mask.area(one) for one in self._encoded()], np.int64)

    def take(self, chosen: np.ndarray) -> "Result":
        """Some of the detections, by their numbers."""
        return dataclasses.replace(
            self,
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            rles=[self.rles[i] for i in chosen],
            given_boxes=None if self.given_boxes is None else self.given_boxes[chosen],
            ids=None if self.ids is None else self.ids[chosen],
        )

    def above(self, score: float | None = None) -> "Result":
        """The detections with at least that score; without one, that of the run for their class.

        Raises:
          InputError: it is no number.
        """
        if score is None and self.least_scores is not None:
            return self.take(np.flatnonzero(self.scores >= self.least_scores[self.labels]))
        score = SCORE if score is None else score
        if not isinstance(score, numbers.Real):
            raise InputError(f"a score is {score!r} where a number is meant")
        return self.take(np.flatnonzero(self.scores >= score))

    def plot(self) -> np.ndarray:
        """The image with masks, names and scores drawn: ``H' W' 3`` uint8 RGB (``draw``).

        Colours tell classes apart, or instances where there is one class only or they have ids.
        Under instances lies the stuff of a label map; of a head that finds none, all of it.
        """
        notes = [f"{score:.2f}" for score in self.scores]
        rles, labels, colors = list(self.rles), self.labels.tolist(), None
        if self.ids is not None:
            notes = [f"#{number} {note}" for number, note in zip(self.ids, notes, strict=True)]
            colors = self.ids.tolist()
        for label, counts in self._ground():
            rles.append(counts)
            labels.append(label)
            notes.append("")
            if colors is not None:
                colors.append(label)
        known = *self.categories, *self.stuff
        return draw.draw_instances(self.image, rles, labels, notes, known, colors)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections in the form of COCO's result files, ready for ``json.dump``.

        Ids of instances are ``track_id``.
        """
        columns = self.scores, self.labels, self.boxes.tolist(), self._encoded()
        rows: list[dict[str, Any]] = [
            {
                "image_id": image_id,
                "category_id": self.categories[label].id,
                "score": float(score),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": {"size": list(self.size), "counts": one["counts"].decode()},
            }
            for score, label, (x0, y0, x1, y1), one in zip(*columns, strict=True)
        ]
        if self.ids is not None:
            for row, number in zip(rows, self.ids.tolist(), strict=True):
                row["track_id"] = number
        return rows

    def to_supervision(self) -> Any:
        """As ``supervision.Detections``, masks still as run lengths (``supervision.CompactMask``).

        Their boxes end behind the last pixel, as those here do.

        Raises:
          InputError: there is no ``pip install "solojax[supervision]"``.
        """
        try:
            import supervision
        except ImportError:
            raise InputError(
                'to_supervision needs supervision; pip install "solojax[supervision]"'
            ) from None
        # Cut to the boxes of the masks: those that a head predicts may leave pixels out.
        around = dataclasses.replace(self, given_boxes=None).boxes
        return supervision.Detections(
            xyxy=self.boxes,
            mask=supervision.CompactMask.from_coco_rle(self._encoded(), around, self.size),
            confidence=self.scores,
            class_id=self.labels.astype(int),
            tracker_id=None if self.ids is None else self.ids.astype(int),
            data={"class_name": np.array(self.names, str)},
        )

    def _ground(self) -> Iterator[tuple[int, bytes]]:
        """The labels of pixels that are drawn, and the run lengths of each."""
        if self.label_map is not None:
            things = 0 if self.segment_ids is None else len(self.categories)
            for number, mask in rle.rles_of(self.label_map.astype(np.int32) + 1):
                if things < number <= IGNORED:
                    yield number - 1, mask["counts"]

    def _encoded(self) -> list[dict[str, Any]]:
        return [{"size": list(self.size), "counts": counts} for counts in self.rles]
