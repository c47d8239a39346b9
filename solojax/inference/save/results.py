"""``results.json``: the detections as COCO's results, masks as run lengths.

Each names its image, so that ids that are not those of a ground truth do no harm.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.files import Rows
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class Results:
    """A row for each detection."""

    NAMES: ClassVar[tuple[str, ...]] = ("results.json",)

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._rows = Rows(out / self.NAMES[0], "[")

    def add(self, origin: Origin, result: Result) -> None:
        for row in result.to_coco(origin.id):
            self._rows.add({"image_id": row["image_id"], "file_name": origin.file_name, **row})

    def close(self, begun: bool) -> None:
        self._rows.close("]", begun)

    def describe(self) -> str:
        return self.NAMES[0]
