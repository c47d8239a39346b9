"""``results.json``: the detections as COCO's results, masks as run lengths.

Each names its image, so that ids that are not those of a ground truth do no harm.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.files import Rows
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


def rows(result: Result, image_id: int, file_name: str) -> list[dict[str, Any]]:
    """The detections in COCO's form, each with the name of its image."""
    return [
        {"image_id": image_id, "file_name": file_name, **row} for row in result.to_coco(image_id)
    ]


class Results:
    """A row for each detection."""

    NAMES: ClassVar[tuple[str, ...]] = ("results.json",)

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._rows = Rows(out / self.NAMES[0], "[")

    def add(self, origin: Origin, result: Result) -> None:
        for row in rows(result, origin.id, origin.file_name):
            self._rows.add(row)

    def close(self, begun: bool) -> None:
        self._rows.close("]", begun)

    def describe(self) -> str:
        return self.NAMES[0]
