"""Which canvas an image goes to, and where it lies there when nothing is drawn at random."""

import numpy as np

from solojax import config as config_lib
from solojax.data import plan, transforms


def eval_canvases_of(sizes: np.ndarray, data: config_lib.Data) -> np.ndarray:
    """The canvas of each image where nothing is drawn at random, as a place in ``data.canvases``.

    Args:
      sizes: ``n 2`` (height, width), original pixels.
      data: the recipe.
    """
    return canvases_of(sizes, data, data.test_short_side, data.long_side)


def canvases_of(
    sizes: np.ndarray, data: config_lib.Data, short_side: int, long_side: int
) -> np.ndarray:
    """The canvas of each image, as a place in ``data.canvases``.

    Args:
      sizes: ``n 2`` (height, width), original pixels.
      data: the recipe.
      short_side: the greatest that is drawn.
      long_side: limit of the other side.
    """
    if data.resize == "stretch":  # where it is stretched least
        shapes = np.log([height / width for height, width in data.canvases])
        wanted = np.log(sizes[:, 0] / sizes[:, 1])
        return np.abs(wanted[:, None] - shapes).argmin(1)
    return plan.choose_canvases(sizes, data.canvases, short_side, long_side)


def on_canvas(
    image: np.ndarray, data: config_lib.Data, canvas_number: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """An image as the network is to see it when nothing is drawn at random.

    Args:
      image: ``H W 3`` uint8 RGB, original pixels.
      data: the recipe.
      canvas_number: place in ``data.canvases``.

    Returns:
      The canvas with the image at its top left, zero elsewhere; (height, width) of the image there.
    """
    original = (image.shape[0], image.shape[1])
    size = size_on_canvas(original, data, canvas_number)
    drawn = np.zeros((*data.canvases[canvas_number], 3), np.uint8)
    transforms.place_image(image, transforms.Placement(original, size), drawn)
    return drawn, size


def size_on_canvas(
    original: tuple[int, int], data: config_lib.Data, canvas_number: int
) -> tuple[int, int]:
    """(height, width) of an image on its canvas when nothing is drawn at random."""
    canvas = data.canvases[canvas_number]
    if data.resize == "stretch":
        return canvas
    return transforms.fit_size(original, canvas, data.test_short_side, data.long_side)
