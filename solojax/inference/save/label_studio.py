"""``label_studio.json``: tasks with what was found as predictions, masks as brushes.

Beside it ``label_studio.xml``, the labelling interface that they are for.
"""

import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np

from solojax import writing
from solojax.config import Category
from solojax.data.foreign import label_studio_brush
from solojax.inference.result import Result
from solojax.inference.save.files import ImageFiles, Rows, xml
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from solojax.types import InputError

LABELS, IMAGE = "label", "image"  # as the interface calls them


class LabelStudio:
    """A task for each image or frame; those of a video are written (``ImageFiles``)."""

    NAMES: ClassVar[tuple[str, ...]] = ("label_studio.json", "label_studio.xml", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._files, self._categories = ImageFiles(out, inputs), categories
        self._rows, self._interface = Rows(out / self.NAMES[0], "["), out / self.NAMES[1]

    def add(self, origin: Origin, result: Result) -> None:
        height, width = result.size
        if height * width > label_studio_brush.MOST_PIXELS:
            raise InputError(
                f"{origin.file} is too large for Label Studio's brush, {width}x{height}; "
                "leave label-studio out of --save"
            )
        path = urllib.parse.quote(self._files.name(origin, result))
        score = float(np.mean(result.scores)) if len(result) else 0.0  # what tasks are sorted by
        columns = result.names, result.scores.tolist(), result.rles
        found = [
            _region(f"{origin.id}-{k}", name, score, counts, (height, width))
            for k, (name, score, counts) in enumerate(zip(*columns, strict=True))
        ]
        self._rows.add(
            {
                "data": {IMAGE: f"/data/local-files/?d={path}"},
                "predictions": [{"model_version": "solojax", "score": score, "result": found}],
            }
        )

    def close(self, begun: bool) -> None:
        self._rows.close("]", begun)
        if begun:
            writing.put(self._interface, _interface(self._categories))

    def describe(self) -> str:
        return f"{self.NAMES[0]} (of images in {self._files.root})"


def _region(
    name: str, label: str, score: float, counts: bytes, size: tuple[int, int]
) -> dict[str, Any]:
    value = {
        "format": "rle",
        "rle": label_studio_brush.write_brush(counts, size),
        "brushlabels": [label],
    }
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": LABELS,
        "to_name": IMAGE,
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "score": score,
        "value": value,
    }


def _interface(categories: Sequence[Category]) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}")
    labels = ElementTree.SubElement(view, "BrushLabels", name=LABELS, toName=IMAGE)
    for category in categories:
        ElementTree.SubElement(labels, "Label", value=category.name)
    return xml(view).encode()
