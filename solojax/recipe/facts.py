"""What the rules of a recipe know of a data set: the sizes of its images and of what is in them."""

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from solojax import progress
from solojax.config import Category
from solojax.data.records import coco

LONGEST = 2.0  # long side over short side of a canvas; longer images are shrunk to fit
THIN = 4  # times its mean width, than which no object is longer: a mask pixel for 4 of 16


class Facts(NamedTuple):
    """Numbers about the training images, in original pixels. Crowds are no instances."""

    sizes: np.ndarray  # n 2 int (height, width) of the images
    val_images: int
    categories: tuple[Category, ...]
    class_instances: np.ndarray  # c int
    class_images: np.ndarray  # c int, that have one of the class
    per_image: np.ndarray  # n int, instances
    images: np.ndarray  # m int, the image of each instance
    boxes: np.ndarray  # m 2 float, (width, height)
    areas: np.ndarray  # m int, of the masks
    val_most: int = 0  # instances in a validation image
    copies: int = 0  # validation images that are training images as well, byte for byte

    @property
    def shorter(self) -> np.ndarray:
        """``n`` float: what of each image the short side of a canvas shows, empty or not."""
        return np.maximum(self.sizes.min(1), self.sizes.max(1) / LONGEST)

    @property
    def lengths(self) -> np.ndarray:
        """``m`` float: sqrt(box area), or ``THIN`` times the mean width where that is less.

        A mask that is thinner than a mask pixel falls apart, however long it is.
        """
        return np.minimum(np.sqrt(self.boxes.prod(1)), THIN * self.areas / self.longest)

    @property
    def longest(self) -> np.ndarray:
        """``m`` float: the longer side of each box."""
        return self.boxes.max(1)

    @property
    def shares(self) -> np.ndarray:
        """``m`` float: the length of each instance over ``shorter`` of its image."""
        return self.lengths / self.shorter[self.images]

    def share(self, quantile: float) -> float:
        """Which of ``shares`` so many of the instances are below; 1 where there are none."""
        return float(np.quantile(self.shares, quantile)) if len(self.shares) else 1.0

    @property
    def aspects(self) -> np.ndarray:
        """``n`` float: width / height."""
        return self.sizes[:, 1] / self.sizes[:, 0]


def collect(records: coco.Records, val: coco.Records) -> Facts:
    """Reads all records of both splits once, with a progress bar."""
    labels, images, boxes, areas, pictures = [], [], [], [], set()
    per_image = np.zeros(len(records.image_ids), np.int64)
    bar = progress.bar(range(len(per_image)), "looking at the data", unit="image")
    for index in bar:
        record = coco.read(records, index)
        pictures.add(hash(record.encoded))
        here = [one for one in record.instances if not one.is_crowd]
        corners = np.array([one.box for one in here], float).reshape(-1, 4)
        extents = corners[:, 2:] - corners[:, :2]
        here = [one for one, extent in zip(here, extents, strict=True) if (extent > 0).all()]
        per_image[index] = len(here)
        images += [index] * len(here)
        labels += [one.label for one in here]
        boxes.append(extents[(extents > 0).all(1)])
        size = records.sizes[index].tolist()
        areas += [int(coco_mask.area({"size": size, "counts": one.rle})) for one in here]
    val_most = copies = 0
    for index in progress.bar(range(len(val.image_ids)), "looking at validation", unit="image"):
        record = coco.read(val, index)
        copies += hash(record.encoded) in pictures
        val_most = max(val_most, sum(not one.is_crowd for one in record.instances))
    classes = len(records.categories)
    pairs = np.unique(np.array([images, labels], np.int64), axis=1)
    return Facts(
        sizes=np.asarray(records.sizes, np.int64),
        val_images=len(val.image_ids),
        categories=records.categories,
        class_instances=np.bincount(np.array(labels, np.int64), minlength=classes),
        class_images=np.bincount(pairs[1], minlength=classes),
        per_image=per_image,
        images=np.array(images, np.int64),
        boxes=np.concatenate(boxes),
        areas=np.array(areas, np.int64),
        val_most=val_most,
        copies=copies,
    )
