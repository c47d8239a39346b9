"""``detections.json``: the images with what is in them, boxes, scores and areas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from solojax.config import Category
from solojax.inference.result import Result
from solojax.inference.save.files import Rows
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class Detections:
    """A row for each image or frame."""

    NAMES: ClassVar[tuple[str, ...]] = ("detections.json",)

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._rows = Rows(out / self.NAMES[0], "[")

    def add(self, origin: Origin, result: Result) -> None:
        self._rows.add(_row(origin, result))

    def close(self, begun: bool) -> None:
        self._rows.close("]", begun)

    def describe(self) -> str:
        return self.NAMES[0]


def _row(origin: Origin, result: Result) -> dict[str, Any]:
    height, width = result.size
    row: dict[str, Any] = {"file": origin.file, "id": origin.id, "name": origin.name}
    if origin.frame is not None:
        row |= {"frame": origin.frame, "time": round(origin.time or 0.0, 6)}
    found: list[dict[str, Any]] = [
        {
            "class": name,
            "category_id": result.categories[label].id,
            "score": score,
            "box": box,
            "area": area,
        }
        for name, label, score, box, area in zip(
            result.names,
            result.labels.tolist(),
            result.scores.tolist(),
            result.boxes.tolist(),
            result.areas.tolist(),
            strict=True,
        )
    ]
    if result.ids is not None:
        for one, number in zip(found, result.ids.tolist(), strict=True):
            one["track_id"] = number
    return {**row, "height": height, "width": width, "detections": found}
