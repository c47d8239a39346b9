"""The shapes of labelme and of programs that write its form, each as the region it stands for."""

import functools
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solojax.data.findings import Findings
from solojax.data.foreign.contents import Size, check_numbers, skip
from solojax.data.foreign.files import decode, from_base64
from solojax.data.foreign.regions import Region, ellipse, fixed, paste, rectangle
from solojax.types import InputError

LEAST_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # of shapes with a mask
ROTATED = ("rotation", "rotated_rectangle", "oriented_rectangle")  # their corners are points
NO_OBJECTS = ("_background_", "__ignore__")  # labels that labelme keeps for what is no object


def read_shape(shape: Any, path: Path, place: str, findings: Findings) -> Region | None:
    """One entry of "shapes" of a labelme file, checked; None where it stands for no mask.

    Raises:
      InputError: it has no label or no points, or a coordinate is no number.
    """
    where = f"{path}: {place.rpartition(': ')[2]}"
    label, points = (isinstance(shape, dict) and shape.get(k) for k in ("label", "points"))
    if isinstance(label, int | float) and not isinstance(label, bool):
        label = str(label)
        findings.add("repaired", "labels that are numbers, read as text", place)
    if not isinstance(label, str) or not isinstance(points, list):
        raise InputError(f"{where} has no 'label' or no 'points'; correct or delete it")
    if not label.strip():
        skip(findings, "shape without a label", place, "give it one or delete it")
        return None
    if label in NO_OBJECTS:
        skip(findings, f"shape of the label {label}, which stands for no object", place, "")
        return None
    flags = shape.get("flags")
    if isinstance(flags, dict) and any(flags.values()):
        findings.add("told", "shapes with a flag set; flags are not kept", place)
    # Early versions knew polygons alone.
    kind = str(shape.get("shape_type") or "polygon").lower().replace(" ", "_")
    kind = "polygon" if kind in ROTATED else kind
    if kind not in LEAST_POINTS:
        cure = "draw a polygon, a rectangle, a circle or a mask in its place"
        skip(findings, f"shape of type {kind[:40]}", place, cure)
        return None
    if len(points) < LEAST_POINTS[kind]:
        reason = f"{kind} of fewer than {LEAST_POINTS[kind]} points"
        skip(findings, reason, place, "draw it anew or delete it")
        return None
    if any(len(check_numbers(point, where)) != 2 for point in points):
        raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
    region = Region(label, shape.get("group_id"), place, fixed(_outline(kind, np.array(points))))
    if kind == "mask":
        text = shape.get("mask")
        if not isinstance(text, str) or not text:
            skip(findings, "mask shape without its mask", place, "draw it anew or delete it")
            return None
        mask = functools.partial(_mask, text, np.rint(points).astype(int), where)
        return region._replace(mask=mask)
    angle = next((shape[k] for k in ("rotation", "direction", "angle") if shape.get(k)), 0)
    if kind == "rectangle" and len(points) < 4 and angle:
        reason = f"rectangle of two corners that is turned by {angle!r} of an unknown unit"
        skip(findings, reason[:80], place, "draw a polygon in its place")
        return None
    return region


def _mask(text: str, points: np.ndarray, where: str, size: Size) -> dict[str, Any]:
    """The run lengths of a mask in base64, which lies in the box of its points."""
    pixels = decode(from_base64(text, f"{where}: mask"), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{where}: mask is no image in base64; draw it anew or delete it")
    drawn = np.asarray(pixels[..., :3].any(-1) if pixels.ndim == 3 else pixels > 0)
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    # The last row and column belong to it, but some programs leave them out.
    box = bottom - top + 1, right - left + 1
    if any(abs(side - stated) > 1 for side, stated in zip(drawn.shape, box, strict=True)):
        raise InputError(
            f"{where}: its mask is {drawn.shape[1]}x{drawn.shape[0]} where its points span "
            f"{box[1]}x{box[0]} (width x height); draw it anew or delete it"
        )
    return paste(drawn, (top, left), size)


def _outline(kind: str, points: np.ndarray) -> np.ndarray:
    """The polygon ``N 2`` of a shape of labelme that is given by points ``N 2``."""
    low, high = points.min(0), points.max(0)
    if kind == "rectangle":
        is_turned = len(points) == 4 and ((points != low) & (points != high)).any()
        return points if is_turned else rectangle(low, high)
    if kind == "circle":  # its centre, and a point on it
        radius = math.dist(points[0], points[1])
        return ellipse(points[0], (radius, radius))
    return points
