"""Cuts the images of a set into tiles: for objects that vanish where a whole image is one look."""

import functools
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from solojax.data import rle
from solojax.data.annotations.segmentations import to_rle
from solojax.data.foreign import label_maps
from solojax.data.foreign.contents import Import, Picture, Split, instance_of
from solojax.data.images import files as image_files
from solojax.data.windows import Window, clip, cut
from solojax.types import InputError

WHOLE = 0.5  # share of its pixels from which on an instance that is cut is one still


def tile(found: Import, side: int) -> Import:
    """Cuts all images into squares of ``side`` original pixels, as prediction does with --tiles.

    Neighbours overlap by a quarter, so that most objects are whole on one of them. What a border
    leaves of an instance is one where it is half of it or more, and else a crowd: nothing to learn,
    and no mistake to find. Images that are no larger than a tile stay as they are.

    Raises:
      InputError: the side is no number of pixels that a tile may have.
    """
    splits = {name: _tiled(content, side) for name, content in found.splits.items()}
    return found._replace(splits=splits)


def _tiled(split: Split, side: int) -> Split:
    pictures: list[Picture] = []
    cut_images = 0
    for picture in split.pictures:
        windows = cut(picture.size, side)
        if len(windows) == 1:
            pictures.append(picture)
            continue
        cut_images += 1
        load = functools.lru_cache(1)(functools.partial(_pixels, picture))  # all tiles in a row
        shown = [_shown(one, picture.size) for one in picture.instances]
        pictures += [_part(picture, window, load, shown) for window in windows]
    if cut_images:
        count = len(pictures) - len(split.pictures) + cut_images
        what = f"images were cut into {count} tiles of {side} pixels; predict with --tiles {side}"
        split.findings.add("told", what, count=cut_images)
    return split._replace(pictures=pictures)


def _part(
    picture: Picture, window: Window, load: Callable[[], np.ndarray], shown: list[rle.Masks]
) -> Picture:
    top, left, bottom, right = window
    name = PurePosixPath(picture.name)
    lossless = name.suffix.lower() not in (".jpg", ".jpeg")
    named = name.with_name(f"{name.stem}_{top}_{left}{'.png' if lossless else '.jpg'}")

    def encode() -> bytes:
        pixels = load()[top:bottom, left:right, ::-1]
        options = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, 95]
        return cv2.imencode(named.suffix, pixels, options)[1].tobytes()

    extra = {key: value for key, value in picture.extra.items() if key != "id"}
    instances = [
        part
        for one, masks in zip(picture.instances, shown, strict=True)
        if (part := _cut_out(one, masks, window))
    ]
    label_map = functools.partial(label_maps.cut, picture, window) if picture.label_map else None
    size = bottom - top, right - left
    return Picture(str(named), picture.source, encode, size, instances, extra, label_map)


def _shown(instance: dict[str, Any], size: tuple[int, int]) -> rle.Masks:
    """The pixels of an instance, decoded once for all windows."""
    masks = rle.decode_patches([to_rle(instance["segmentation"], *size)["counts"]], size[0])
    return masks._replace(patches=[np.array(one, order="K") for one in masks.patches])


def _cut_out(instance: dict[str, Any], masks: rle.Masks, window: Window) -> dict[str, Any] | None:
    """What a window shows of an instance; None where that is nothing."""
    top, left, bottom, right = window
    (patch,), (place,) = masks.patches, masks.corners.tolist()
    seen, corner = clip(patch, place, window)
    area = int(seen.sum())
    if not area:
        return None
    height, width = bottom - top, right - left
    counts = rle.encode_patch(np.ascontiguousarray(seen), corner, (height, width))
    part = {"size": [height, width], "counts": counts}
    crowd = bool(instance.get("iscrowd")) or area < WHOLE * patch.sum()
    written = {**part, "counts": counts.decode()}
    return instance_of(written, part, instance["category_id"], int(crowd))


def _pixels(picture: Picture) -> np.ndarray:
    """``H W 3`` RGB in the frame of the instances."""
    encoded = picture.load()
    for as_stored in (False, True):
        pixels = image_files.decode(encoded, as_stored=as_stored).pixels
        if pixels.shape[:2] == tuple(picture.size):
            return pixels
    raise InputError(
        f"{picture.source} has {pixels.shape[1]}x{pixels.shape[0]} pixels, not "
        f"{picture.size[1]}x{picture.size[0]} as its annotations say; give the image that was "
        "annotated"
    )
