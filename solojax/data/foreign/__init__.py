"""Sets in other forms -> a COCO folder: labelme, YOLO-seg, Cityscapes, LVIS, image + id PNGs.

COCO folders themselves are among them, to be divided. One module for each form reads and checks all
of a set; ``write`` writes what any of them returns, so that nothing is written of a set with a
fault. Coordinates are original pixels of the image as it is displayed, in the orientation that EXIF
asks for. Instances without a usable mask are skipped; these and whatever else people should hear of
are findings of their split, and what cannot be read in one way is an ``InputError``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from solojax.data.annotations.left_out import Faults
from solojax.data.foreign import (
    cityscapes,
    coco,
    cvat,
    label_studio,
    labelme,
    labels,
    lvis,
    pairs,
    supervisely,
    via,
    yolo,
)
from solojax.data.foreign.contents import Import

FORMS: dict[str, Callable[..., Import]] = {
    "labelme": labelme.read,
    "yolo": yolo.read,
    "cityscapes": cityscapes.read,
    "lvis": lvis.read,
    "pairs": pairs.read,
    "cvat": cvat.read,
    "label_studio": label_studio.read,
    "via": via.read,
    "supervisely": supervisely.read,
    "coco": coco.read,
    "labels": labels.read,
}
"""(the folder of a set, ``Faults``, its options) -> all of it, checked."""


def read(form: str, source: Path, faults: Faults, **options: Any) -> Import:
    """A whole set but for what ``faults`` asks to be left out.

    Raises:
      InputError: it is faulty, or more is than may be left out.
    """
    found = FORMS[form](source, faults, **options)
    first = next(iter(found.splits.values()))
    count = sum(len(content.pictures) for content in found.splits.values()) + faults.images
    faults.settle(found.source, count, 0, first.findings)
    return found._replace(left_out=faults.left_out)
