"""What the rules of a recipe know of a data set: the sizes of its images and of what is in them."""

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from solojax.config import Category
from solojax.data.annotations.json_lists import BAR_DELAY
from solojax.data.records import coco


class Facts(NamedTuple):
    """Numbers about the training images, in original pixels. Crowds are no instances."""

    sizes: np.ndarray  # n 2 int (height, width) of the images
    val_images: int
    categories: tuple[Category, ...]
    class_instances: np.ndarray  # c int
    class_images: np.ndarray  # c int, that have one of the class
    per_image: np.ndarray  # n int, instances
    images: np.ndarray  # m int, the image of each instance
    sides: np.ndarray  # m float, sqrt(box area)

    @property
    def shorter(self) -> np.ndarray:
        """``n`` short sides."""
        return self.sizes.min(1)

    @property
    def shares(self) -> np.ndarray:
        """``m`` float: the side of each instance over the short side of its image."""
        return self.sides / self.shorter[self.images]

    @property
    def aspects(self) -> np.ndarray:
        """``n`` float: width / height."""
        return self.sizes[:, 1] / self.sizes[:, 0]


def collect(records: coco.Records, val_images: int) -> Facts:
    """Reads all records once, with a progress bar."""
    labels, images, sides = [], [], []
    per_image = np.zeros(len(records.image_ids), np.int64)
    bar = tqdm(range(len(per_image)), "looking at the data", unit="image", delay=BAR_DELAY)
    for index in bar:
        here = [one for one in coco.read(records, index).instances if not one.is_crowd]
        boxes = np.array([one.box for one in here], float).reshape(-1, 4)
        extents = boxes[:, 2:] - boxes[:, :2]
        here = [one for one, extent in zip(here, extents, strict=True) if (extent > 0).all()]
        boxes = boxes[(extents > 0).all(1)]
        per_image[index] = len(here)
        images += [index] * len(here)
        labels += [one.label for one in here]
        sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1)))
    classes = len(records.categories)
    pairs = np.unique(np.array([images, labels], np.int64), axis=1)
    return Facts(
        sizes=np.asarray(records.sizes, np.int64),
        val_images=val_images,
        categories=records.categories,
        class_instances=np.bincount(np.array(labels, np.int64), minlength=classes),
        class_images=np.bincount(pairs[1], minlength=classes),
        per_image=per_image,
        images=np.array(images, np.int64),
        sides=np.concatenate(sides),
    )
