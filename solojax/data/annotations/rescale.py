"""Annotations of an image that was made larger or smaller after it was annotated."""

import math
from typing import Any

import cv2
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.data.annotations import mask_forms, segmentations
from solojax.data.annotations.instances import Image
from solojax.data.annotations.misplaced import UNLIKELY
from solojax.data.findings import Findings


def rescale(
    annotation: dict[str, Any], size: tuple[int, int], scale: tuple[float, float]
) -> dict[str, Any]:
    """The annotation on the pixels of the file.

    Args:
      annotation: as the JSON has it.
      size: (height, width) of the file, pixels.
      scale: (x, y) of the file's pixels to those that were annotated.
    """
    x, y = scale
    changed = {**annotation, "segmentation": _mask(annotation.get("segmentation"), size, scale)}
    box: Any = annotation.get("bbox")
    if segmentations.is_numbers(box) and len(box) == 4:
        if annotation.get("segmentation") in (box, [box]):
            changed["segmentation"] = None  # no mask, but the box again
        changed["bbox"] = [box[0] * x, box[1] * y, box[2] * x, box[3] * y]
    area: Any = annotation.get("area")
    if segmentations.is_numbers([area]):
        changed["area"] = area * x * y
    return changed


def doubt(images: list[Image], scales: dict[int, tuple[float, float]], findings: Findings) -> None:
    """Adds that masks were scaled to smaller files and had fitted them as they were.

    They may have been drawn on these, under sides of before.

    Args:
      images: with their masks as scaled.
      scales: as of ``rescale``, by id.
      findings: takes it.
    """
    shrunk = [one for one in images if max(scales.get(one.id, (1, 1))) < 1]
    chance = 0.0  # log10, that all lie so of objects at random places
    for image in shrunk:
        x, y = scales[image.id]
        if any(
            one.box[2] > x * (image.width + 1) or one.box[3] > y * (image.height + 1)
            for one in image.instances
        ):
            return
        chance += math.log10(x * y) * len(image.instances)
    if chance < UNLIKELY:
        what = "images of another size whose masks are scaled, and fit the files as they are too"
        cure = "if they were drawn on the files, write the sides of these into the JSON"
        findings.add_all("doubtful", what, [one.name for one in shrunk], cure=cure)


def _mask(segmentation: Any, size: tuple[int, int], scale: tuple[float, float]) -> Any:
    """What cannot be scaled stays as it is, to be told of as any other."""
    try:
        if isinstance(segmentation, str):
            return _mask(segmentations.parse(segmentation), size, scale)
        if mask_forms.is_foreign(segmentation):
            return _mask(mask_forms.points_of(segmentation), size, scale)
        if segmentations.is_list_of_runs(segmentation):
            return [_mask(one, size, scale) for one in segmentation]
        if isinstance(segmentation, list):
            polygons = segmentations.polygons_of(segmentation)
            return [[n * scale[i % 2] for i, n in enumerate(one)] for one in polygons]
        if isinstance(segmentation, dict):
            height, width = round(size[0] / scale[1]), round(size[1] / scale[0])
            encoded = segmentations.to_rle(segmentation, height, width)
            (mask,) = rle.decode([encoded["counts"]], height, width)
            mask = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            encoded = coco_mask.encode(mask.copy(order="F"))
            return {"size": list(size), "counts": encoded["counts"].decode()}
    except mask_forms.NoMaskError:
        pass
    return segmentation
