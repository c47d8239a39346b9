"""Pictures of masks, for people."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

OPACITY = 0.45  # of a mask's fill
LEAST_SIDE = 512  # smaller images are enlarged by a whole factor, so that their labels can be read
MARGIN = 6  # pixels between panels
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.42  # on a picture up to LABELLED_HEIGHT; grows with higher ones
LABELLED_HEIGHT = 640
# Hues a golden angle apart stay apart however many there are.
GOLDEN_ANGLE = 0.61803398875


def color_of(number: int) -> tuple[int, int, int]:
    """A bright RGB colour for the ``number``-th class or instance."""
    hue = number * GOLDEN_ANGLE % 1.0
    lightness = 0.55 if number % 2 else 0.65
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw_masks(
    image: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray,
    names: Sequence[str],
    numbers: Sequence[int],
) -> np.ndarray:
    """Fills and outlines masks on an image and writes a name on each that has room for it.

    Args:
      image: ``H W 3`` uint8 RGB.
      masks: ``H W`` each, the first on top.
      names: what to write, one per mask; empty for nothing.
      numbers: which colour, one per mask.

    Returns:
      ``H' W' 3`` uint8 RGB, enlarged by a whole factor where the image is small.
    """
    factor = max(1, -(-LEAST_SIDE // min(image.shape[:2])))
    height, width = image.shape[0] * factor, image.shape[1] * factor
    drawn = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    order = range(len(masks) - 1, -1, -1)
    outlines = {}
    for k in order:
        mask = cv2.resize(
            masks[k].astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        color = np.array(color_of(numbers[k]))
        inside = mask > 0
        drawn[inside] = (drawn[inside] * (1 - OPACITY) + color * OPACITY).astype(np.uint8)
        outlines[k], _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines[k], -1, color.tolist(), 2, cv2.LINE_AA)
    for k in order:
        if names[k] and outlines[k]:
            _write(drawn, names[k], max(outlines[k], key=cv2.contourArea))
    return drawn


def side_by_side(panels: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Sets captioned pictures of equal height next to each other."""
    bar = 28
    captioned = []
    for caption, picture in panels:
        head = np.full((bar, picture.shape[1], 3), 255, np.uint8)
        cv2.putText(head, caption, (8, 19), FONT, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        captioned.append(np.concatenate([head, picture]))
        captioned.append(np.full((picture.shape[0] + bar, MARGIN, 3), 255, np.uint8))
    return np.concatenate(captioned[:-1], axis=1)


def save_png(path: str, picture: np.ndarray) -> None:
    """Writes ``H W 3`` uint8 RGB."""
    try:
        written = cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error:  # a name that ends like no image
        written = False
    if not written:
        raise OSError(f"{path} could not be written; give a name such as sheet.png")


def _write(drawn: np.ndarray, text: str, outline: np.ndarray) -> None:
    """Writes ``text`` in the middle of an outline, inside of the picture."""
    x, y, outline_width, outline_height = cv2.boundingRect(outline)
    scale = FONT_SCALE * max(1.0, drawn.shape[0] / LABELLED_HEIGHT)
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, 1)
    if width > outline_width:  # it would hide the neighbours
        return
    left = x + (outline_width - width) // 2
    base = y + (outline_height + height) // 2
    left = int(np.clip(left, 2, max(drawn.shape[1] - width - 3, 2)))
    base = int(np.clip(base, height + 3, drawn.shape[0] - baseline - 2))
    corner, opposite = (left - 2, base - height - 3), (left + width + 2, base + baseline)
    cv2.rectangle(drawn, corner, opposite, (20, 20, 20), cv2.FILLED)
    cv2.putText(drawn, text, (left, base), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
