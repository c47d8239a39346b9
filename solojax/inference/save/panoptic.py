"""``panoptic.json`` and ``panoptic/<name>.png``: a COCO panoptic set of what was found."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from solojax import writing
from solojax.config import Category
from solojax.data import panoptic_ids, rle
from solojax.inference.result import Result
from solojax.inference.save.files import ImageFiles, Rows
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class Panoptic:
    """A PNG of ids and a row for each image; the frames of a video are written (``ImageFiles``)."""

    NAMES: ClassVar[tuple[str, ...]] = ("panoptic.json", "panoptic", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._folder = out / self.NAMES[1]
        self._files = ImageFiles(out, inputs)
        self._things, self._stuff = tuple(categories), tuple[Category, ...]()
        self._images: list[dict[str, Any]] = []
        info = {"description": "solojax predict", "images": str(self._files.root)}
        self._rows = Rows(out / self.NAMES[0], f'{{"info": {json.dumps(info)},\n"annotations": [')

    def add(self, origin: Origin, result: Result) -> None:
        assert result.segment_ids is not None  # ``check_able``
        self._stuff = result.stuff
        height, width = result.size
        name = self._files.name(origin, result)
        self._images.append({"id": origin.id, "file_name": name, "height": height, "width": width})
        writing.put(self._folder / f"{origin.path}.png", panoptic_ids.to_png(result.segment_ids))
        self._rows.add(row(result, result.segment_ids, origin.id, f"{origin.path}.png"))

    def close(self, begun: bool) -> None:
        classes = categories_of(self._things, self._stuff)
        images = ",\n".join(map(json.dumps, self._images))
        tail = f'],\n"categories": {json.dumps(classes)},\n"images": [\n{images}\n]}}'
        self._rows.close(tail, begun)

    def describe(self) -> str:
        return f"{self.NAMES[0]} with {self.NAMES[1]}/ (of images in {self._files.root})"


def row(result: Result, ids: np.ndarray, image_id: int, file_name: str) -> dict[str, Any]:
    """The segments of a result, whose ``segment_ids`` these are, of which a PNG has that name."""
    labels = {one.id: one.label for one in result.segments}
    known = (*result.categories, *result.stuff)
    segments = [
        {
            "id": number,
            "category_id": known[labels[number]].id,
            "area": int(coco_mask.area(mask)),
            "bbox": [int(side) for side in coco_mask.toBbox(mask)],
            "iscrowd": 0,
        }
        for number, mask in rle.rles_of(ids)
    ]
    return {"image_id": image_id, "file_name": file_name, "segments_info": segments}


def categories_of(things: Sequence[Category], stuff: Sequence[Category]) -> list[dict[str, Any]]:
    """What COCO's panoptic form says of classes."""
    return [
        {"id": one.id, "name": one.name, "isthing": is_thing}
        for is_thing, some in ((1, things), (0, stuff))
        for one in some
    ]
