"""All that can be said of results: AP of masks, boxes and outlines, classes, errors, confusion."""

import itertools
from collections.abc import Sequence
from typing import Any

from solojax.evaluation.analysis import (
    calibration,
    causes,
    confusion,
    errors,
    labels,
    operating_points,
)
from solojax.evaluation.metrics import boundary, coco
from solojax.inference.pictures import DRAWN_SCORE


def score(
    truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    kind: coco.Kind = "segm",
    floor: float = DRAWN_SCORE,
    most: int = coco.MOST,
    traits: causes.Traits = causes.NO_TRAITS,
) -> dict[str, Any]:
    """Scores results; masks are overlapped once, and all goes by that.

    Args:
      truth: a COCO dictionary as for ``coco.mask_ap``.
      results: as for ``coco.mask_ap``; with a ``bbox`` (x y width height) in place of the
        ``segmentation`` where boxes are to be scored.
      kind: "segm" for masks, "bbox" for boxes alone.
      floor: least score of what counts in ``confusion`` and ``images``; AP knows none.
      most: detections of a class in an image that count, the best.
      traits: what is known of the instances.

    Returns:
      What JSON can hold: the numbers of ``coco.names``; of masks also those of the ``box`` with
      each and, unless masks are too large, of their ``boundary``; ``classes``, ``curves`` and
      ``errors`` as in ``coco`` and ``errors``; ``confusion``, the pairs of category ids, true and
      predicted, that occur, None for background; ``images``, the F1 of each by its id;
      ``calibration``, score against IoU; ``thresholds``, from which scores on F1 is greatest;
      ``lost``, what AP is lost to, as of ``causes``; ``labels`` to look at first, as of ``labels``;
      ``best_iou``, of an instance with the detection of its class that fits best, the mean.
    """
    found = coco.masks_found(results) if kind == "segm" else coco.boxes_found(results)
    counted = coco.best(found, most)
    scenes = coco.overlap(truth, counted, kind)
    judged = coco.judge(truth, counted, kind, scenes, most)
    scores: dict[str, Any] = {**coco.numbers_of(judged), "kind": kind, "max_detections": most}
    if kind == "segm":
        boxed = [{**one, "bbox": f["bbox"]} for one, f in zip(results, found, strict=True)]
        scores["box"] = coco.numbers_of(
            coco.judge(truth, coco.boxes_found(boxed), "bbox", most=most)
        )
        if not boundary.is_too_large(truth, scenes):
            outlines = boundary.overlap(truth, scenes)
            scores["boundary"] = coco.numbers_of(coco.judge(truth, counted, kind, outlines, most))
    scores["classes"] = coco.classes_of(judged, truth)
    scores["curves"] = coco.curves_of(judged)
    tabulated = errors.tabulate(judged, scenes)
    scores["errors"] = errors.split(tabulated)
    scores["thresholds"] = operating_points.choose(tabulated, scores["classes"])
    # What a person sees of a prediction: not all that an AP counts.
    shown = (scores["thresholds"] or {"score": floor})["score"]
    scores["lost"] = causes.split(tabulated, scenes, judged, traits, shown)
    scores["labels"] = labels.doubtful(scenes, shown, most, traits)
    scores["best_iou"] = calibration.best_iou(scenes)
    scores["calibration"] = calibration.count(scenes)
    ids = [one["id"] for one in scores["classes"]]
    matrix, scores["images"] = confusion.count(scenes, ids, floor)
    scores["confusion"] = {
        "score": floor,
        "iou": confusion.IOU,
        "counts": [
            {"truth": both[0], "prediction": both[1], "count": int(count)}
            for both, count in zip(
                itertools.product([*ids, None], repeat=2), matrix.flat, strict=True
            )
            if count
        ],
    }
    return scores


def table(scores: dict[str, Any]) -> str:
    """The numbers and the errors as lines for people, named."""
    columns = {("masks" if scores["kind"] == "segm" else "boxes"): scores}
    columns |= {name: scores[name] for name in ("box", "boundary") if name in scores}
    lines = [f"  {'':6}" + "".join(f" {name:>8}" for name in columns)]
    for name, what in coco.names(scores["max_detections"]).items():
        numbers = "".join(f" {column[name]:8.3f}" for column in columns.values())
        lines.append(f"  {name:6}{numbers}  {what}")
    if "box" in scores and "boundary" not in scores:
        pixels = f"{boundary.MOST_PIXELS:,} pixels"
        lines.append(f"  boundary AP is left out: a mask is larger than {pixels}")
    lines.append("  errors and what AP50 would gain without them")
    for kind, what in errors.KINDS.items():
        one = scores["errors"][kind]
        lines.append(f"  {kind:14} {one['count']:8} {one['dAP50']:+8.3f}  {what}")
    return "\n".join(lines)
