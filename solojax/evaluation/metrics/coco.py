"""COCO's average precision, judged by pycocotools: twelve numbers, classes one by one, curves."""

import collections
import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solojax.config import Category
from solojax.data.annotations import Instance
from solojax.evaluation.metrics import matching
from solojax.types import InputError

MOST = 100  # detections of a class in an image that count, in COCO's own numbers


def names(most: int = MOST) -> dict[str, str]:
    """The numbers, in the order of COCOeval.stats, and what they are."""
    return {
        "AP": f"IoU .50:.95, all sizes, {most} detections",
        "AP50": "IoU .50",
        "AP75": "IoU .75",
        "APs": "area below 32 x 32",
        "APm": "area 32 x 32 to 96 x 96",
        "APl": "area above 96 x 96",
        "AR1": "recall, IoU .50:.95, 1 detection an image",
        "AR10": "10 detections",
        f"AR{most}": f"{most} detections",
        "ARs": "area below 32 x 32",
        "ARm": "area 32 x 32 to 96 x 96",
        "ARl": "area above 96 x 96",
    }


def check_most(most: int) -> None:
    """Raises InputError where so many detections are none that recall can be counted at."""
    if most <= 10:
        raise InputError(f"--max-detections {most} must be more than 10, COCO's second recall")


NAMES = names()

Kind = Literal["segm", "bbox"]
ALL_AREAS, MOST_DETECTIONS = 0, 2  # places among COCOeval's area ranges and maxDets: all, most
CURVES = {"0.50": 0, "0.75": 5}  # IoU -> place among COCOeval's thresholds


class Scene(NamedTuple):
    """What is true of one image and what was found in it, as COCO annotations."""

    truths: list[dict[str, Any]]  # G
    found: list[dict[str, Any]]  # D, best first
    # D G; with a crowd, the share of the detection that lies on it.
    ious: np.ndarray


def mask_ap(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], most: int = MOST
) -> dict[str, float]:
    """Scores mask detections.

    Args:
      truth: a COCO dictionary with ``images``, ``annotations`` (masks as run lengths) and
        ``categories``.
      results: ``image_id``, ``category_id``, ``segmentation`` (compressed run lengths), ``score``.
      most: detections of a class in an image that count, the best.

    Returns:
      The numbers of ``names``; -1 where there is no ground truth of that size.
    """
    return numbers_of(judge(truth, masks_found(results), "segm", most=most))


