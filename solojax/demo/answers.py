"""What the page shows and hands out of an image, ready for JSON."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import panoptic_ids, rle
from solojax.data.findings import Findings
from solojax.demo.addresses import address_of
from solojax.demo.samples import Sample
from solojax.heads.grid import Grid, grid_of
from solojax.inference import draw, sources, superpixels
from solojax.inference.look import SHOWN_SIDE
from solojax.inference.predictor import Predictor
from solojax.inference.result import Result
from solojax.inference.save import panoptic
from solojax.inference.save.files import encode
from solojax.inference.save.results import rows
from solojax.types import IGNORED, InputError

LEAST_MASK = 0.05  # the lowest threshold of masks that can be chosen; what is below is not sent
MOST_PIXELS = 10**8  # of an image


class Upload(NamedTuple):
    """An image file as it came."""

    encoded: bytes
    name: str  # as the browser calls it, without folders


class Choice(NamedTuple):
    """Where the sliders stand; None: where the run has them."""

    score: float | None = None
    mask: float | None = None
    superpixels: frozenset[int] = frozenset()  # those that are chosen


class Answers:
    """What is found in images by one run.

    Args:
      predictor: what finds.
      head: of its model.
      run: what to call it.
      samples: images to begin with.
    """

    def __init__(self, predictor: Predictor, head: Any, run: str, samples: Sequence[Sample]):
        self._predictor = predictor
        self._head = type(head).__name__
        self._grid = grid_of(head)
        self._finds, self._labels = predictor.finds_instances, predictor.labels_pixels
        self._known = *predictor.categories, *predictor.stuff
        # The label map is beneath the instances: what is a thing is seen as one of these.
        self._things = len(predictor.categories) if self._finds else 0
        self._run = run
        self.samples = samples

    def about(self) -> dict[str, Any]:
        """The run itself, for a page that has just been opened."""
        thresholds = self._predictor.thresholds
        return {
            "run": self._run,
            "head": self._head,
            "classes": [one.name for one in self._predictor.categories] if self._finds else [],
            "labels": [one.name for one in self._known[self._things :]] if self._labels else [],
            "superpixels": "" if superpixels.are_there() else superpixels.MISSING,
            "levels": self._grid.levels if self._grid else [],
            "score": thresholds.score,
            "by_class": len({thresholds.score, *thresholds.classes.values()}) > 1,
            "mask": self._predictor.mask_threshold,
            "least_mask": LEAST_MASK,
            "samples": [{"name": one.name, "thumbnail": one.thumbnail} for one in self.samples],
        }

    def look(self, upload: Upload) -> dict[str, Any]:
        """All that is found, with masks as probabilities for the page to cut.

        Raises:
          InputError: it is no sound image, or too large.
        """
        began, findings = time.perf_counter(), Findings()
        look = self._predictor.look(_decode(upload, self._predictor, findings))
        patches = [_patch(mask) for mask in look.masks]
        least = self._predictor.thresholds.of(self._predictor.categories)
        cells = look.cells.tolist() if look.cells is not None else [None] * len(look.scores)
        return {
            "name": upload.name,
            "height": look.image.shape[0],
            "width": look.image.shape[1],
            "preview": address_of(look.image, SHOWN_SIDE),
            "notes": [str(finding) for finding in findings],
            "frame": look.frame,
            "canvas": look.canvas,
            "instances": [
                {
                    "class": self._known[label].name,
                    "score": score,
                    "least": least[label],
                    "color": draw.color_of(label if len(self._known) > 1 else number),
                    "cell": _place(self._grid, cell),
                    "mask": [*corner, *patch.shape],
                }
                for number, (label, score, cell, (corner, patch)) in enumerate(
                    zip(look.labels.tolist(), look.scores.tolist(), cells, patches, strict=True)
                )
            ],
            "masks": _text(b"".join(patch.tobytes() for _, patch in patches)),
            **self._ground(look.label_map),
            "seconds": time.perf_counter() - began,
        }

    def results(self, upload: Upload, choice: Choice) -> list[dict[str, Any]]:
        """The rows that ``predict --save rle`` writes; raises as ``look``."""
        return rows(self._find(upload, choice), 1, upload.name)

    def picture(self, upload: Upload, choice: Choice) -> bytes:
        """The PNG that ``predict`` draws; raises as ``look``."""
        drawn = self._find(upload, choice).plot()
        return bytes(encode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)))

    def label_map(self, upload: Upload, choice: Choice) -> bytes:
        """The PNG of ``predict --save labels``; raises as ``look``, or there are no labels."""
        result = self._find(upload, choice)
        if result.label_map is None:
            raise InputError("this network labels no pixels")
        return bytes(encode(".png", result.label_map))

    def segments(self, upload: Upload, choice: Choice) -> bytes:
        """What ``predict --save panoptic`` writes, in a ZIP; raises as ``label_map``."""
        result = self._find(upload, choice)
        ids, stem = result.segment_ids, Path(upload.name).stem
        if ids is None:
            raise InputError("this network finds no segments")
        image = {"id": 1, "file_name": upload.name, "height": len(ids), "width": len(ids[0])}
        content = {
            "images": [image],
            "annotations": [panoptic.row(result, ids, 1, f"{stem}.png")],
            "categories": panoptic.categories_of(result.categories, result.stuff),
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as files:
            files.writestr("panoptic.json", json.dumps(content))
            files.writestr(f"panoptic/{stem}.png", panoptic_ids.to_png(ids))
        return packed.getvalue()

    def superpixels(self, upload: Upload) -> dict[str, Any]:
        """Those of the image as it is shown; raises as ``look``, or there is no scikit-image."""
        numbers = superpixels.segment(_decode(upload, self._predictor, Findings()))
        return {"numbers": _text(numbers.astype("<u2").tobytes()), "count": int(numbers.max())}

    def mask_picture(self, upload: Upload, choice: Choice) -> bytes:
        """The union of superpixels as a PNG of 0 and 255; raises as ``superpixels.union``."""
        return bytes(encode(".png", self._union(upload, choice) * 255))

    def mask_row(self, upload: Upload, choice: Choice) -> dict[str, Any]:
        """That union as a row of COCO's form, without a class; raises as ``mask_picture``."""
        mask = self._union(upload, choice)
        size = mask.shape[0], mask.shape[1]
        counts = rle.encode_patch(mask, (0, 0), size)
        return {
            "file_name": upload.name,
            "area": int(mask.sum()),
            "bbox": [int(side) for side in coco_mask.toBbox({"size": size, "counts": counts})],
            "iscrowd": 0,
            "segmentation": {"size": list(size), "counts": counts.decode()},
        }

    def _union(self, upload: Upload, choice: Choice) -> np.ndarray:
        image = _decode(upload, self._predictor, Findings())
        numbers = superpixels.segment(image)
        return superpixels.union(numbers, choice.superpixels, (image.shape[0], image.shape[1]))

    def _ground(self, label_map: np.ndarray | None) -> dict[str, Any]:
        """The labels beneath the instances, the largest first, and where each is."""
        if label_map is None:
            return {"labels": []}
        counts = np.bincount(label_map.ravel(), minlength=len(self._known))[: len(self._known)]
        counts[: self._things] = 0
        seen = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label]]
        places = np.full(IGNORED + 1, IGNORED, np.uint8)
        places[seen] = np.arange(len(seen))
        return {
            "labels": [
                {
                    "class": self._known[label].name,
                    "share": counts[label] / label_map.size,
                    "color": draw.color_of(label),
                }
                for label in seen
            ],
            "ground": _text(places[label_map].tobytes()),  # places in labels
        }

    def _find(self, upload: Upload, choice: Choice) -> Result:
        mask = self._predictor.mask_threshold if choice.mask is None else choice.mask
        predictor = self._predictor.at(mask)
        return predictor(_decode(upload, predictor, Findings())).above(choice.score)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decode(upload: Upload, predictor: Predictor, findings: Findings) -> np.ndarray:
    return sources.decode_image(
        upload.encoded,
        upload.name,
        findings,
        value_range=predictor.value_range,
        most_pixels=MOST_PIXELS,
    )


def _patch(mask: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """The part of a mask that any threshold could show: (top, left), and 0 to 255.

    A pixel around it comes along, towards which the page fades it out.
    """
    seen = mask > LEAST_MASK
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return (0, 0), np.zeros((0, 0), np.uint8)
    top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
    part = mask[top : rows[-1] + 2, left : columns[-1] + 2]
    return (top, left), np.rint(part * 255).astype(np.uint8)


def _place(grid: Grid | None, cell: int | None) -> dict[str, Any] | None:
    """Where a cell lies: rows and columns count from 0 over the whole canvas."""
    if grid is None or cell is None:
        return None
    level = int(np.searchsorted(grid.starts, cell, side="right")) - 1
    row, column = divmod(cell - grid.starts[level], grid.sizes[level])
    return {"level": grid.levels[level], "side": grid.sizes[level], "row": row, "column": column}
