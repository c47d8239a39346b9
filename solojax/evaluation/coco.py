"""COCO's twelve numbers, judged by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solojax.config import Category
from solojax.data.annotations import Instance

# In the order of COCOeval.stats.
NAMES = {
    "AP": "IoU .50:.95, all sizes, 100 detections",
    "AP50": "IoU .50",
    "AP75": "IoU .75",
    "APs": "area below 32 x 32",
    "APm": "area 32 x 32 to 96 x 96",
    "APl": "area above 96 x 96",
    "AR1": "recall, IoU .50:.95, 1 detection an image",
    "AR10": "10 detections",
    "AR100": "100 detections",
    "ARs": "area below 32 x 32",
    "ARm": "area 32 x 32 to 96 x 96",
    "ARl": "area above 96 x 96",
}


def mask_ap(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Scores mask detections.

    Args:
      truth: a COCO dictionary with ``images``, ``annotations`` (masks as run lengths) and
        ``categories``.
      results: ``image_id``, ``category_id``, ``segmentation`` (compressed run lengths), ``score``.

    Returns:
      The numbers of NAMES; -1 where there is no ground truth of that size.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        gold = COCO()
        gold.dataset = truth
        gold.createIndex()
        found = COCO()
        found.dataset = {**truth, "annotations": [_as_annotation(*r) for r in enumerate(results)]}
        found.createIndex()
        judge = COCOeval(gold, found, "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(NAMES, (float(number) for number in judge.stats), strict=True))


def truth_of(
    image_ids: Sequence[int],
    sizes: Sequence[Sequence[int]],
    instances: Sequence[Sequence[Instance]],
    categories: Sequence[Category],
) -> dict[str, Any]:
    """Records' instances as the COCO dictionary that ``mask_ap`` takes."""
    annotations = []
    for image_id, size, here in zip(image_ids, sizes, instances, strict=True):
        for instance in here:
            x0, y0, x1, y1 = instance.box
            annotations.append(
                {
                    "id": instance.id,
                    "image_id": image_id,
                    "category_id": categories[instance.label].id,
                    "segmentation": {"size": list(size), "counts": instance.rle},
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": instance.area,
                    "iscrowd": int(instance.is_crowd),
                }
            )
    return {
        "images": [
            {"id": image_id, "height": size[0], "width": size[1]}
            for image_id, size in zip(image_ids, sizes, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": category.id, "name": category.name} for category in categories],
    }


def table(numbers: dict[str, float]) -> str:
    """The numbers as lines for people, named."""
    return "\n".join(f"  {name:6} {numbers[name]:7.3f}  {what}" for name, what in NAMES.items())


def _as_annotation(number: int, result: dict[str, Any]) -> dict[str, Any]:
    """A result in the form COCO.loadRes gives it, which itself refuses an empty list."""
    segmentation = result["segmentation"]
    return {
        **result,
        "id": number + 1,
        "area": float(coco_mask.area(segmentation)),
        "bbox": coco_mask.toBbox(segmentation).tolist(),
        "iscrowd": 0,
    }
