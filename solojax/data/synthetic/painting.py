"""Paints a layout: colours that stand out, light and shadow."""

import cv2
import numpy as np
from numpy.typing import NDArray

from solojax.data.synthetic.layout import Array, Rng, Shape
from solojax.data.synthetic.textures import draw_texture

LIGHT_SWING = 0.14  # brightness of the ground changes by this much from the centre to a corner
SHAPE_SWING = 0.16  # the same across a shape, from its centre to its rim
RIM_LIGHT = 0.17  # brightness that a rounded rim gains toward the light and loses away from it
SHADOW_STRENGTH = (0.3, 0.5)  # light lost under a shape: a soft, sunny shadow
SHADOW_LENGTH = (1.5, 4.0)  # px; toys lie flat on the ground
SHADOW_BLUR = 1.8  # px, standard deviation
GROUND_CONTRAST = (30.0, 14.0, 14.0)  # CIELAB distance to the ground: mean, each of two tones
SHAPE_CONTRAST = 18.0  # CIELAB distance of the mean colours of two shapes: close, yet told apart
REACH = 12  # px around a shape: its shadow moves by up to 4 px, and the blur adds 7
COLOUR_TRIES = 48  # two suffice on average; after the last, the best one seen is taken

PALETTE = (
    "e4572e f28f3b f4c95d f6edd9 a8d5ba 5b9a5b 2f5d50 17808c 7fc4e0 2b6cb0 "
    "22335c b7a6d8 6d3b6b e78fa6 a63d40 d9b98a 7a5239 5e6b78 33383f dde3e8"
)
COLOURS = np.array([list(bytes.fromhex(c)) for c in PALETTE.split()], np.float32) / 255
WHITE, INK = np.array([[1.0, 0.98, 0.94], [0.08, 0.09, 0.16]], np.float32)  # warm and cool


def to_lab(colours: Array) -> Array:
    """Converts colours [N, 3], RGB in 0..1, to CIELAB, where distance is what the eye sees."""
    return np.asarray(cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0], np.float32)


def pick_tones(rng: Rng, used: list[Array]) -> Array:
    """Picks two tones [2, 3] that stand out from the pairs in use; the ground's comes first."""
    best, best_score = np.asarray(COLOURS[:2], np.float32), -1.0
    for _ in range(COLOUR_TRIES if used else 1):
        base, other = COLOURS[rng.choice(len(COLOURS), 2, replace=False)]
        # Mostly a lighter or a darker shade of one colour, at times a pair of colours.
        target = (WHITE, INK, other)[rng.choice(3, p=(0.4, 0.25, 0.35))]
        tones = np.asarray([base, base + rng.uniform(0.3, 0.6) * (target - base)], np.float32)
        score = 1.0
        if used:
            means = np.mean([tones, *used], axis=1)
            lab = to_lab(np.concatenate([means[:1], tones, means[1:]]))
            to_ground = np.linalg.norm(lab[:3] - lab[3], axis=1) / GROUND_CONTRAST
            to_shapes = np.linalg.norm(lab[:1] - lab[4:], axis=1) / SHAPE_CONTRAST
            score = float(min([*to_ground, *to_shapes]))
        if score > best_score:
            best, best_score = tones, score
        if score >= 1:
            break
    return best


def shift(picture: Array, by: Array) -> Array:
    """Moves a picture [H, W] by (x, y) px and repeats its border."""
    move = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    side = picture.shape[::-1]
    moved = cv2.warpAffine(picture, move, side, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def frame(coverage: Array) -> tuple[slice, slice]:
    """Returns the rows and columns of a canvas that a shape [H, W] and its shadow can change."""
    rows, columns = (np.flatnonzero(coverage.any(axis)).tolist() for axis in (1, 0))
    return (
        slice(max(rows[0] - REACH, 0), rows[-1] + 1 + REACH),
        slice(max(columns[0] - REACH, 0), columns[-1] + 1 + REACH),
    )


def paint(rng: Rng, shapes: list[Shape], size: int) -> tuple[NDArray[np.uint8], int]:
    """Paints ground, shadows and shapes, bottom first.

    Returns:
      [size, size, 3] RGB, and the place of the ground's texture in ``textures.NAMES``.
    """
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)], np.float32)  # points toward the light
    length, strength = rng.uniform(*SHADOW_LENGTH), np.float32(rng.uniform(*SHADOW_STRENGTH))
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:size, :size])
    used = [pick_tones(rng, [])]
    slope = (x + 0.5 - size / 2) * light[0] + (y + 0.5 - size / 2) * light[1]
    swing = LIGHT_SWING * (slope / (size * np.sqrt(0.5)))
    planes, ground = draw_texture(rng, used[0], y, x, size)
    scene = planes * (1 + swing)  # [3, size, size]
    for shape in shapes:
        rows, columns = frame(shape.coverage)
        part, y_part, x_part = scene[:, rows, columns], y[rows], x[:, columns]
        # Blurred and moved as a whole, then cut: OpenCV rounds by where a pixel lies in a picture.
        shadow = cv2.GaussianBlur(shift(shape.coverage, -length * light), (0, 0), SHADOW_BLUR)
        soft = np.asarray(cv2.GaussianBlur(shape.coverage, (0, 0), 1.0), np.float32)
        rim = RIM_LIGHT * (shift(soft, -light) - shift(soft, light))[rows, columns]
        part *= 1 - strength * shadow[rows, columns]
        used.append(pick_tones(rng, used))
        slope = (x_part + 0.5 - shape.centre[0]) * light[0]
        slope = slope + (y_part + 0.5 - shape.centre[1]) * light[1]
        glow = 1 + SHAPE_SWING * np.clip(slope / (shape.extent / 2), -1, 1)
        texture, _ = draw_texture(rng, used[-1], y_part, x_part, size)
        surface = texture * glow + rim
        part += shape.coverage[rows, columns] * (surface - part)
    picture = np.asarray(np.clip(scene * 255 + 0.5, 0, 255), np.uint8)
    return picture.transpose(1, 2, 0), ground
