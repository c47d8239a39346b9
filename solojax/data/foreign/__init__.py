"""Sets in other forms -> a COCO folder: labelme, YOLO-seg, Cityscapes, LVIS, image + id PNGs.

One module for each form reads and checks all of a set; ``write`` writes what any of them returns,
so that nothing is written of a set with a fault. Coordinates are original pixels of the image as it
is displayed, in the orientation that EXIF asks for. Instances without a usable mask are skipped;
these and whatever else people should hear of are findings of their split, and what cannot be read
in one way is an ``InputError``.
"""

from collections.abc import Callable

from solojax.data.foreign import (
    cityscapes,
    cvat,
    label_studio,
    labelme,
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
}
"""(the folder of a set, its options) -> all of it, checked."""
