"""The page that tells a person how good results are: one HTML file that needs nothing else."""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np

from solojax import writing
from solojax.evaluation.analysis import causes, errors, labels
from solojax.evaluation.metrics import coco
from solojax.evaluation.report import history, matrix, templates
from solojax.types import InputError

EXTREMES = 6  # images shown of the worst, and of the best
PICTURE_WIDTH = 960  # pixels; larger ones are shrunk, so that the page can be mailed
JPEG_QUALITY = 80
NUMBERS = "eval.json"
LISTED = 20  # labels of a kind that are listed; eval.json has more
CURVE_SIZE = 480, 300  # width and height of the curves, SVG units
CALIBRATION_SIDE = 300  # of score against IoU, SVG units
CURVE_NAMES = {"0.50": "IoU .50", "0.75": "IoU .75", "mean": "mean of IoU .50 to .95"}
COLUMNS = {
    "box": "box",
    "boundary": "boundary",
    "oracle_masks": "with true masks",
    "oracle_classes": "with true classes",
}


class Shown(NamedTuple):
    """A picture on the page."""

    image_id: int
    jpeg: bytes


def render(
    title: str,
    scores: dict[str, Any],
    worst: Sequence[Shown] = (),
    best: Sequence[Shown] = (),
    logged: history.History | None = None,
    crops: Mapping[tuple[str, int], bytes] = MappingProxyType({}),
    scenes: str = "",
) -> str:
    """The report as HTML; it looks nothing up, so that it can be mailed as it is.

    Args:
      title: what was scored.
      scores: from ``scores.score``, or read from its JSON; may hold ``oracle_masks`` and
        ``oracle_classes`` with the numbers of ``coco.names``.
      worst: pictures of the worst images, the worst first.
      best: those of the best ones, the best first.
      logged: of the training.
      crops: JPEGs of places that ``lost`` and ``labels`` list, by cause or kind and number.
      scenes: sections about whole scenes, from ``scenes.sections``.
    """
    most = scores.get("max_detections", coco.MOST)  # files of older versions do not tell
    columns = {"mask" if scores["kind"] == "segm" else "box": scores}
    columns |= {title: scores[name] for name, title in COLUMNS.items() if name in scores}
    instances = sum(one["instances"] for one in scores["classes"])
    images = {str(image_id): one for image_id, one in scores["images"].items()}
    return templates.fill(
        "page",
        title=title,
        facts=[f"{len(scores['classes'])} classes", f"{instances:,} instances"],
        names=coco.names(most),
        recall=f"AR{most}",
        columns=columns,
        curves=_curves(scores["curves"]),
        curve_size=CURVE_SIZE,
        charts=history.charts(logged, scores) if logged else [],
        history_facts=history.describe(logged) if logged else "",
        alarms=scores.get("alarms", []),
        lost=_lost(scores, crops),
        most_lost=max([one["dAP"] for one in scores.get("lost", [])], default=0) or 1e-9,
        labels=_labels(scores, crops),
        shown=scores.get("thresholds"),
        kinds=errors.KINDS,
        errors=scores["errors"],
        most_gain=max(max(one["dAP50"] for one in scores["errors"].values()), 1e-9),
        classes=scores["classes"],
        calibration=_calibration(scores.get("calibration")),
        confusion=scores["confusion"],
        matrix=matrix.of(scores, "background"),
        confusions=matrix.confusions(scores),
        scenes=scenes,
        pictures={
            "Worst images": [_figure(one, images) for one in worst],
            "Best images": [_figure(one, images) for one in best],
        },
    )


def save(folder: Path, html: str, scores: dict[str, Any]) -> list[str]:
    """Writes ``eval.json`` and ``report.html`` into a folder, each whole or not at all.

    Returns:
      Lines for people.

    Raises:
      InputError: a file cannot be written.
    """
    writing.put(folder / NUMBERS, (json.dumps(scores, indent=2) + "\n").encode())
    writing.put(folder / "report.html", html.encode())
    return [f"all numbers in {folder / NUMBERS}, to look at in {folder / 'report.html'}"]


@contextlib.contextmanager
def or_print(told: Sequence[str]) -> Iterator[None]:
    """Prints what is known where it cannot be saved: it may have taken an hour."""
    try:
        yield
    except InputError:
        print("\n".join(told))
        raise


