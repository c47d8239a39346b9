"""The true segments of an image whose label map and instances are known."""

from collections.abc import Sequence

import numpy as np

from solojax.data import rle
from solojax.data.annotations import Instance
from solojax.data.panoptic_ids import VOID, Segment
from solojax.types import IGNORED

FIRST = IGNORED + 1  # id of the first instance; that of stuff is its label + 1


def read(
    labels: np.ndarray, instances: Sequence[Instance], things: int
) -> tuple[np.ndarray, list[Segment]]:
    """What ``panoptic.Counts.add`` takes of a truth.

    The label map decides where instances overlap, and among those of one label the smaller one. A
    pixel with the label of a thing that is in no instance is void.

    Args:
      labels: ``H W`` uint8.
      instances: of the image.
      things: how many of the labels are things.
    """
    ids = np.where((labels >= things) & (labels != IGNORED), labels.astype(np.int32) + 1, VOID)
    known = {label + 1: Segment(label + 1, label) for label in range(things, IGNORED)}
    cut = rle.decode_patches([one.rle for one in instances], len(labels))
    for place in sorted(range(len(instances)), key=lambda place: -instances[place].area):
        patch, (top, left) = cut.patches[place], cut.corners[place].tolist()
        label, id_ = instances[place].label, FIRST + place
        window = np.s_[top : top + patch.shape[0], left : left + patch.shape[1]]
        ids[window][(patch > 0) & (labels[window] == label)] = id_
        known[id_] = Segment(id_, label, instances[place].is_crowd)
    return ids, [known[id_] for id_ in np.unique(ids).tolist() if id_ != VOID]
