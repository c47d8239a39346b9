"""Instances as COCO's annotations say them, their masks checked many at a time."""

import math
from typing import Any, NamedTuple

from etils.epath import Path
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.data.findings import Findings
from solojax.data.segmentations import NoMaskError, is_numbers, to_rle, unchecked_rle


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


class Entry(NamedTuple):
    """An entry of the file and its image."""

    annotation: dict
    image: Image

    def place(self) -> str:
        """For people."""
        return f"annotation {self.annotation['id']} of image {self.image.id}"


def add_instances(found: list[Entry], findings: Findings) -> list[Instance | str]:
    """Gives instances to their images, in order; returns them, or why there is no usable mask."""
    read: list[Instance | str] = []
    for one, sound in zip(found, _read_sound(found), strict=True):
        try:
            read.append(_read_instance(one, sound, findings))
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


def _read_instance(found: Entry, sound: dict[str, Any] | None, findings: Findings) -> Instance:
    """An instance without its centre; ``sound`` are its run lengths if they are known already."""
    annotation, image = found

    def tell(form: str) -> None:
        findings.add("repaired", f"instances read: {form}", found.place())

    encoded = sound or to_rle(annotation.get("segmentation"), image.height, image.width, tell)
    area = float(coco_mask.area(encoded))
    if area == 0:
        raise NoMaskError("mask without a pixel")
    box: Any = annotation.get("bbox")
    if not is_numbers(box) or len(box) != 4 or min(box[2:]) <= 0:  # some exporters write zeros
        box = coco_mask.toBbox(encoded).tolist()
    x, y, width, height = map(float, box)
    stated: Any = annotation.get("area")
    return Instance(
        id=annotation["id"],
        label=annotation["category_id"],
        rle=encoded["counts"],
        box=(x, y, x + width, y + height),
        area=float(stated) if is_numbers([stated]) else area,
        center=(math.nan, math.nan),
        is_crowd=annotation.get("iscrowd") in (1, "1"),  # some exporters write text
    )