def jpeg_of(picture: np.ndarray) -> bytes:
    """``H W 3`` uint8 RGB -> the bytes of a JPEG at most PICTURE_WIDTH wide."""
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(round(height * PICTURE_WIDTH / width), 1)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)[1]
    return encoded.tobytes()


def _curves(curves: dict[str, list[float]]) -> list[dict[str, str]]:
    """Lines from left (recall 0) to right (1), precision 1 on top."""
    width, height = CURVE_SIZE
    lines = []
    for name, text in CURVE_NAMES.items():
        x = np.linspace(0, width, len(curves[name]))
        points = " ".join(
            f"{across:.1f},{(1 - precision) * height:.1f}"
            for across, precision in zip(x, curves[name], strict=True)
        )
        lines.append({"text": text, "points": points})
    return lines


def _calibration(calibration: dict[str, Any] | None) -> dict[str, Any] | None:
    """The cells of score against IoU, and the mean IoU of each score as a line.

    None where a file of an older version has none.
    """
    if calibration is None:
        return None
    counts = np.array(calibration["counts"])
    bins, side = len(counts), CALIBRATION_SIDE
    sums = counts.sum(1)
    middles = (np.arange(bins) + 0.5) / bins
    means = counts @ middles / np.maximum(sums, 1)
    # Strong colour is for what there is most of; a root leaves rare cells to be seen.
    strength = np.sqrt(counts / max(counts.max(), 1))
    return {
        "correlation": calibration["correlation"],
        "side": side,
        "cell": side / bins,
        "cells": [
            {"x": i * side / bins, "y": side - (j + 1) * side / bins, "strength": strength[i, j]}
            for i, j in zip(*map(np.ndarray.tolist, np.nonzero(counts)), strict=True)
        ],
        "line": " ".join(
            f"{side * x:.1f},{side * (1 - y):.1f}"
            for x, y, many in zip(middles, means, sums, strict=True)
            if many
        ),
    }


def _lost(scores: dict[str, Any], crops: Mapping[tuple[str, int], bytes]) -> list[dict[str, Any]]:
    """What AP is lost to, in words, with its pictures."""
    names = {one["id"]: one["name"] for one in scores["classes"]}

    def caption(entry: dict[str, Any]) -> str:
        told = [names[entry[key]] for key in ("category_id", "found_as") if key in entry]
        of = " → ".join(dict.fromkeys(told)) if len(names) > 1 else ""
        score = f"{entry['score']:.2f}" if "score" in entry else ""
        return ", ".join(filter(None, [f"image {entry['image_id']}", f"{of} {score}".strip()]))

    return [
        {
            "advice": "",
            **one,
            "what": causes.CAUSES[one["cause"]],
            "figures": [
                {**entry, "caption": caption(entry)}
                for entry in _cut(crops, one["cause"], one["examples"])
            ],
        }
        for one in scores.get("lost", [])  # files of older versions have none
    ]


def _labels(scores: dict[str, Any], crops: Mapping[tuple[str, int], bytes]) -> list[dict[str, Any]]:
    names = {one["id"]: one["name"] for one in scores["classes"]}
    kinds = []
    for kind, one in scores.get("labels", {}).items():
        entries = [
            {
                "file": "",
                **entry,
                "name": names[entry["category_id"]],
                "found": names.get(entry.get("found_as")),
                "place": " ".join(f"{side:.0f}" for side in entry["box"]),
            }
            for entry in one["first"][:LISTED]
        ]
        if entries:
            figures = _cut(crops, kind, entries)
            what = labels.KINDS[kind]
            kinds.append({"what": what, **one, "first": entries, "figures": figures})
    return kinds


def _cut(
    crops: Mapping[tuple[str, int], bytes], name: str, entries: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The pictures that there are of some places."""
    return [
        {
            "file": "",
            **entry,
            "number": number + 1,
            "jpeg": base64.b64encode(crops[name, number]).decode(),
        }
        for number, entry in enumerate(entries)
        if (name, number) in crops
    ]


def _figure(shown: Shown, images: dict[str, dict[str, Any]]) -> dict[str, Any]:
    encoded = base64.b64encode(shown.jpeg).decode()
    return {"image_id": shown.image_id, "jpeg": encoded, **images[str(shown.image_id)]}
