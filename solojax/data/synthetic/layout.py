"""Which shapes lie where: outlines, sizes, places, and what stays visible of each."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

CLASSES = ("circle", "rectangle", "triangle", "star", "ring")  # category ids 1..5, in this order

MIN_SIZE = 32  # px; below it the largest shape (MAX_EXTENT) hardly exceeds the smallest
MAX_SHAPES = 6  # tried, uniform on 1..6; those that find no place bring the mean to 3.3
MARGIN = 0.06  # of the side: centres keep clear of the border, for whole and for cut shapes
MIN_EXTENT = 12.0  # px; a smaller star and a circle look the same
MAX_EXTENT = 0.55  # of the picture's side: 70 px in 128, a close-up that leaves room for others
MIN_VISIBLE = 0.35  # of a shape's area, also counting what lies outside the picture
MIN_PIXELS = 30  # visible; fewer do not show an outline
SUPERSAMPLE = 4  # 16 samples per pixel: smooth edges, coverage in steps of 1/16

ASPECT = (0.55, 1.0)  # short by long side of rectangles and triangles; thinner ones are sticks
CORNER = 0.07  # corner radius by extent: soft like a wooden toy, and still a corner
STAR_INNER = (0.45, 0.56)  # inner by outer radius: 0.38 is the sharp pentagram, 0.8 the decagon
RING_INNER = (0.5, 0.68)  # hole by outer radius: a clear hole, a band that survives at 12 px
CIRCLE_POINTS = 72  # corners of a drawn circle: off by 0.03 px at most for 70 px


class Shape(NamedTuple):
    """One placed shape: class 0..4, anti-aliased coverage [H, W] in 0..1, area in px, centre."""

    label: int
    coverage: Array
    area: int
    centre: Array
    extent: float


def outline_shape(rng: Rng, label: int) -> list[Array]:
    """Returns the contours [N, 2] of a shape of unit radius, unrotated; a ring has two."""
    turn = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], -1)
    aspect = rng.uniform(*ASPECT)
    match CLASSES[label]:
        case "circle":
            contours = [circle]
        case "rectangle":
            corner = np.array([1.0, aspect]) / np.hypot(1.0, aspect)
            contours = [corner * [[-1, -1], [1, -1], [1, 1], [-1, 1]]]
        case "triangle":
            contours = [circle[:: CIRCLE_POINTS // 3] * [1.0, aspect]]
        case "star":
            turn = np.arange(10) * np.pi / 5
            radius = np.where(np.arange(10) % 2, rng.uniform(*STAR_INNER), 1.0)
            contours = [np.stack([np.cos(turn), np.sin(turn)], -1) * radius[:, None]]
        case _:
            contours = [circle, circle * rng.uniform(*RING_INNER)]
    return [contour.astype(np.float32) for contour in contours]


def place_shape(rng: Rng, size: int) -> Shape:
    """Draws one shape of random class, size, place and rotation on a size x size px canvas."""
    label = int(rng.integers(len(CLASSES)))
    extent = float(rng.uniform(MIN_EXTENT, MAX_EXTENT * size))
    centre = rng.uniform(MARGIN * size, (1 - MARGIN) * size, 2).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    side = int(np.ceil(extent)) + 4  # spare pixels for the anti-aliased edge
    origin = np.floor(centre - side / 2).astype(int)
    # A stroke of the corner radius around a smaller shape rounds its corners.
    corner = CORNER * extent
    contours = [
        (((extent / 2 - corner) * c @ turn + centre - origin) * SUPERSAMPLE).astype(np.int32)
        for c in outline_shape(rng, label)
    ]
    fine = np.zeros((side * SUPERSAMPLE, side * SUPERSAMPLE), np.uint8)
    cv2.fillPoly(fine, contours, 255)
    cv2.polylines(fine, contours[:1], True, 255, max(1, round(2 * corner * SUPERSAMPLE)))
    patch = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA) / np.float32(255)
    coverage = np.zeros((size, size), np.float32)
    (left, top), (right, bottom) = np.maximum(origin, 0), np.minimum(origin + side, size)
    inside = patch[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
    coverage[top:bottom, left:right] = inside
    return Shape(label, coverage, int((patch >= 0.5).sum()), centre, extent)


def lay_out(rng: Rng, size: int) -> tuple[list[Shape], list[Mask]]:
    """Piles up 1 to 6 shapes, bottom first; returns them with their visible masks [H, W]."""
    tries = int(rng.integers(1, MAX_SHAPES + 1))
    shapes: list[Shape] = []
    visible: list[Mask] = []
    while tries > 0 or not shapes:
        tries -= 1
        shape = place_shape(rng, size)
        mask = shape.coverage >= 0.5
        after = [*(below & ~mask for below in visible), mask]
        if all(
            m.sum() >= max(MIN_VISIBLE * s.area, MIN_PIXELS)
            for m, s in zip(after, [*shapes, shape], strict=True)
        ):
            shapes, visible = [*shapes, shape], after
    return shapes, visible
