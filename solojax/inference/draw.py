"""Pictures of masks, for people."""

import colorsys
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data import rle
from solojax.types import IGNORED

OPACITY = 0.45  # of a mask's fill
LEAST_SIDE = 512  # smaller images are enlarged by a whole factor, so that their labels can be read
MOST_SIDE = 4096  # that a picture is enlarged to
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
    masks: Iterable[tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    numbers: Sequence[int],
) -> np.ndarray:
    """Fills and outlines masks on an image and writes a name on each that has room for it.

    Args:
      image: ``H W 3`` uint8 RGB.
      masks: ``n``, patches and corners as of ``rle.Masks``, the last first: the first is on top.
      names: what to write, one per mask; empty for nothing.
      numbers: which colour, one per mask.

    Returns:
      ``H' W' 3`` uint8 RGB, enlarged by a whole factor where the image is small.
    """
    factor = max(1, min(-(-LEAST_SIDE // min(image.shape[:2])), MOST_SIDE // max(image.shape[:2])))
    height, width = image.shape[0] * factor, image.shape[1] * factor
    drawn = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    order = range(len(names) - 1, -1, -1)
    shades = np.arange(256)[:, None] * (1 - OPACITY)
    outlines = {}
    for k, (patch, corner) in zip(order, masks, strict=True):
        patch = np.repeat(np.repeat(patch.astype(np.uint8), factor, 0), factor, 1)
        top, left = (corner * factor).tolist()
        color = np.array(color_of(numbers[k]))
        view = drawn[top : top + patch.shape[0], left : left + patch.shape[1]]
        filled = cv2.LUT(view, (shades + color * OPACITY).astype(np.uint8)[None])
        np.copyto(view, filled, where=(patch > 0)[..., None])
        outlines[k], _ = cv2.findContours(
            patch, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top)
        )
        cv2.drawContours(drawn, outlines[k], -1, color.tolist(), 2, cv2.LINE_AA)
    for k in order:
        if names[k] and outlines[k]:
            _write(drawn, names[k], max(outlines[k], key=cv2.contourArea))
    return drawn


def draw_instances(
    image: np.ndarray,
    rles: Sequence[bytes],
    labels: Sequence[int],
    notes: Sequence[str],
    categories: Sequence[Category],
    colors: Sequence[int] | None = None,
) -> np.ndarray:
    """``draw_masks`` with each mask's class and a note, such as a score, written on it.

    Colours tell classes apart, or instances where there is one class only; its name is not told.

    Args:
      image: ``H W 3`` uint8 RGB.
      rles: ``n`` masks as compressed run lengths, the first on top; empty ones are not drawn.
      labels: ``n``, places in categories.
      notes: ``n``.
      categories: that there are.
      colors: ``n`` numbers of instances, where colours are to tell those apart.
    """
    size = image.shape[:2]
    seen = [i for i, one in enumerate(rles) if coco_mask.area({"size": size, "counts": one})]
    # One at a time: each may be as large as the image.
    decoded = (rle.decode_patches([rles[i]], size[0]) for i in reversed(seen))
    masks = ((one.patches[0], one.corners[0]) for one in decoded)
    if len(categories) == 1:
        numbers: Sequence[int] = range(len(rles))
        texts = [notes[i] for i in seen]
    else:
        numbers = labels
        texts = [f"{categories[labels[i]].name} {notes[i]}".strip() for i in seen]
    numbers = numbers if colors is None else colors
    return draw_masks(image, masks, texts, [numbers[i] for i in seen])


def draw_labels(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An image, ``H W 3`` uint8 RGB, in the colours of the labels ``H W`` that are not IGNORED."""
    colors = np.array([color_of(label) for label in range(IGNORED + 1)])
    blended = image * (1 - OPACITY) + colors[labels] * OPACITY
    return np.where((labels != IGNORED)[..., None], blended, image).astype(np.uint8)


def legend(names: Sequence[tuple[str, int]], width: int) -> np.ndarray:
    """Rows of names, each behind a square in the colour of its number: ``h width 3`` uint8 RGB."""
    row = 24
    places, x, y = [], MARGIN, 0
    for name, _ in names:
        taken = cv2.getTextSize(name, FONT, FONT_SCALE, 1)[0][0] + row + 2 * MARGIN
        if x > MARGIN and x + taken > width:
            x, y = MARGIN, y + row
        places.append((x, y))
        x += taken
    strip = np.full((y + row, width, 3), 255, np.uint8)
    for (name, number), (x, y) in zip(names, places, strict=True):
        strip[y + 4 : y + row - 4, x : x + row - 8] = color_of(number)
        cv2.putText(
            strip, name, (x + row - 2, y + 16), FONT, FONT_SCALE, (40, 40, 40), 1, cv2.LINE_AA
        )
    return strip


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
