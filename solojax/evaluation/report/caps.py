"""What of an image is too much to count: told, before it is taken for missed or bad."""

import collections
from collections.abc import Iterable
from typing import Any

from solojax.data.findings import Findings
from solojax.evaluation.metrics import coco
from solojax.heads import protocol

_CAPS = ("max_candidates", "nms_candidates", "max_detections")  # of heads' selections


def tell(
    truth: dict[str, Any], results: list[dict[str, Any]], most: int, findings: Findings
) -> None:
    """Tells where an image has more of a class, or more was found of it, than COCO counts.

    Args:
      truth: a COCO dictionary as for ``coco.mask_ap``.
      results: as for ``coco.mask_ap``.
      most: detections of a class in an image that count.
      findings: what is told.
    """
    beyond, unreached = _beyond((one for one in truth["annotations"] if not one["iscrowd"]), most)
    for image_id, count in beyond.items():
        findings.add(
            "doubtful",
            f"images have more than {most} instances of a class, of which {most} detections count "
            f"each: {unreached} instances cannot be found",
            f"image {image_id} has {count}",
            cure=f"--max-detections {max(beyond.values())} counts all",
        )
    beyond, _ = _beyond(results, most)
    for image_id, count in beyond.items():
        findings.add(
            "told",
            f"images have more than {most} results of a class, of which the best {most} count",
            f"image {image_id} has {count}",
            cure=f"--max-detections {max(beyond.values())} counts all",
        )


def tell_head(head: Any, truth: dict[str, Any], most: int, findings: Findings) -> None:
    """Tells where images have more instances than a head can find, or more are to count."""
    cap = cap_of(head)
    if cap is None:
        return
    counts = collections.Counter(
        one["image_id"] for one in truth["annotations"] if not one["iscrowd"]
    )
    beyond = {image_id: count for image_id, count in counts.items() if count > cap}
    for image_id, count in beyond.items():
        findings.add(
            "doubtful",
            f"images have more instances than the {cap} that the head finds in one",
            f"image {image_id} has {count}",
            cure=cure(head, max(beyond.values())),
        )
    if most > max(cap, coco.MOST):
        what = f"detections of a class in an image count, of which the head finds {cap}"
        findings.add("told", what, cure=cure(head, most), count=most)


def cap_of(head: Any) -> int | None:
    """How many instances of an image a head finds at most."""
    _, head = protocol.finder(head)
    selection = getattr(head, "selection", None)
    return getattr(selection, "max_detections", getattr(head, "slots", None))


def cure(head: Any, most: int) -> str:
    """How a head finds up to ``most`` in an image."""
    place, head = protocol.finder(head)
    selection = getattr(head, "selection", None)
    lower = [name for name in _CAPS if getattr(selection, name, most) < most]
    if lower:  # all that are passed on the way must let as many pass
        return "--set " + " ".join(f"{place}.selection.{name}={most}" for name in lower)
    return f"train with {place}.slots={most}"


def _beyond(annotations: Iterable[dict[str, Any]], most: int) -> tuple[dict[int, int], int]:
    """The greatest count of a class in each image that has more than ``most``, and the excess."""
    counts = collections.Counter((one["image_id"], one["category_id"]) for one in annotations)
    beyond: dict[int, int] = {}
    excess = 0
    for (image_id, _), count in counts.items():
        if count > most:
            beyond[image_id] = max(count, beyond.get(image_id, 0))
            excess += count - most
    return beyond, excess
