"""Textures of two tones: plain, stripes, checks, dots, clouds, wood, marble."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from solojax.data.synthetic.layout import Array, Rng

PERIOD = (6.0, 15.0)  # px between stripes, checks, dots: two or more repeats in most shapes
NOISE_TILE = 32  # side of the random tile behind the smooth noise; it wraps


def smooth_noise(rng: Rng, u: Array, v: Array, scale_u: float, scale_v: float) -> Array:
    """Returns noise [H, W] in about -1..1 that varies over scale_u, scale_v px along u, v."""
    tile = rng.uniform(-1, 1, (NOISE_TILE, NOISE_TILE)).astype(np.float32)
    # Wrapped by hand, with three spare cells for the cubic kernel: remap's own BORDER_WRAP (OpenCV
    # 5.0) wraps once only, and draws streaks further out than two tiles.
    tile = np.asarray(cv2.copyMakeBorder(tile, 3, 3, 3, 3, cv2.BORDER_WRAP), np.float32)
    total = np.zeros_like(u)
    for octave in (1, 2):  # the second octave, half as wide and half as strong, adds the detail
        x, y = u * np.float32(octave / scale_u), v * np.float32(octave / scale_v)
        total += cv2.remap(tile, wrap(x) + 3, wrap(y) + 3, cv2.INTER_CUBIC) / octave
    return total


def wrap(field: Array) -> Array:
    """Returns field % NOISE_TILE: the same bits, since it is a power of two, but faster."""
    return np.asarray(field - np.floor(field / NOISE_TILE) * NOISE_TILE, np.float32)


def clip_unit(field: NDArray[Any]) -> Array:
    """Clips a field to 0..1, the range in which it mixes two tones."""
    return np.asarray(np.clip(field, 0, 1), np.float32)


def sharpen_wave(wave: Array, period: float) -> Array:
    """Turns a sine of this period (px) into bands 0 and 1 with edges one pixel wide."""
    return clip_unit(0.5 + wave * np.float32(period / (2 * np.pi)))


def draw_plain(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns a slow ramp with a breath of noise."""
    ramp = 0.5 + 0.5 * np.sin(u / np.float32(6 * period))
    return clip_unit(ramp + np.float32(0.08) * smooth_noise(rng, u, v, 4, 4))


def draw_stripes(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns straight or wavy stripes."""
    bend = rng.choice([0.0, 0.25]) * period * np.sin(v * np.float32(np.pi / period))
    return sharpen_wave(np.sin((u + bend) * np.float32(2 * np.pi / period)), period)


def draw_checks(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns a chess board, or the three tones of gingham cloth."""
    across, along = (np.sin(w * np.float32(np.pi / period)) for w in (u, v))
    if rng.random() < 0.5:
        return sharpen_wave(across * along, 2 * period)
    return clip_unit((sharpen_wave(across, 2 * period) + sharpen_wave(along, 2 * period)) / 2)


def draw_dots(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns staggered dots."""
    radius = period * rng.uniform(0.22, 0.36)  # 0.5 would let neighbours touch
    shifted = v + (np.floor(u / period) % 2) * np.float32(period / 2)
    away = np.hypot(u % period - period / 2, shifted % period - period / 2)
    return clip_unit(0.5 + radius - away)


def draw_clouds(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns smooth noise: soft clouds in felt, or blots with crisp edges."""
    if rng.random() < 0.5:  # large, and with a fine grain: else the picture would look unsharp
        soft = 0.4 * smooth_noise(rng, u, v, 3 * period, 3 * period)
        return clip_unit(0.5 + soft + 0.14 * smooth_noise(rng, u, v, 2, 2))
    return clip_unit(0.5 + period / 2 * smooth_noise(rng, u, v, period, period))


def draw_wood(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns year rings that end abruptly, with a grain along them."""
    ring = (u / period + 0.8 * smooth_noise(rng, u, v, 3 * period, 9 * period)) % 1
    soft = np.minimum(ring, (1 - ring) * 5)  # the abrupt end, five times as steep as the rise
    return clip_unit(soft + 0.25 * smooth_noise(rng, u, v, 1.5, 14))


def draw_marble(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns thin veins that wander through a cloudy stone."""
    wander = smooth_noise(rng, u, v, 2 * period, 2 * period)
    vein = 1 - np.abs(np.sin(u / (1.5 * period) + 2.2 * wander))
    return clip_unit(0.15 + 0.2 * wander + vein**3)


TEXTURES: tuple[Callable[[Rng, Array, Array, float], Array], ...] = (
    draw_plain, draw_stripes, draw_checks, draw_dots, draw_clouds, draw_wood, draw_marble,
)  # fmt: skip
NAMES = ("plain", "stripes", "checks", "dots", "clouds", "wood", "marble")


def draw_texture(rng: Rng, tones: Array, y: Array, x: Array, size: int) -> tuple[Array, int]:
    """Returns planes [3, H, W] that mix the two tones [2, 3] in a random texture, and its place.

    `y` [H, 1] and `x` [1, W] are the places of the pixels on the canvas of `size` px.
    """
    angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(*PERIOD)
    offset = rng.uniform(0, 2 * size)
    y, x = y + offset, x + offset
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    place = int(rng.integers(len(TEXTURES)))
    field = TEXTURES[place](rng, x * cos + y * sin, y * cos - x * sin, period)
    low, high = tones[..., None, None]
    return np.asarray(low + field * (high - low), np.float32), place
