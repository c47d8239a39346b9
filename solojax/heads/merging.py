"""How instances and stuff become the segments of a panoptic head (``ops.panoptic``)."""

import dataclasses
from typing import Any

from solojax.fields import check_fields, check_range


@dataclasses.dataclass(frozen=True)
class Merging:
    """What is left out; defaults are those of Panoptic FPN on COCO."""

    least_score: float = 0.5  # of an instance
    least_visible: float = 0.5  # share of an instance's pixels that none above it has
    least_stuff: int = 4096  # pixels of a label, original ones

    def __post_init__(self) -> None:
        check_fields(self, "head.merging")
        check_range(self, "head.merging", "least_score", "least_visible", most=1)
        check_range(self, "head.merging", "least_stuff")


def merging_of(head: Any) -> Merging:
    """The settings of a head; the published ones of one that has none."""
    merging = getattr(head, "merging", None)
    return merging if isinstance(merging, Merging) else Merging()
