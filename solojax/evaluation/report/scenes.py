"""What the page shows of whole scenes: label maps and panoptic segments."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from solojax.evaluation.metrics import panoptic, semantic
from solojax.evaluation.report import crops, history, matrix, page, templates
from solojax.inference import draw
from solojax.types import IGNORED

LISTED = 20  # segments without a match; eval.json has more
PICTURED = 8  # of these
VEIL = 0.55  # opacity of labels over an image
EDGE = (20, 20, 20)  # RGB, between segments
COLOURS = [draw.color_of(label) for label in range(IGNORED)]
BLANK = (225, 225, 225)  # RGB, where nothing is labelled

Look = Callable[[Any], tuple[np.ndarray, np.ndarray]]
"""Of an image by its id: ``picture`` of the prediction and of the truth."""


class Figures(NamedTuple):
    """Pictures on the page, as JPEGs: of images by their id, of segments in their order."""

    worst: dict[Any, bytes]
    best: dict[Any, bytes]
    segments: list[bytes]


NONE = Figures({}, {}, [])


def picture(
    labels: np.ndarray, ids: np.ndarray | None = None, image: np.ndarray | None = None
) -> np.ndarray:
    """A label map as a picture, ``H W 3`` uint8 RGB.

    Args:
      labels: ``H W`` uint8.
      ids: ``H W``, of segments, whose outlines are drawn; those of labels where None.
      image: ``H W 3`` uint8 RGB, to be seen through it.
    """
    drawn = np.array([*COLOURS, BLANK], np.uint8)[labels]
    if image is not None:
        drawn = cv2.addWeighted(drawn, VEIL, image, 1 - VEIL, 0)
        drawn[labels == IGNORED] = image[labels == IGNORED]
    ids = labels if ids is None else ids
    for edges, part in (
        (ids[:, 1:] != ids[:, :-1], drawn[:, 1:]),
        (ids[1:] != ids[:-1], drawn[1:]),
    ):
        part[edges] = EDGE
    return drawn


def draw_figures(scores: dict[str, Any], look: Look) -> Figures:
    """Draws the worst and the best images, and the largest segments without a match.

    Args:
      scores: ``semantic`` or ``panoptic`` scores, or both, by these names.
      look: what is there of an image.
    """
    images, merit = _images(scores)
    ranked = sorted(
        (key for key, one in images.items() if one[merit] >= 0),
        key=lambda key: float(images[key][merit]),
    )
    half = -(-len(ranked) // 2)
    worst, best = ranked[: min(page.EXTREMES, half)], ranked[half:][::-1][: page.EXTREMES]

    def both(key: Any) -> bytes:
        panels = zip(("prediction", "ground truth"), look(key), strict=True)
        return page.jpeg_of(draw.side_by_side(list(panels)))

    def cut(one: dict[str, Any]) -> bytes:
        windows = [crops.crop(side, one["box"], (), ()) for side in look(one["image_id"])]
        gap = np.full((len(windows[0]), draw.MARGIN, 3), 255, np.uint8)
        return page.jpeg_of(np.concatenate([windows[0], gap, windows[1]], 1))

    segments = scores["panoptic"]["worst"][:PICTURED] if "panoptic" in scores else []
    return Figures(
        {key: both(key) for key in worst},
        {key: both(key) for key in best},
        [cut(one) for one in segments],
    )


def sections(scores: dict[str, Any], figures: Figures = NONE) -> str:
    """Their HTML, for a page.

    Args:
      scores: as of ``draw_figures``.
      figures: pictures.
    """
    of_labels, of_segments = scores.get("semantic"), scores.get("panoptic")
    images, merit = _images(scores)
    shown = {"Worst images": figures.worst, "Best images": figures.best}
    return templates.fill(
        "scenes",
        names={"semantic": semantic.NAMES, "panoptic": panoptic.NAMES},
        semantic=of_labels,
        panoptic=of_segments,
        pixels=max(sum(one["pixels"] for one in of_labels["classes"]), 1) if of_labels else 1,
        matrix=of_labels and matrix.of(of_labels, "none", shares=True),
        confusions=of_labels and matrix.confusions(of_labels),
        worst_segments=_segments(of_segments, figures.segments) if of_segments else [],
        colours=COLOURS,
        merit=merit,
        pictures={
            heading: [
                {"image_id": key, "jpeg": _text(jpeg), "text": _describe(images[key])}
                for key, jpeg in some.items()
            ]
            for heading, some in shown.items()
        },
    )


def render(
    title: str,
    scores: dict[str, Any],
    figures: Figures = NONE,
    logged: history.History | None = None,
    step: int | None = None,
) -> str:
    """The report of scenes alone as HTML.

    Args:
      title: what was scored.
      scores: as of ``sections``.
      figures: as of ``sections``.
      logged: of the training.
      step: that was scored.
    """
    one = scores.get("panoptic") or scores["semantic"]
    facts = [f"{len(one['classes'])} labels", f"{len(one['images']):,} images"]
    scored = {"mIoU": scores["semantic"]["mIoU"], "step": step} if "semantic" in scores else {}
    return templates.fill(
        "scene",
        title=title,
        facts=facts,
        scenes=sections(scores, figures),
        charts=history.charts(logged, scored) if logged else [],
        history_facts=history.describe(logged) if logged else "",
    )


def table(scores: dict[str, Any]) -> str:
    """The numbers as lines for people; ``scores`` as of ``draw_figures``."""
    tables = {"panoptic": panoptic.table, "semantic": semantic.table}
    return "\n".join(tables[name](scores[name]) for name in tables if name in scores)


def _images(scores: dict[str, Any]) -> tuple[dict[Any, dict[str, Any]], str]:
    """What is said of each image, and by what they are ranked."""
    if "panoptic" not in scores:
        return scores["semantic"]["images"], "mIoU"
    also = scores.get("semantic", {"images": {}})["images"]
    images = scores["panoptic"]["images"].items()
    return {key: {**one, **also.get(key, {})} for key, one in images}, "PQ"


def _describe(one: dict[str, Any]) -> str:
    told = [f"{name} {one[name]:.3f}" for name in ("PQ", "mIoU", "accuracy") if name in one]
    told += [f"{one[name]} {name}" for name in ("right", "false", "missed") if name in one]
    return ", ".join(told)


def _segments(scores: dict[str, Any], jpegs: Sequence[bytes]) -> list[dict[str, Any]]:
    names = {one["id"]: one["name"] for one in scores["classes"]}
    return [
        {
            **one,
            "name": names[one["label"]],
            "instead": names.get(one["other"], "nothing"),
            "jpeg": _text(jpegs[place]) if place < len(jpegs) else "",
        }
        for place, one in enumerate(scores["worst"][:LISTED])
    ]


def _text(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode()
