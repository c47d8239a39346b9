"""What a record holds of an image, and why an image has none."""

import functools
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from solojax.data import annotations
from solojax.data.annotations import image_entries, panoptic
from solojax.data.images import files as image_files
from solojax.data.images.values import Note, Range
from solojax.types import InputError


class ImageFault(Exception):
    """What is wrong with an image, the value that is, the cure."""


def read(
    image: annotations.Image, value_range: Range | None, label_maps: bool = False
) -> tuple[dict[str, Any], list[Note]]:
    """One image as it is stored, once its file is known to be sound, and what is to be told.

    Raises:
      ImageFault: its file is none, or of another size than the JSON says, or its label map is.
    """
    try:
        encoded = image_files.read_file(image.path)
    except InputError as fault:
        raise ImageFault(image_entries.UNREADABLE, str(fault), "") from None
    as_stored = image.as_stored
    try:
        pixels, notes = image_files.decode(encoded, as_stored=as_stored, value_range=value_range)
    except InputError as fault:
        raise ImageFault(image_entries.UNREADABLE, f"{image.path} {fault}", "") from None
    if pixels.shape[:2] != (image.height, image.width):
        # Some tools annotate the pixels as stored and never look at the EXIF orientation.
        as_stored = not as_stored
        other, _ = image_files.decode(encoded, as_stored=as_stored, value_range=value_range)
        if other.shape[:2] != (image.height, image.width):
            raise ImageFault(*_of_another_size(image, *pixels.shape[:2]))
    instances = [instance._asdict() for instance in image.instances]
    example = {
        "image": encoded,
        "path": str(image.path),
        "as_stored": as_stored,
        "instances": instances,
    }
    if label_maps:
        example["label_map"], more = _read_label_map(image)
        notes = [*notes, *more]
    return example, notes


def _read_label_map(image: annotations.Image) -> tuple[bytes, list[Note]]:
    """A PNG of the labels, empty where nobody labelled them, and what is to be told."""
    if image.label_map is None:
        return b"", []
    try:
        labels, unseen = panoptic.read_labels(image)
    except InputError as fault:
        raise ImageFault(panoptic.UNREADABLE, str(fault), "") from None
    notes = [Note("told", panoptic.UNSEEN, "")] if unseen else []
    return cv2.imencode(".png", labels)[1].tobytes(), notes


def _of_another_size(image: annotations.Image, height: int, width: int) -> tuple[str, str, str]:
    """What it is, the sizes, the cure."""
    value = f"{image.path} is {width}x{height} where the JSON says {image.width}x{image.height}"
    repair = "data.faults=repair"
    if (height, width) == (image.width, image.height):
        return "images whose sides are exchanged (width x height)", value, f"{repair} takes theirs"
    if image_entries.is_scaled((image.height, image.width), (height, width)):
        what = "images made larger or smaller after they were annotated (width x height)"
        return what, value, f"bring those that were annotated, or {repair} scales the masks"
    what = "images of another shape than the JSON says (width x height)"
    return what, value, "bring those that were annotated"


@functools.cache
def features(label_maps: bool = False) -> tfds.features.FeaturesDict:
    """How TFDS reads a record, of a set with label maps or without."""
    maps = {"label_map": tfds.features.Tensor(shape=(), dtype=np.bytes_)} if label_maps else {}
    return tfds.features.FeaturesDict(
        {
            **maps,
            "image": tfds.features.Image(),  # any format, bytes as they are
            "path": tfds.features.Text(),
            "as_stored": np.bool_,
            "instances": tfds.features.Sequence(
                {
                    "id": np.int64,
                    "label": np.int64,
                    "rle": tfds.features.Tensor(shape=(), dtype=np.bytes_),
                    "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "area": np.float64,
                    "center": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                    "is_crowd": np.bool_,
                }
            ),
        }
    )