def masks_found(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mask results in the form COCO.loadRes gives them, which itself refuses an empty list.

    Their area is that of the mask, also where a result states a box of its own: COCO.loadRes takes
    the box's area then, by which small, medium and large mean something else. The box is the
    result's own, or else that of the mask.
    """
    found = []
    for number, result in enumerate(results):
        segmentation = result["segmentation"]
        area = float(coco_mask.area(segmentation))
        box = result.get("bbox") or coco_mask.toBbox(segmentation).tolist()
        found.append({**result, "id": number + 1, "area": area, "bbox": box, "iscrowd": 0})
    return found


def boxes_found(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with a ``bbox`` (x y width height) in the form COCO.loadRes gives them.

    Their area is that of the box, unless a result brings one.
    """
    return [
        {
            **result,
            "id": number + 1,
            "area": result.get("area", result["bbox"][2] * result["bbox"][3]),
            "iscrowd": 0,
        }
        for number, result in enumerate(results)
    ]


def best(found: Sequence[dict[str, Any]], most: int = MOST) -> Sequence[dict[str, Any]]:
    """The ``most`` best of each class in each image, in their order: the others never count."""
    keys = [(one["image_id"], one["category_id"]) for one in found]
    if max(collections.Counter(keys).values(), default=0) <= most:
        return found
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    kept = []
    for place in np.argsort([-one["score"] for one in found], kind="mergesort").tolist():
        counts[keys[place]] += 1
        if counts[keys[place]] <= most:
            kept.append(place)
    return [found[place] for place in sorted(kept)]


def overlap(truth: dict[str, Any], found: Sequence[dict[str, Any]], kind: Kind) -> dict[int, Scene]:
    """Overlaps results with all ground truth of their image, whatever the class, by image id."""
    truths, here = collections.defaultdict(list), collections.defaultdict(list)
    for annotation in truth["annotations"]:
        truths[annotation["image_id"]].append(annotation)
    for one in sorted(found, key=lambda one: -one["score"]):
        here[one["image_id"]].append(one)
    shape = {"segm": "segmentation", "bbox": "bbox"}[kind]
    scenes = {}
    for image in truth["images"]:
        true, those = truths[image["id"]], here[image["id"]]
        ious = np.zeros((len(those), len(true)))
        if ious.size:
            crowds = [int(annotation["iscrowd"]) for annotation in true]
            ious = coco_mask.iou([o[shape] for o in those], [t[shape] for t in true], crowds)
        scenes[image["id"]] = Scene(true, those, ious)
    return scenes


def judge(
    truth: dict[str, Any],
    found: Sequence[dict[str, Any]],
    kind: Kind,
    scenes: dict[int, Scene] | None = None,
    most: int = MOST,
) -> COCOeval:
    """Has detections matched by pycocotools' rules, and pycocotools accumulate.

    Args:
      truth: as for ``mask_ap``.
      found: from ``masks_found`` or ``boxes_found``.
      kind: whether masks or boxes are to overlap.
      scenes: their overlaps where they are known already, or others to judge by.
      most: detections of a class in an image that count, the best; more than 10.
    """
    with quiet():
        gold, those = COCO(), COCO()
        gold.dataset, those.dataset = truth, {**truth, "annotations": found}
        gold.createIndex()
        those.createIndex()
        judged = matching.Judge(gold, those, kind, scenes)
        judged.params.maxDets = [1, 10, most]
        judged.evaluate()
        judged.accumulate()
    return judged


def most_of(judged: COCOeval) -> int:
    """How many detections of a class in an image count."""
    return judged.params.maxDets[MOST_DETECTIONS]


def numbers_of(judged: COCOeval) -> dict[str, float]:
    """The numbers of ``names``; -1 where there is no ground truth of that size.

    COCOeval.summarize has an AP of -1 where other than 100 detections count.
    """
    precision = judged.eval["precision"][..., MOST_DETECTIONS]
    recall = judged.eval["recall"]
    numbers = [
        precision[..., ALL_AREAS],
        precision[CURVES["0.50"], ..., ALL_AREAS],
        precision[CURVES["0.75"], ..., ALL_AREAS],
        *(precision[..., area] for area in (1, 2, 3)),
        *(recall[..., ALL_AREAS, place] for place in range(3)),
        *(recall[..., area, MOST_DETECTIONS] for area in (1, 2, 3)),
    ]
    return dict(zip(names(most_of(judged)), map(mean, numbers), strict=True))


def classes_of(judged: COCOeval, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """AP, AP50, AP75 and AR of each class, sorted by id, and how many ``instances`` it has.

    Crowds are not counted; the numbers are -1 where there is no instance.
    """
    called = {category["id"]: category["name"] for category in truth["categories"]}
    counts = collections.Counter(
        annotation["category_id"]
        for annotation in truth["annotations"]
        if not annotation["iscrowd"]
    )
    precision = judged.eval["precision"][:, :, :, ALL_AREAS, MOST_DETECTIONS]
    recall = judged.eval["recall"][:, :, ALL_AREAS, MOST_DETECTIONS]
    return [
        {
            "id": int(category_id),
            "name": called[category_id],
            "AP": mean(precision[:, :, k]),
            "AP50": mean(precision[CURVES["0.50"], :, k]),
            "AP75": mean(precision[CURVES["0.75"], :, k]),
            f"AR{most_of(judged)}": mean(recall[:, k]),
            "instances": counts[category_id],
        }
        for k, category_id in enumerate(judged.params.catIds)
    ]


def curves_of(judged: COCOeval) -> dict[str, list[float]]:
    """Precision at COCO's 101 points of recall, mean over classes, by IoU: 0.50, 0.75, mean of all.

    Empty lists where there is no ground truth.
    """
    precision = judged.eval["precision"][:, :, :, ALL_AREAS, MOST_DETECTIONS]
    precision = precision[:, :, (precision > -1).all((0, 1))]
    if not precision.shape[2]:
        return {name: [] for name in (*CURVES, "mean")}
    curves = {name: precision[place].mean(1).tolist() for name, place in CURVES.items()}
    return {**curves, "mean": precision.mean((0, 2)).tolist()}


def truth_of(
    image_ids: Sequence[int],
    sizes: Sequence[Sequence[int]],
    instances: Sequence[Sequence[Instance]],
    categories: Sequence[Category],
) -> dict[str, Any]:
    """Records' instances as the COCO dictionary that ``mask_ap`` takes.

    They are numbered anew: pycocotools takes a match with id 0 for none, and keeps ids as floats.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, size, here in zip(image_ids, sizes, instances, strict=True):
        for instance in here:
            x0, y0, x1, y1 = instance.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
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


def quiet() -> contextlib.AbstractContextManager:
    """What is inside prints nothing: pycocotools tells its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def mean(numbers: np.ndarray) -> float:
    """Of those that there are, as COCOeval.summarize takes it."""
    there = numbers[numbers > -1]
    return float(there.mean()) if there.size else -1.0
