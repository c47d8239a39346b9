"""Whether a score says how well a detection fits: scores against the IoU with what is there."""

from typing import Any

import numpy as np

from solojax.evaluation.metrics.coco import Scene

IOU = 0.5  # from which on a detection counts as one of something
BINS = 20  # each way


def count(scenes: dict[int, Scene]) -> dict[str, Any]:
    """Tells how score and IoU go together over all detections.

    The IoU of a detection is the greatest with an instance of its class, 0 where there is none.
    What lies on a crowd rather than on an instance is left out.

    Args:
      scenes: by image id.

    Returns:
      What JSON can hold: ``correlation``, Pearson's, of score and IoU over what is one of something
      (IOU and more), None where there is too little; ``counts``, ``BINS BINS``, how many detections
      have a score (rows, from 0 to 1) and an IoU (columns).
    """
    pairs = np.array([pair for scene in scenes.values() for pair in _pairs(scene)]).reshape(-1, 2)
    scores, ious = pairs.T
    counts, _, _ = np.histogram2d(scores, ious, bins=BINS, range=((0, 1), (0, 1)))
    found = pairs[pairs[:, 1] >= IOU]
    varies = len(found) > 1 and (found.std(0) > 0).all()
    return {
        "correlation": float(np.corrcoef(found.T)[0, 1]) if varies else None,
        "counts": counts.astype(int).tolist(),
    }


def best_iou(scenes: dict[int, Scene]) -> float:
    """Of each instance, no crowd, the IoU with the detection of its class that fits best: the mean.

    0 where nothing of its class was found; -1 where there is no instance.
    """
    best: list[float] = []
    for scene in scenes.values():
        classes = [np.array([one["category_id"] for one in ones], int) for ones in scene[:2]]
        own = np.where(classes[1][:, None] == classes[0], scene.ious, 0).max(0, initial=0)
        regular = [not one["iscrowd"] for one in scene.truths]
        best += own[regular].tolist()
    return float(np.mean(best)) if best else -1.0


def _pairs(scene: Scene) -> list[tuple[float, float]]:
    """Score and IoU of each detection that counts."""
    crowds = np.array([bool(one["iscrowd"]) for one in scene.truths], bool)
    classes = np.array([one["category_id"] for one in scene.truths], int)
    pairs = []
    for one, ious in zip(scene.found, scene.ious, strict=True):
        same = classes == one["category_id"]
        best = ious[same & ~crowds].max(initial=0)
        if ious[same & crowds].max(initial=0) <= best:
            pairs.append((one["score"], best))
    return pairs
