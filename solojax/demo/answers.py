"""What the page shows and hands out of an image, ready for JSON."""

import base64
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from solojax.config import Category
from solojax.data.findings import Findings
from solojax.demo.addresses import address_of
from solojax.demo.samples import Sample
from solojax.heads.grid import Grid, grid_of
from solojax.inference import draw, sources
from solojax.inference.predictor import Predictor
from solojax.inference.result import Result
from solojax.inference.save.files import encode
from solojax.inference.save.results import rows

LEAST_MASK = 0.05  # the lowest threshold of masks that can be chosen; what is below is not sent
PREVIEW_SIDE = 1280  # pixels that the longer side of the picture on the page has at most
MOST_PIXELS = 10**8  # of an image


class Upload(NamedTuple):
    """An image file as it came."""

    encoded: bytes
    name: str  # as the browser calls it, without folders


class Choice(NamedTuple):
    """Where the sliders stand; None: where the run has them."""

    score: float | None = None
    mask: float | None = None


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
        self._run = run
        self.samples = samples

    def about(self) -> dict[str, Any]:
        """The run itself, for a page that has just been opened."""
        thresholds = self._predictor.thresholds
        return {
            "run": self._run,
            "head": self._head,
            "classes": [one.name for one in self._predictor.categories],
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
        categories: Sequence[Category] = self._predictor.categories
        cells = look.cells.tolist() if look.cells is not None else [None] * len(look.scores)
        return {
            "name": upload.name,
            "height": look.image.shape[0],
            "width": look.image.shape[1],
            "preview": address_of(look.image, PREVIEW_SIDE),
            "notes": [str(finding) for finding in findings],
            "frame": look.frame,
            "canvas": look.canvas,
            "instances": [
                {
                    "class": categories[label].name,
                    "score": score,
                    "least": least[label],
                    "color": draw.color_of(label if len(categories) > 1 else number),
                    "cell": _place(self._grid, cell),
                    "mask": [*corner, *patch.shape],
                }
                for number, (label, score, cell, (corner, patch)) in enumerate(
                    zip(look.labels.tolist(), look.scores.tolist(), cells, patches, strict=True)
                )
            ],
            "masks": base64.b64encode(b"".join(patch.tobytes() for _, patch in patches)).decode(),
            "seconds": time.perf_counter() - began,
        }

    def results(self, upload: Upload, choice: Choice) -> list[dict[str, Any]]:
        """The rows that ``predict --save rle`` writes; raises as ``look``."""
        return rows(self._find(upload, choice), 1, upload.name)

    def picture(self, upload: Upload, choice: Choice) -> bytes:
        """The PNG that ``predict`` draws; raises as ``look``."""
        drawn = self._find(upload, choice).plot()
        return bytes(encode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)))

    def _find(self, upload: Upload, choice: Choice) -> Result:
        mask = self._predictor.mask_threshold if choice.mask is None else choice.mask
        predictor = self._predictor.at(mask)
        return predictor(_decode(upload, predictor, Findings())).above(choice.score)


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
