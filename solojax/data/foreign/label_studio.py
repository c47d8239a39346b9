"""Label Studio's JSON: polygons, boxes, ellipses in percent of the image, and brushes."""

import functools
import json
import math
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import STRICT, Import, OtherFormError, Size, check_numbers, skip
from solojax.data.foreign.files import Finder, described_by
from solojax.data.foreign.label_studio_brush import read_brush
from solojax.data.foreign.regions import (
    Drawing,
    Region,
    assemble,
    ellipse,
    fixed,
    paste,
    rectangle,
    turned,
)
from solojax.data.foreign.texts import load_list
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.types import InputError

SHAPES = ("polygon", "rectangle", "ellipse", "brush")
NO_REGIONS = (  # answers about an image or a region, which have no shape of their own
    "labels", "choices", "taxonomy", "textarea", "number", "rating", "datetime", "pairwise",
    "ranker", "relation",
)  # fmt: skip
PREFIX = re.compile(r"[0-9a-f]{8}-")  # before the names of files that were uploaded


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the JSON exports of Label Studio below ``source``, and the images beside them.

    All is train. Classes are numbered from 1 in the order of their names. Of several annotations of
    a task the one marked as truth is read, or the last. Tasks without one are left out.

    Raises:
      InputError: a JSON is not Label Studio's, a number is none, an image is missing.
    """
    source, paths = described_by(source, ".json")
    if not paths:
        raise OtherFormError(f"{source} has no JSON; export the project as JSON")
    finder, findings = Finder(source), Findings()
    drawings = []
    for path in tqdm(paths, "reading", unit="file"):
        for task in load_list(path, json.loads):
            with faults.one_image(
                f"task {task.get('id')}" if isinstance(task, dict) else path.name
            ):
                if drawing := _read_task(task, path, source, finder, findings):
                    drawings.append(drawing)
    return assemble("label_studio", source, {"train": drawings}, {"train": findings}, faults)


def _read_task(
    task: Any, path: Path, source: Path, finder: Finder, findings: Findings
) -> Drawing | None:
    task = task if isinstance(task, dict) else {}
    data, annotations = task.get("data"), task.get("annotations", task.get("completions"))
    if annotations is None and isinstance(task.get("predictions"), list):
        annotations = []
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise OtherFormError(
            f"{path} is not Label Studio's: a task has no 'data' or 'annotations'; export the "
            "project as JSON, not as JSON-MIN, or move it away"
        )
    place = f"task {task.get('id')}"
    where = f"{path}: {place}"
    kept = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    if not kept:
        why, cure = "without an annotation", ""
        if annotations:
            why, cure = "whose annotations were all cancelled", "annotate them"
        elif task.get("predictions"):
            why, cure = "of predictions alone", "make annotations of them in Label Studio"
        findings.add("lost", f"tasks {why} left out", place, cure=cure)
        return None
    if len(kept) > 1:
        what = "tasks of several annotations, of which the true or the last is read"
        findings.add("doubtful", what, place, cure="mark one as ground truth")
    chosen = next((one for one in kept if one.get("ground_truth")), kept[-1])
    results = chosen.get("result")
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise InputError(f"{where}: its annotation has no list 'result'; export it again")
    file = _find_image(task, data, path, place, source, finder)
    labels: dict[str, list[str]] = {}
    for result in results:  # a region and its label may be two results of one id
        if named := _labels(result):
            labels.setdefault(str(result.get("id")), named)
    regions = [
        region
        for number, result in enumerate(results)
        if (
            region := _read_result(
                result,
                _labels(result) or labels.get(str(result.get("id")), []),
                f"{path}: {place}: result {number}",
                f"{place}: result {number}",
                findings,
            )
        )
    ]
    sides = ((one.get("original_height"), one.get("original_width")) for one in results)
    stated = next((size for size in sides if None not in size), (None, None))
    return Drawing(path, file, file.read_bytes, stated, regions, in_percent=True)


def _find_image(
    task: dict, data: dict, path: Path, place: str, source: Path, finder: Finder
) -> Path:
    where = f"{path}: {place}"
    texts = [text for text in (*data.values(), task.get("file_upload")) if isinstance(text, str)]
    names = []
    for text in texts:
        url = urllib.parse.urlsplit(text) if "\0" not in text and "[" not in text else None
        named = urllib.parse.parse_qs(url.query).get("d", [url.path])[0] if url else text
        name = urllib.parse.unquote(named)
        if name.lower().endswith(IMAGE_ENDINGS):
            names.append(name)
    for name in names:
        folder, _, last = name.rpartition("/")
        for spelling in (name, f"{folder}/{PREFIX.sub('', last, count=1)}"):
            if file := finder.find(spelling.lstrip("/"), where, path.parent):
                return file
    raise InputError(
        f"{where}: its image {(names or texts or [''])[0][:80]!r} is not below {source}; put the "
        "image beside the JSON"
    )


def _labels(result: dict) -> list[str]:
    value = result.get("value")
    for key, names in value.items() if isinstance(value, dict) else ():
        if key.endswith("labels") and isinstance(names, list) and names:
            if all(isinstance(name, str | int) for name in names):
                return [str(name) for name in names]
    return []


def _read_result(
    result: dict, labels: list[str], where: str, place: str, findings: Findings
) -> Region | None:
    value, kind = result.get("value"), str(result.get("type"))
    if kind in NO_REGIONS:
        return None
    kind = kind.removesuffix("labels")
    if kind not in SHAPES or not isinstance(value, dict):
        cure = "draw a polygon or use the brush"
        skip(findings, f"region of type {kind[:40]}", place, cure)
        return None
    label = labels[0] if labels else ""
    if not label.strip():
        skip(findings, "region without a label", place, "give it one or delete it")
        return None
    if len(labels) > 1:
        what = "regions of several labels, of which the first is read"
        shown = f"{place}: {', '.join(labels)[:80]}"
        findings.add("doubtful", what, shown, cure="give each region the label of its class alone")
    if result.get("image_rotation"):
        reason = "region drawn while its image was turned in Label Studio"
        skip(findings, reason, place, "turn the image file itself and draw it anew")
        return None
    if kind == "brush":
        return Region(label, None, place, fixed([]), _read_brush(result, value, where))
    if kind == "polygon":
        points = value.get("points")
        if not isinstance(points, list) or not all(
            len(check_numbers(point, where)) == 2 for point in points
        ):
            raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
        outline = functools.partial(_scaled, np.array(points, float).reshape(-1, 2))
        return Region(label, None, place, outline)
    names = (
        ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    )
    numbers = check_numbers([value.get(name) for name in names], where)
    (degrees,) = check_numbers([value.get("rotation") or 0], where)
    return Region(label, None, place, functools.partial(_curve, kind, numbers, degrees))


def _scaled(points: np.ndarray, size: Size) -> list[float]:
    """Percent -> pixels."""
    polygon: list[float] = (points * size[::-1] / 100).ravel().tolist()
    return polygon


def _curve(kind: str, numbers: list[float], degrees: float, size: Size) -> list[float]:
    """A box turned about its upper left, or an ellipse about its centre; x y x y ... in pixels."""
    place, extent = (np.reshape(numbers, (2, 2)) * size[::-1] / 100).tolist()
    outline = (
        rectangle(place, (place[0] + extent[0], place[1] + extent[1]))
        if kind == "rectangle"
        else ellipse(place, [abs(radius) for radius in extent])
    )
    return fixed(turned(outline, place, math.radians(degrees)))(size)


def _read_brush(result: dict, value: dict, where: str) -> Callable[[Size], dict[str, Any]]:
    stated = result.get("original_height"), result.get("original_width")
    drawn = read_brush(value.get("rle"), stated, where)
    return functools.partial(_of_size, paste(drawn, (0, 0), drawn.shape), where)


def _of_size(mask: dict[str, Any], where: str, size: Size) -> dict[str, Any]:
    if tuple(mask["size"]) != size:
        raise InputError(
            f"{where}: its brush is of {mask['size'][1]}x{mask['size'][0]} pixels where its image "
            f"has {size[1]}x{size[0]}; put the image back that was drawn on"
        )
    return mask
