"""The shapes of labelme and of programs that write its form, each as the mask it stands for."""

import base64
import math
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from solojax.data import rle
from solojax.data.findings import Findings
from solojax.data.foreign.contents import Size, check_numbers, skip
from solojax.data.foreign.files import decode
from solojax.data.segmentations import to_rle
from solojax.types import InputError

LEAST_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # of shapes with a mask
ROTATED = ("rotation", "rotated_rectangle", "oriented_rectangle")  # their corners are points
CIRCLE_ERROR = 0.1  # pixels between a circle and its polygon, at most
NO_OBJECTS = ("_background_", "__ignore__")  # labels that labelme keeps for what is no object


class Shape(NamedTuple):
    """One shape; several may be an instance."""

    label: str
    group: Any  # what shapes of one instance share, None where it is one by itself
    place: str  # for people: file and number
    polygon: list[float]  # x y x y ..., empty where it is a mask
    mask: str = ""  # an image in base64, whose upper left pixel lies at the
    corner: tuple[int, int] = (0, 0)  # (top, left) of the image
    box: tuple[int, int] = (0, 0)  # (height, width) that labelme states for it


def read_shape(shape: Any, path: Path, place: str, findings: Findings) -> Shape | None:
    """One entry of "shapes" of a labelme file, checked; None where it stands for no mask.

    Raises:
      InputError: it has no label or no points, or a coordinate is no number.
    """
    number = place.rpartition(": ")[2]
    where = f"{path}: {number}"
    label, points = (isinstance(shape, dict) and shape.get(k) for k in ("label", "points"))
    if isinstance(label, int | float) and not isinstance(label, bool):
        label = str(label)
        findings.add("repaired", "labels that are numbers, read as text", place)
    if not isinstance(label, str) or not isinstance(points, list):
        raise InputError(f"{where} has no 'label' or no 'points'; correct or delete it")
    if label in NO_OBJECTS:
        skip(findings, f"shape of the label {label}, which stands for no object", place, "")
        return None
    if _any(shape.get("flags")):
        findings.add("told", "shapes with a flag set; flags are not kept", place)
    # Early versions knew polygons alone.
    kind = str(shape.get("shape_type") or "polygon").lower().replace(" ", "_")
    kind = "polygon" if kind in ROTATED else kind
    if kind not in LEAST_POINTS:
        cure = "draw a polygon, a rectangle, a circle or a mask in its place"
        skip(findings, f"shape of type {kind}", place, cure)
        return None
    if len(points) < LEAST_POINTS[kind]:
        reason = f"{kind} of fewer than {LEAST_POINTS[kind]} points"
        skip(findings, reason, place, "draw it anew or delete it")
        return None
    if any(len(check_numbers(point, where)) != 2 for point in points):
        raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
    corners = np.array(points, float)
    if kind == "mask":
        mask = shape.get("mask")
        if not isinstance(mask, str) or not mask:
            skip(findings, "mask shape without its mask", place, "draw it anew or delete it")
            return None
        (left, top), (right, bottom) = np.rint(corners.min(0)), np.rint(corners.max(0))
        box = int(bottom - top) + 1, int(right - left) + 1  # the last row and column belong to it
        return Shape(label, shape.get("group_id"), place, [], mask, (int(top), int(left)), box)
    turn = next((shape[k] for k in ("rotation", "direction", "angle") if shape.get(k)), 0)
    if kind == "rectangle" and len(points) < 4 and turn:
        reason = f"rectangle of two corners that is turned by {turn!r} of an unknown unit"
        skip(findings, reason[:80], place, "draw a polygon in its place")
        return None
    return Shape(label, shape.get("group_id"), place, _outline(kind, corners))


def rle_of(shape: Shape, path: Path, size: Size) -> dict[str, Any]:
    """The mask of a shape in its image, run lengths; what lies outside of the image is cut off.

    Raises:
      InputError: its mask is no image, or not of the size of the box that is stated for it.
    """
    if not shape.mask:
        return to_rle([shape.polygon], *size)
    where = f"{path}: {shape.place.rpartition(': ')[2]}"
    pixels = decode(from_base64(shape.mask, f"{where}: mask"), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{where}: mask is no image in base64; draw it anew or delete it")
    drawn = np.asarray(pixels[..., :3].any(-1) if pixels.ndim == 3 else pixels > 0)
    # Some programs leave the last row and column out.
    if any(abs(side - stated) > 1 for side, stated in zip(drawn.shape, shape.box, strict=True)):
        raise InputError(
            f"{where}: its mask is {drawn.shape[1]}x{drawn.shape[0]} where its points span "
            f"{shape.box[1]}x{shape.box[0]} (width x height); draw it anew or delete it"
        )
    return {"size": list(size), "counts": paste(drawn, shape.corner, size)}


def paste(drawn: np.ndarray, corner: tuple[int, int], size: Size) -> bytes:
    """A mask ``h w`` whose upper left pixel lies at ``corner`` of an image -> run lengths of it."""
    (top, left), (height, width) = corner, size
    inside = drawn[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    if not inside.size:
        inside, top, left = np.zeros((1, 1), bool), 0, 0
    return rle.encode_patch(inside.astype(np.uint8), (max(top, 0), max(left, 0)), size)


def from_base64(text: Any, where: str) -> bytes:
    """The bytes that a text stands for, which may begin as the URL of an image in a page does."""
    try:
        head, comma, tail = text.partition(",")
        return base64.b64decode(tail if comma and head.startswith("data:") else text)
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{where} is not base64; export it again or delete it") from None


def _outline(kind: str, points: np.ndarray) -> list[float]:
    """The polygon x y x y ... of a shape of labelme that is given by points ``N 2``."""
    low, high = points.min(0), points.max(0)
    if kind == "rectangle" and not (
        len(points) == 4 and ((points != low) & (points != high)).any()
    ):
        (x0, y0), (x1, y1) = low, high
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    elif kind == "circle":  # its centre, and a point on it
        radius = math.dist(points[0], points[1])
        corners = math.ceil(math.pi / math.acos(1 - CIRCLE_ERROR / max(radius, 1)))
        turn = np.arange(corners) * (2 * np.pi / corners)
        points = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], -1)
    return points.ravel().tolist()


def _any(flags: Any) -> bool:
    return isinstance(flags, dict) and any(flags.values())
