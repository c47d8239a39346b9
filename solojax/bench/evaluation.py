"""COCO's average precision of made-up masks, ours and pycocotools' own by turns."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solojax.bench import rows
from solojax.bench.settings import Settings
from solojax.evaluation.metrics import coco
from solojax.timing import Timing, time_calls

SIZE = (480, 640)  # of an image
TRUTHS, FOUND = 7, 20  # in each
CLASSES = 10
TURNS = 3


def section(settings: Settings) -> Iterator[rows.Row]:
    """Two rows: ours and pycocotools'; both have read the truth, and neither the results."""
    truth, results = made_up(settings.images)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()

    def ours() -> np.ndarray:
        return np.array(list(coco.mask_ap(truth, results).values()))

    def theirs() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            found = known.loadRes([dict(one) for one in results])  # it writes into them
            judge = COCOeval(known, found, "segm")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return np.asarray(judge.stats)

    seconds: dict[str, list[float]] = {"ours": [], "pycocotools": []}
    for _ in range(min(TURNS, settings.repeats)):
        for name, score in (("ours", ours), ("pycocotools", theirs)):
            seconds[name].append(time_calls(score, repeats=1, least=0).median)
    for name, found in seconds.items():
        row = {"name": f"mask AP, {name}", "images": settings.images}
        yield rows.with_times(row, Timing(found[0], tuple(found), 1), None)


def made_up(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A truth of ellipses and results that lie somewhat beside them, as ``coco.mask_ap`` takes."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        centres, axes = rng.uniform(0, SIZE, (TRUTHS, 2)), rng.uniform(10, 120, (TRUTHS, 2))
        labels = rng.integers(1, CLASSES + 1, TRUTHS)
        for number, rle in enumerate(_ellipses(centres, axes)):
            about = {"image_id": image, "category_id": int(labels[number]), "segmentation": rle}
            box, area = coco_mask.toBbox(rle).tolist(), float(coco_mask.area(rle))
            about |= {"id": len(annotations) + 1, "bbox": box, "area": area, "iscrowd": 0}
            annotations.append(about)
        which = rng.integers(0, TRUTHS, FOUND)
        beside = centres[which] + rng.normal(0, 8, (FOUND, 2))
        for number, rle in zip(which, _ellipses(beside, axes[which]), strict=True):
            about = {"image_id": image, "category_id": int(labels[number]), "segmentation": rle}
            results.append({**about, "score": float(rng.random())})
    truth = {
        "images": [
            {"id": image, "height": SIZE[0], "width": SIZE[1]} for image in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": one, "name": str(one)} for one in range(1, CLASSES + 1)],
    }
    return truth, results


def _ellipses(centres: np.ndarray, axes: np.ndarray) -> list[dict[str, Any]]:
    """Run lengths of ellipses with ``n 2`` centres and half axes (y, x), pixels."""
    down, right = (
        np.square((np.arange(SIZE[axis]) - centres[:, axis, None]) / axes[:, axis, None])
        for axis in (0, 1)
    )
    masks = (down[:, :, None] + right[:, None, :] <= 1).astype(np.uint8)
    return list(coco_mask.encode(np.asfortranarray(np.moveaxis(masks, 0, -1))))
