"""Label maps of a set as a whole: those that cannot be read, say nothing, or do not fit masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from solojax.config import Category
from solojax.data import rle
from solojax.data.annotations import label_pngs, panoptic
from solojax.data.annotations.suspicions import MOST_WRONG
from solojax.data.findings import Findings
from solojax.data.health.file_survey import run
from solojax.types import IGNORED, InputError

FITS = 0.5  # of an instance's pixels have its label


class _Seen(NamedTuple):
    fault: str = ""
    unseen: bool = False  # whether a segment has no pixel
    is_void: bool = False
    strange: Sequence[int] = ()  # ids of instances that are something else in the map


def look(
    images: Sequence[Any],
    labels: Sequence[Category],
    findings: Findings,
    *,
    threads: int,
    decode: bool,
) -> None:
    """Adds what is wrong with the label maps of ``annotations.Image``.

    Args:
      images: of the set.
      labels: its things, then its stuff.
      findings: what was found.
      threads: that look.
      decode: whether pixels are looked at, beside headers and segments.
    """

    def look_at(image: Any) -> _Seen:
        size = image.height, image.width
        try:
            if not decode:
                label_pngs.open_ids(image.label_map.path, size)
                return _Seen(is_void=bool((image.label_map.labels == IGNORED).all()))
            drawn, unseen = panoptic.read_labels(image)
        except InputError as fault:
            return _Seen(str(fault))
        masks = rle.decode_patches([one.rle for one in image.instances], image.height)
        strange = []
        for one, patch, (top, left) in zip(
            image.instances, masks.patches, masks.corners.tolist(), strict=True
        ):
            view = drawn[top : top + patch.shape[0], left : left + patch.shape[1]]
            if not one.is_crowd and (view[patch > 0] == one.label).mean() < FITS:
                strange.append(one.id)
        return _Seen("", bool(unseen), bool((drawn == IGNORED).all()), strange)

    mapped = [image for image in images if image.label_map is not None]
    seen = run(look_at, mapped, "looking at label maps", threads)
    strange = []
    for image, one in zip(mapped, seen, strict=True):
        name = str(image.label_map.path)
        if one.fault:
            findings.add("lost", panoptic.UNREADABLE, one.fault)
        elif one.is_void:
            findings.add("told", "label maps without a label, from which nothing is learned", name)
        if one.unseen:
            findings.add("told", panoptic.UNSEEN, name)
        strange += [f"annotation {number} of image {image.id}" for number in one.strange]
    instances = sum(not one.is_crowd for image in mapped for one in image.instances)
    if strange and len(strange) >= MOST_WRONG * instances:
        what = f"of {instances} instances are something else in most of their pixels' label map"
        cure = "see them with data show; make both of the same annotations"
        findings.add_all("doubtful", what, strange, cure=cure)
    used = {label for image in mapped for label in image.label_map.labels.tolist()}
    never = [one.name for label, one in enumerate(labels) if label not in used]
    findings.add_all("told", f"of {len(labels)} labels are in no label map", never)
