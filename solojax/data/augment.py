"""Augmentations beyond size and mirror: NumPy functions of one example and one random generator.

``distort_colors`` and ``draw_iou_crop`` are for the original image, ``grid_mask`` and ``erase`` for
the resized one. They change what is seen and not where: only a crop asks anything of the instances.
The numbers are PaddleDetection's (RandomDistort, RandomCrop, Gridmask) and those of Zhong et al.,
"Random Erasing Data Augmentation", 2017. Images are RGB uint8 and never modified; where nothing is
to be done, the image itself comes back.
"""

import cv2
import numpy as np

# RandomDistort
BLEND_FACTORS = (0.5, 1.5)
HUE_SHIFTS = (-18.0, 18.0)  # of a circle of 256
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, grey as Pillow and OpenCV have it

# RandomCrop, after SSD
IOU_THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
CROP_TRIES = 50  # for each threshold
CROP_SCALES = (0.3, 1.0)
CROP_ASPECTS = (0.5, 2.0)

# Gridmask
STRIPE_RATIO = 0.5  # width of a stripe to the period

# Zhong et al.; the number of tries is that of the authors' program
ERASED_SHARES = (0.02, 0.4)
ERASED_ASPECT = 0.3  # the least; the greatest is its inverse
ERASE_TRIES = 100

Window = tuple[int, int, int, int]
"""Top, left, bottom, right in original pixels; the last two are the first outside."""


def distort_colors(
    image: np.ndarray, rng: np.random.Generator, probability: float = 0.5
) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue, in random order, each or not.

    Args:
      image: ``H W 3`` uint8.
      rng: the only source of randomness.
      probability: of each of the four.

    Returns:
      ``H W 3`` uint8, rounded and clipped after each of the four.
    """
    steps = (
        (brightness, BLEND_FACTORS),
        (contrast, BLEND_FACTORS),
        (saturation, BLEND_FACTORS),
        (hue, HUE_SHIFTS),
    )
    for place in rng.permutation(len(steps)):
        if rng.random() < probability:
            distort, bounds = steps[place]
            image = distort(image, rng.uniform(*bounds))
    return image


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends ``H W 3`` uint8 with black; a factor of 1 changes nothing, 0 leaves black."""
    return _blend(image, np.zeros((3, 4)), factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends ``H W 3`` uint8 with its mean grey; 1 changes nothing, 0 leaves the grey."""
    grey = round(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
    return _blend(image, np.full((3, 1), grey) * (0, 0, 0, 1), factor)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends ``H W 3`` uint8 with its own greys; 1 changes nothing, 0 leaves the greys."""
    return _blend(image, np.ones((3, 1)) * (*LUMA, 0), factor)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turns the hues of ``H W 3`` uint8 by ``shift`` of 256; red is 0, green 85, blue 170."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift) % 256)  # wraps, as the circle does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _blend(image: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """``factor`` of the image and the rest of ``other``, a 3 x 4 affine map of its colours."""
    # It rounds and clips; where Pillow cuts off, the image would get darker with each step.
    return cv2.transform(image, factor * np.eye(3, 4) + (1 - factor) * other)


def draw_iou_crop(rng: np.random.Generator, size: tuple[int, int], boxes: np.ndarray) -> Window:
    """Draws a window that some box overlaps as far as a random threshold asks (SSD).

    The thresholds and "no crop" come in random order, and each threshold has its tries. The first
    window is taken that has an IoU of at least the threshold with some box, and some box's centre.

    Args:
      rng: the only source of randomness.
      size: (height, width), original pixels.
      boxes: ``n 4`` x0 y0 x1 y1, original pixels.

    Returns:
      A window inside the image, of at least a pixel; the whole image where "no crop" comes before
      any window is taken, and where there is no box.
    """
    whole = (0, 0, *size)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    # "No crop" may come at any place among the thresholds; what follows it is never tried.
    thresholds = rng.permutation(IOU_THRESHOLDS)[: rng.integers(len(IOU_THRESHOLDS) + 1)]
    if not len(thresholds) or not len(boxes):
        return whole
    # All tries at once. They are independent, so that the first to fit is that of one by one.
    windows = _draw_windows(rng, size, len(thresholds) * CROP_TRIES)
    each = windows[..., None]  # against all boxes
    asked = np.repeat(thresholds, CROP_TRIES)
    fits = (_iou(boxes, each).max(1) >= asked) & _holds_center(boxes, each).any(1)
    if not fits.any():
        return whole
    top, left, bottom, right = windows[:, fits.argmax()].tolist()
    return top, left, bottom, right


def inside(boxes: np.ndarray, window: Window) -> np.ndarray:
    """Which boxes have their centre in the window: on its top and left edges, but not the others.

    Args:
      boxes: ``n 4`` x0 y0 x1 y1, original pixels.
      window: original pixels.

    Returns:
      ``n`` bool.
    """
    return _holds_center(np.asarray(boxes, np.float64).reshape(-1, 4), np.array(window))


def _draw_windows(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """``4 count`` int, tops, lefts, bottoms, rights."""
    scales = rng.uniform(*CROP_SCALES, count)
    # Within these no side can be longer than the image's.
    aspects = rng.uniform(
        np.maximum(CROP_ASPECTS[0], scales**2), np.minimum(CROP_ASPECTS[1], scales**-2)
    )
    heights = np.maximum(size[0] * scales / np.sqrt(aspects), 1).astype(np.int64)
    widths = np.maximum(size[1] * scales * np.sqrt(aspects), 1).astype(np.int64)
    tops = rng.integers(size[0] - heights, endpoint=True)
    lefts = rng.integers(size[1] - widths, endpoint=True)
    return np.stack([tops, lefts, tops + heights, lefts + widths])


def _iou(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Boxes ``n 4``, windows ``4 m 1`` -> ``m n``."""
    x0, y0, x1, y1 = boxes.T
    top, left, bottom, right = windows
    across = np.minimum(x1, right) - np.maximum(x0, left)
    down = np.minimum(y1, bottom) - np.maximum(y0, top)
    overlap = np.maximum(across, 0) * np.maximum(down, 0)
    return overlap / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - overlap)


