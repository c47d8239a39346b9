"""What readers of other forms make of a set: images, instances, categories, what was found."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from solojax import config
from solojax.data.annotations.left_out import OF_IMPORT, Faults, LeftOut
from solojax.data.annotations.mask_forms import NoMaskError
from solojax.data.annotations.segmentations import FARTHEST, to_rle
from solojax.data.findings import Findings
from solojax.types import InputError

SPLITS = ("train", "val")

STRICT = Faults(config.Data(), OF_IMPORT)  # refuses what is at fault, and so holds nothing


class OtherFormError(InputError):
    """A set is of another form: nothing in it is of this one."""


SHAPELESS = "instances skipped: "  # and why: those without a usable mask

Size = tuple[int, int]  # height, width


class LabelMap(NamedTuple):
    """What each pixel of an image is of."""

    ids: np.ndarray  # H W int of segments
    segments: dict[int, tuple[int, int]]  # category and crowd by id; other ids are void


class Picture(NamedTuple):
    """One image file and what is in it."""

    name: str  # of its file below OUT/images, with / between folders
    source: Path  # the image file, or the JSON that it is described in
    load: Callable[[], bytes]  # the bytes of the image file
    size: Size
    instances: list[dict[str, Any]]  # COCO annotations; ``write`` numbers those without an id
    extra: dict[str, Any]  # further keys of its COCO entry, the id where it has one
    label_map: Callable[[], LabelMap] | None = None


class Split(NamedTuple):
    """The images for training, or those for validation."""

    categories: list[dict[str, Any]]
    pictures: list[Picture]
    findings: Findings
    extra: dict[str, Any]  # further keys of the COCO JSON
    stuff: list[dict[str, Any]] | None = None  # categories; None where it has no label maps


class Import(NamedTuple):
    """A whole set, checked."""

    form: str
    source: Path  # the folder that was read
    splits: dict[str, Split]  # train, val or both
    left_out: Sequence[LeftOut] = ()

    def describe(self) -> str:
        """A line for each split."""
        return "\n".join(
            f"{split}: {len(content.pictures)} images, "
            f"{sum(len(picture.instances) for picture in content.pictures)} instances, "
            f"{len(content.categories)} classes"
            + (f", label maps with {len(content.stuff)} kinds of stuff" if content.stuff else "")
            for split, content in self.splits.items()
        )


def categories_of(names: dict[int, str]) -> list[dict[str, Any]]:
    """Ids and names -> COCO's categories, in that order."""
    return [{"id": number, "name": name} for number, name in names.items()]


def from_polygons(
    polygons: list[list[float]], category: int, size: Size, findings: Findings, place: str
) -> list[dict[str, Any]]:
    """The instance of polygons of sound numbers; none if they enclose no pixel."""
    # Fewer than three points enclose nothing; pycocotools would read four numbers as a box.
    polygons = [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
    try:
        rle = to_rle(polygons, *size)
    except NoMaskError:
        skip(findings, "no polygon of three points", place, "draw at least three corners")
        return []
    return from_rle(rle, category, findings, place, polygons)


def from_rle(
    rle: dict[str, Any], category: int, findings: Findings, place: str, polygons: Any = None
) -> list[dict[str, Any]]:
    """The instance of compressed run lengths, written as the polygons that they are of, if any."""
    if not coco_mask.area(rle):
        cure = "it has no area or lies outside of its image: draw it anew"
        skip(findings, "mask without a pixel", place, cure)
        return []
    counts = {"size": list(rle["size"]), "counts": rle["counts"].decode()}
    return [instance_of(polygons or counts, rle, category, 0)]


def skip(findings: Findings, reason: str, place: str, cure: str) -> None:
    """Counts an instance that is left out."""
    findings.add("lost", SHAPELESS + reason, place, cure=cure)


def instance_of(segmentation: Any, rle: dict, category: int, crowd: int) -> dict[str, Any]:
    """A COCO annotation but for its ids; box and area are those of the run lengths."""
    box, area = coco_mask.toBbox(rle).tolist(), int(coco_mask.area(rle))
    return {
        "category_id": category,
        "segmentation": segmentation,
        "bbox": box,
        "area": area,
        "iscrowd": crowd,
    }


def check_numbers(values: Any, where: str) -> list[float]:
    """A list of coordinates as it is; raises InputError where one is none, or absurd."""
    # NaN compares false; pycocotools crashes on it, and walks for hours where numbers are absurd.
    if not isinstance(values, list) or not all(
        type(value) in (int, float) and abs(value) <= FARTHEST for value in values
    ):
        raise InputError(
            f"{where}: a coordinate is no number below {FARTHEST}; correct or delete it"
        )
    return values
