"""Instances as COCO's annotations say them, their masks checked many at a time."""

import math
from typing import Any, NamedTuple

from etils.epath import Path
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.data.annotations.mask_forms import NO_SEGMENTATION, NoMaskError
from solojax.data.annotations.segmentations import is_numbers, to_rle, unchecked_rle
from solojax.data.findings import Findings


class Instance(NamedTuple):
    """One annotation, in original pixels."""

    id: int
    label: int  # place of its category among those sorted by id
    rle: bytes  # compressed COCO run lengths
    box: tuple[float, float, float, float]  # x0 y0 x1 y1
    area: float  # as the JSON says: COCO's small/medium/large are judged by it
    center: tuple[float, float]  # (x, y) of mass, pixel indices
    is_crowd: bool


class Image(NamedTuple):
    """One image and what is in it."""

    id: int
    path: Path
    height: int
    width: int
    instances: list[Instance]
    name: str  # as the JSON has it; empty where it has none
    as_stored: bool = False  # whether masks lie on stored pixels, where its sides do not tell
    label_map: Any = None  # ``panoptic.LabelMap`` where it has one


class Entry(NamedTuple):
    """An entry of the file and its image."""

    annotation: dict
    image: Image
    id: int | str  # as ``ids.read`` reads it, or its place in the list
    category: int | str  # as ``ids.read`` reads its id

    def place(self) -> str:
        """For people."""
        return f"annotation {self.id} of image {self.image.id}"


def add_instances(
    found: list[Entry], findings: Findings, boxes_as_masks: bool = False
) -> list[Instance | str]:
    """Gives instances to their images, in order; returns them, or why there is no usable mask.

    Their labels are ids of categories as yet. ``boxes_as_masks`` takes the box where there is none.
    """
    read: list[Instance | str] = []
    for one, sound in zip(found, _read_sound(found), strict=True):
        try:
            read.append(_read_instance(one, sound, findings, boxes_as_masks))
        except NoMaskError as error:
            read.append(str(error))
    pairs = [(n, one) for n, one in enumerate(read) if isinstance(one, Instance)]
    heights = [found[number].image.height for number, _ in pairs]
    centers = rle.centers_of([one.rle for _, one in pairs], heights)
    for (number, instance), (x, y) in zip(pairs, centers.tolist(), strict=True):
        read[number] = whole = instance._replace(center=(x, y))
        found[number].image.instances.append(whole)
    return read


def _read_sound(found: list[Entry]) -> list[dict[str, Any] | None]:
    """The compressed run lengths among the masks, all checked at once; None for all others."""
    sound: list[dict[str, Any] | None] = [
        unchecked_rle(one.annotation.get("segmentation"), one.image.height, one.image.width)
        for one in found
    ]
    places = [number for number, one in enumerate(sound) if one]
    masks = [one for one in sound if one]
    fit = rle.add_up([one["counts"] for one in masks], [math.prod(one["size"]) for one in masks])
    for number, mask, fits in zip(places, masks, fit.tolist(), strict=True):
        # The same lengths can be written in several ways; merged, they are in pycocotools' own.
        sound[number] = coco_mask.merge([mask]) if fits else None
    return sound


def _read_instance(
    found: Entry, sound: dict[str, Any] | None, findings: Findings, boxes_as_masks: bool
) -> Instance:
    """An instance without its centre; ``sound`` are its run lengths if they are known already."""
    annotation, image = found.annotation, found.image

    def tell(form: str) -> None:
        findings.add("repaired", f"instances read: {form}", found.place())

    stated: Any = annotation.get("bbox")
    segmentation = annotation.get("segmentation")
    is_box = is_numbers(stated) and len(stated) == 4 and min(stated[2:]) > 0
    if is_box and (
        not segmentation
        or segmentation in (stated, [stated])
        or (isinstance(segmentation, list) and not any(segmentation))
    ):
        if not boxes_as_masks:
            raise NoMaskError(NO_SEGMENTATION)
        x, y, width, height = stated
        segmentation = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        tell("boxes taken for masks")
    encoded = sound or to_rle(segmentation, image.height, image.width, tell)
    area = float(coco_mask.area(encoded))
    if area == 0:
        raise NoMaskError("mask without a pixel")
    if not is_box:
        # Some exporters leave them out or write zeros.
        if stated and not (is_numbers(stated) and not any(stated)):
            shown = f"{found.place()}: {stated!r:.60}"
            findings.add("repaired", "boxes that are none, taken from their masks", shown)
        stated = coco_mask.toBbox(encoded).tolist()
    x, y, width, height = map(float, stated)
    size: Any = annotation.get("area")
    if not is_numbers([size]) or size < 0:
        if size is not None:
            shown = f"{found.place()}: {size!r:.60}"
            findings.add("repaired", "areas that are none, taken from their masks", shown)
        size = area
    return Instance(
        id=found.id,  # type: ignore[arg-type]  # a text until all are numbered
        label=found.category,  # type: ignore[arg-type]
        rle=encoded["counts"],
        box=(x, y, x + width, y + height),
        area=float(size),
        center=(math.nan, math.nan),
        is_crowd=is_crowd(annotation.get("iscrowd")),
    )


def is_crowd(value: Any) -> bool:
    """What ``iscrowd`` says; some exporters write text, fractions or truth values.

    Raises:
      NoMaskError: it says neither.
    """
    for crowd, known in enumerate(((None, 0, "", "0", "false"), (1, "1", "true"))):
        if (value.lower() if isinstance(value, str) else value) in known:
            return bool(crowd)
    raise NoMaskError(f"iscrowd is {value!r:.20}, neither 0 nor 1")