def _holds_center(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Boxes ``n 4``, windows ``4 m 1`` or ``4`` -> ``m n`` or ``n``."""
    x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
    top, left, bottom, right = windows
    return (left <= x) & (x < right) & (top <= y) & (y < bottom)


def grid_mask(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float,
    fill: tuple[int, int, int],
) -> np.ndarray:
    """Maybe drops squares in rows and columns; what lies in a stripe between them stays.

    Args:
      image: ``H W 3`` uint8; its height bounds the period.
      rng: the only source of randomness.
      probability: of dropping any, see ``ramp``.
      fill: RGB of the squares; the published one is the mean colour, 0 after normalisation.

    Returns:
      ``H W 3`` uint8.
    """
    height, width, _ = image.shape
    if rng.random() >= probability or height <= 2:  # no period is below 2
        return image
    period = int(rng.integers(2, height))
    stripe = min(max(int(period * STRIPE_RATIO + 0.5), 1), period - 1)
    rows = _between_stripes(rng, height, period, stripe)
    columns = _between_stripes(rng, width, period, stripe)
    masked = image.copy()
    masked[np.ix_(rows, columns)] = fill
    return masked


def _between_stripes(rng: np.random.Generator, length: int, period: int, stripe: int) -> np.ndarray:
    """``length`` bool, true where no stripe of a random phase is."""
    # The published stripes fill one and a half lengths, of which the middle one is seen. The first
    # starts at the phase, and there are as many as whole periods: at the ends one may be missing.
    total = int(1.5 * length)
    places = np.arange(length) + (total - length) // 2 - rng.integers(period)
    drawn = (places >= 0) & (places < total // period * period)
    return ~(drawn & (places % period < stripe))


def ramp(step: int, probability: float, steps: int) -> float:
    """The probability at ``step``: from 0 in a straight line to ``probability`` at ``steps``."""
    return probability if step >= steps else probability * step / steps


def erase(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """Maybe fills a rectangle with random pixels; it never reaches from side to side.

    Args:
      image: ``H W 3`` uint8.
      rng: the only source of randomness.
      probability: of filling any; a strip of few pixels may have no room for it.

    Returns:
      ``H W 3`` uint8.
    """
    if rng.random() >= probability:
        return image
    height, width, _ = image.shape
    areas = height * width * rng.uniform(*ERASED_SHARES, ERASE_TRIES)
    # Uniform in the logarithm: as often upright as lying.
    aspects = ERASED_ASPECT ** rng.uniform(-1, 1, ERASE_TRIES)
    heights = np.rint(np.sqrt(areas * aspects)).astype(np.int64)
    widths = np.rint(np.sqrt(areas / aspects)).astype(np.int64)
    fits = (heights > 0) & (heights < height) & (widths > 0) & (widths < width)
    if not fits.any():
        return image
    tall, wide = int(heights[fits.argmax()]), int(widths[fits.argmax()])
    top, left = rng.integers((height - tall, width - wide), endpoint=True)
    erased = image.copy()
    erased[top : top + tall, left : left + wide] = rng.integers(0, 256, (tall, wide, 3), np.uint8)
    return erased
