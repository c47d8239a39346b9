"""``instances.json``: a COCO set of what was found, masks as polygons."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from solojax.config import Category
from solojax.data import rle
from solojax.inference.result import Result
from solojax.inference.save.files import ImageFiles, Rows
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin

# Pixels that a polygon's points may lie off the borders of the pixels of its mask. Up to half a
# pixel pycocotools fills the very pixels again.
SLACK = 0.5


class Polygons:
    """An annotation for each detection; the frames of a video are written (``ImageFiles``)."""

    NAMES: ClassVar[tuple[str, ...]] = ("instances.json", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._files = ImageFiles(out, inputs)
        self._count = 0
        self._images: list[dict[str, Any]] = []
        classes = [{"id": one.id, "name": one.name} for one in categories]
        info = {"description": "solojax predict", "images": str(self._files.root)}
        about = f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(classes)},\n'
        self._rows = Rows(out / self.NAMES[0], f'{about}"annotations": [')

    def add(self, origin: Origin, result: Result) -> None:
        height, width = result.size
        file_name = self._files.name(origin, result)
        self._images.append(
            {"id": origin.id, "file_name": file_name, "height": height, "width": width}
        )
        for one, counts, area in zip(
            result.to_coco(origin.id), result.rles, result.areas.tolist(), strict=True
        ):
            self._count += 1
            outlines = {"segmentation": polygons(counts, height), "area": area, "iscrowd": 0}
            self._rows.add({"id": self._count, **one, **outlines})

    def close(self, begun: bool) -> None:
        images = ",\n".join(map(json.dumps, self._images))
        self._rows.close(f'],\n"images": [\n{images}\n]}}', begun)

    def describe(self) -> str:
        return f"{self.NAMES[0]} (of images in {self._files.root})"


def polygons(counts: bytes, height: int) -> list[list[int]]:
    """The outlines of a mask in COCO's form: x, y, x, y, ... of each of its parts, in pixels.

    Their points are corners of pixels. A hole is joined to its outline by a cut of no width, for
    COCO's polygons have no holes; filled by pycocotools or OpenCV it stays one.

    Args:
      counts: the mask, with at least one pixel, as compressed run lengths.
      height: of its image, pixels.
    """
    (patch,), ((top, left),) = rle.decode_patches([counts], height)
    # Doubled, each pixel has a first and a last row: outlines tell its upper border from its lower.
    doubled = np.repeat(np.repeat(patch, 2, 0), 2, 1)
    outlines, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP((one + 1) // 2, SLACK, True)[:, 0] for one in outlines]
    shapes = []
    for part, (_, _, hole, outside) in enumerate(tree[0]):
        if outside >= 0:
            continue
        shape = corners[part]
        while hole >= 0:
            ring = corners[hole]
            near = int(((shape - ring[0]) ** 2).sum(1).argmin())
            shape = np.concatenate([shape[: near + 1], ring, ring[:1], shape[near:]])
            hole = tree[0][hole][0]
        shapes.append((shape + (left, top)).reshape(-1).tolist())
    return shapes
