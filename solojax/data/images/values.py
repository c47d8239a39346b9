"""Pixels of any kind -> 8-bit RGB, by rules that are the same in training and prediction."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from solojax.data.findings import Effect
from solojax.types import InputError

DEPTHS = (8, 10, 12, 14, 16)  # bits of the values of cameras
UNIT = 16  # floats above 1 and below it may be shares of 1 that went over, or a few grey levels
WHITE_OR_BLACK = 262  # the tag of a TIFF that is 0 where the highest value is black
DARK, DARK_SHARE = 16, 0.995  # an image is as good as black with so many 8-bit values below that

Range = tuple[float, float]
"""The values that become 0 and 255."""


class Note(NamedTuple):
    """What people should hear of an image, as ``Findings.add`` takes it."""

    effect: Effect
    what: str
    cure: str


DARK_NOTE = Note(
    "doubtful",
    "images of more than 8 bits are nearly black: few of their values are not among the lowest",
    "set data.value_range (predict --range) to the values that are black and white",
)


def range_of(numbers: Sequence[float]) -> Range | None:
    """Black and white as a config has them; raises InputError where they are no such pair."""
    if not numbers:
        return None
    if len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        raise InputError(
            f"a range of values is {list(numbers)} where two numbers are meant, the lower one first"
        )
    return numbers[0], numbers[1]


def to_bytes(values: np.ndarray, value_range: Range | None) -> tuple[np.ndarray, list[Note]]:
    """Values of more than 8 bits -> uint8, and what is to be told.

    Where no range is given, whole numbers are taken to be of 8, 10, 12, 14 or 16 bits, the fewest
    that hold the largest one, and their upper eight bits are kept; floats of 0..1 are shares of
    white, and larger ones are taken as whole numbers.

    Raises:
      InputError: numbers have no such meaning; the line begins with a verb.
    """
    if values.dtype == np.uint8:
        return values, []
    is_float = values.dtype.kind == "f"
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        raise InputError("has values that are no finite numbers; save it as 8-bit PNG")
    if value_range is not None:
        black, white = value_range
        scaled = (values.astype(np.float32) - black) * np.float32(255 / (white - black))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), []
    if low < 0 or high >= 2 ** DEPTHS[-1] or (is_float and 1 < high < UNIT):
        raise InputError(
            f"has values from {low:g} to {high:g}, of which none is known to be black or white; "
            "set data.value_range (predict --range) to both"
        )
    if is_float and high <= 1:
        scaled = np.rint(values * 255).astype(np.uint8)
        notes = [Note("told", "images of floats read as shares of white", "")]
    else:
        bits = next(bits for bits in DEPTHS if high < 2**bits)
        scaled = (values.astype(np.uint16, copy=False) >> (bits - 8)).astype(np.uint8)
        what = f"images of more than 8 bits read as of {bits}, the fewest that hold their values"
        cure = "data.value_range (predict --range) gives all images one range"
        notes = [Note("told", what, cure)]
    if np.mean(scaled < DARK) > DARK_SHARE:
        notes.append(DARK_NOTE)
    return scaled, notes


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """``H W`` or ``H W C`` of grey or RGB, each perhaps with alpha, -> ``H W 3``."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, -1)
    return np.ascontiguousarray(pixels[..., :3])


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels ``H W 3`` -> upright ones, by EXIF's orientation."""
    if orientation in (5, 6, 7, 8):  # rows of the stored image are columns
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def of_pillow(image: Image.Image, value_range: Range | None) -> tuple[np.ndarray, list[Note]]:
    """An image of Pillow, of any mode -> ``H W 3`` uint8 RGB as stored, and what is to be told.

    Transparency is dropped, as from files.

    Raises:
      InputError: its values have no known meaning; the line begins with a verb.
    """
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        pixels, notes = to_bytes(np.asarray(image), value_range)
        is_dark_high = getattr(image, "tag_v2", {}).get(WHITE_OR_BLACK) == 0  # of a TIFF
        return to_rgb(255 - pixels if is_dark_high else pixels), notes
    if mode in ("La", "RGBa"):  # multiplied by their alpha
        image = image.convert(mode.upper())
    if mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB") or image
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), []
