"""Superpixels, patches of like colours to label by: SLIC, of the package scikit-image."""

import importlib.util
from collections.abc import Collection

import cv2
import numpy as np

from solojax.inference.look import shown_size
from solojax.types import InputError

COUNT = 400  # of an image, about
MISSING = 'superpixels need scikit-image; pip install "solojax[superpixels]"'


def are_there() -> bool:
    """Whether scikit-image is installed."""
    return importlib.util.find_spec("skimage") is not None


def check() -> None:
    """Raises InputError where it is not."""
    if not are_there():
        raise InputError(MISSING)


def segment(image: np.ndarray) -> np.ndarray:
    """The superpixels of an image, ``H W 3`` uint8 RGB.

    Returns:
      Their numbers from 1 on, uint16 of ``shown_size``; the same at each call.

    Raises:
      InputError: there is no ``pip install "solojax[superpixels]"``.
    """
    check()
    from skimage import segmentation

    height, width = shown_size((image.shape[0], image.shape[1]))
    shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return segmentation.slic(shown, COUNT, start_label=1).astype(np.uint16)


def enlarge(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``h w`` numbers at another size, (height, width): those of the nearest pixels."""
    return cv2.resize(numbers, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def union(numbers: np.ndarray, chosen: Collection[int], size: tuple[int, int]) -> np.ndarray:
    """The mask of some superpixels, ``H W`` uint8 of 0 and 1, at a size (height, width).

    Raises:
      InputError: none is chosen, or one that there is not.
    """
    if not chosen or not set(chosen) <= set(range(1, int(numbers.max()) + 1)):
        raise InputError(
            f"a mask is of superpixels with numbers in 1..{numbers.max()}; choose some"
        )
    return enlarge(np.isin(numbers, list(chosen)).astype(np.uint8), size)


def outlines(numbers: np.ndarray) -> np.ndarray:
    """``H W`` bool, the pixels whose number is not that of the next one to the right or below."""
    edges = np.zeros(numbers.shape, bool)
    edges[:-1] |= numbers[1:] != numbers[:-1]
    edges[:, :-1] |= numbers[:, 1:] != numbers[:, :-1]
    return edges
