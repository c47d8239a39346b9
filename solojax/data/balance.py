"""How often images come in an epoch, so that classes in few of them come often enough."""

import numpy as np

from solojax import progress
from solojax.data.records import coco


def repeats_of(records: coco.Records, threshold: float) -> np.ndarray | None:
    """Repeat factors (Gupta et al., *LVIS*, 2019, section 5.3): ``n`` float of at least 1.

    A class that is in a share ``f`` of the images, below ``threshold``, asks for them
    ``sqrt(threshold / f)`` times; an image comes as often as any class in it asks for. Reads all
    records.

    Returns:
      None where the threshold is 0: each image once.
    """
    if not threshold:
        return None
    bar = progress.bar(range(len(records.image_ids)), "counting classes", unit="image")
    labels = [
        np.unique([one.label for one in coco.read(records, index).instances if not one.is_crowd])
        for index in bar
    ]
    images = np.repeat(np.arange(len(labels)), [len(some) for some in labels])
    classes = np.concatenate(labels).astype(np.int64) if labels else np.zeros(0, np.int64)
    shares = np.bincount(classes, minlength=1) / len(labels)
    repeats = np.ones(len(labels))
    np.maximum.at(repeats, images, np.sqrt(threshold / shares[classes]))
    return repeats
