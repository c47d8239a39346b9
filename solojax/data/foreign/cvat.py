"""CVAT's own XML, "CVAT for images": polygons, boxes, ellipses and masks."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import STRICT, Import, OtherFormError, Size, check_numbers, skip
from solojax.data.foreign.files import SPELLINGS, Finder, described_by
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
from solojax.data.images import faults as image_faults
from solojax.data.images import files as image_files
from solojax.types import InputError

SHAPELESS = ("points", "polyline", "cuboid", "skeleton")  # they enclose nothing flat
NO_SHAPES = ("attribute", "tag")


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the XMLs of CVAT below ``source``, which images lie beside or in ``images``.

    Shapes of one label and group of an image are one instance. Classes are those of the XML, in its
    order, numbered from 1. Images of the subsets ``train`` and ``val`` (in any usual spelling) make
    the splits; all others are train.

    Raises:
      InputError: an XML is not CVAT's or of a video, a number is none, an image is missing.
    """
    source, paths = described_by(source, ".xml")
    if not paths:
        raise OtherFormError(
            f"{source} has no XML; export the task as 'CVAT for images' and unpack it"
        )
    finder, classes = Finder(source), []
    drawings: dict[str, list[Drawing]] = {"train": [], "val": []}
    findings = {split: Findings() for split in drawings}
    for path in tqdm(paths, "reading", unit="file"):
        root = _parse(path)
        classes += [label.findtext("name") or "" for label in root.iterfind("./meta//label")]
        for number, image in enumerate(root.iterfind("image")):
            where, name = f"{path}: image {number}", image.get("name") or ""
            subset = (image.get("subset") or "").lower()
            split = "val" if subset in SPELLINGS["val"] else "train"
            with faults.one_image(name):
                file = finder.find(f"{subset}/{name}".lstrip("/"), where, path.parent)
                if file is None:
                    raise InputError(f"{where}: {name!r} is not below {source}; put it into images")
                stated = _whole(image.get("height")), _whole(image.get("width"))
                regions = [
                    region
                    for shape in image
                    if (region := _read_shape(shape, f"{path}: {name}", name, findings[split]))
                ]
                drawings[split].append(Drawing(path, file, file.read_bytes, stated, regions))
    if not drawings["train"] or not drawings["val"]:
        kept = "train" if drawings["train"] else "val"
        drawings, findings = {kept: drawings[kept]}, {kept: findings[kept]}
    return assemble("cvat", source, drawings, findings, faults, filter(None, classes))


def _parse(path: Path) -> ElementTree.Element:
    """The root of a CVAT XML; entities, which may grow without bound, are refused."""
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise InputError(f"{path} declares entities, which CVAT does not; export it again")

    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    encoded = image_files.read_file(path)
    stranger = image_faults.recognize(encoded)
    if stranger and stranger[1] in image_faults.ANY_FILE:  # all XML is known there as such
        raise InputError(f"{path} is no XML: it seems to be {stranger[0]}; {stranger[1]}")
    try:
        parser.Parse(encoded, True)
    except InputError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{path} cannot be parsed: {error}; export it again") from error
    root = builder.close()
    if root.tag != "annotations":
        raise OtherFormError(f"{path} is not CVAT's, it has no <annotations>; move it away")
    if root.find("track") is not None:
        raise InputError(f"{path} is of a video; export the task as 'CVAT for images'")
    return root


def _read_shape(
    shape: ElementTree.Element, where: str, place: str, findings: Findings
) -> Region | None:
    kind, label = shape.tag, shape.get("label")
    where = f"{where}: {kind} of {label}"
    if kind in NO_SHAPES:
        return None
    if kind in SHAPELESS:
        cure = "draw a polygon, a rectangle, an ellipse or a mask in its place"
        skip(findings, f"shape of type {kind}", place, cure)
        return None
    if not label:
        raise InputError(f"{where}: it has no label; correct or delete it")
    group = shape.get("group_id")
    group = None if group in (None, "", "0") else group
    if kind == "mask":
        return Region(label, group, place, fixed([]), _read_mask(shape, where))
    if kind == "polygon":
        points = [_numbers(pair.split(","), where) for pair in _split(shape.get("points"), ";")]
        if any(len(point) != 2 for point in points):
            raise InputError(f"{where}: a point is not x,y; correct or delete it")
        return Region(label, group, place, fixed(points))
    keys = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}.get(kind)
    if keys is None:
        skip(findings, f"shape of type {kind[:40]}", place, "draw a polygon in its place")
        return None
    a, b, c, d = _numbers([shape.get(key) for key in keys], where)
    (degrees,) = _numbers([shape.get("rotation") or "0"], where)
    if kind == "box":
        outline, centre = rectangle((a, b), (c, d)), ((a + c) / 2, (b + d) / 2)
    else:
        outline, centre = ellipse((a, b), (abs(c), abs(d))), (a, b)
    return Region(label, group, place, fixed(turned(outline, centre, math.radians(degrees))))


def _read_mask(shape: ElementTree.Element, where: str) -> Callable[[Size], dict[str, Any]]:
    """A mask in a box, whose runs go row by row and begin with background."""
    left, top, width, height = (
        int(n) for n in _numbers([shape.get(k) for k in ("left", "top", "width", "height")], where)
    )
    runs = [int(run) for run in _numbers(_split(shape.get("rle"), ","), where)]
    if min(runs, default=-1) < 0 or sum(runs) != width * height:
        raise InputError(
            f"{where}: its runs add up to {sum(runs)}, not to the {width}x{height} of its box; "
            "export it again or delete it"
        )
    return functools.partial(_paste_runs, runs, (top, left), (height, width), where)


def _paste_runs(
    runs: list[int], corner: tuple[int, int], box: tuple[int, int], where: str, size: Size
) -> dict[str, Any]:
    if box[0] > size[0] or box[1] > size[1]:  # before it takes memory
        raise InputError(
            f"{where}: {box[1]}x{box[0]} is larger than its image of {size[1]}x{size[0]}; "
            "put the image back that was drawn on"
        )
    drawn = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(box)
    return paste(drawn, corner, size)


def _split(text: str | None, mark: str) -> list[str]:
    return [part for part in (text or "").split(mark) if part.strip()]


def _numbers(texts: list[Any], where: str) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except (TypeError, ValueError):
        raise InputError(f"{where}: {texts} are no numbers; correct or delete it") from None
    return check_numbers(numbers, where)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None
