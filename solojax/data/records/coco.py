"""A COCO folder -> records: ArrayRecord files that TFDS opens, written once, read at random.

A record holds the bytes of the image file, untouched, and its instances as run lengths. TFDS's own
``coco`` has no instance masks, which is why this one exists. Nothing here needs TensorFlow.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils.epath import Path

from solojax import config as config_lib
from solojax.data import annotations
from solojax.data.annotations import json_lists, left_out, panoptic
from solojax.data.annotations.categories import compare
from solojax.data.findings import Findings, shorten
from solojax.data.images import files as image_files
from solojax.data.images import values as image_values
from solojax.data.images.values import Range
from solojax.data.records import files as record_files
from solojax.data.records import layout, stamps
from solojax.data.records.files import FORMAT
from solojax.data.records.layout import Split, has_split, locate
from solojax.types import IGNORED, InputError

__all__ = [
    "Record",
    "Records",
    "Split",
    "has_split",
    "image_of",
    "labels_of",
    "locate",
    "prepare",
    "read",
]


class Record(NamedTuple):
    """One image and what is in it, as stored."""

    encoded: bytes  # the image file
    path: str  # where it was read from
    as_stored: bool  # whether the instances lie on the pixels as stored, EXIF orientation aside
    instances: list[annotations.Instance]
    value_range: Range | None = None  # which values become black and white, beyond 8 bits
    label_map: bytes | None = None  # PNG of a byte for each pixel, where somebody labelled them


class Records(NamedTuple):
    """A prepared split; ``read(records, i)`` reads the ``i``-th image of its JSON."""

    source: Any
    categories: tuple[config_lib.Category, ...]
    image_ids: list[int]
    sizes: np.ndarray  # len 2 int32, (height, width), original pixels
    value_range: Range | None = None  # of its images, as of ``data``
    labels: Sequence[int] = ()  # place in ``categories`` of each class that the JSON has
    stuff: tuple[config_lib.Category, ...] = ()  # of label maps
    stuff_labels: Sequence[int] | None = None  # as ``labels``, of stuff; None without label maps
    fingerprint: str = ""  # equal where the JSON and the images are, wherever they lie


def prepare(data: config_lib.Data, split: Split) -> Records:
    """Opens the records of a split, and writes them first where they are not there yet.

    Their folder bears a fingerprint of the JSON, so those of a file that changed are never reused.
    Files of 512 images each are written side by side, one on each core, and are complete or absent:
    preparing again writes those that an interruption left out, that are gone or were cut.
    ``data.root`` and ``data.records`` are folders or buckets.

    Raises:
      InputError: the folder is not a sound COCO data set (``annotations.read``), images cannot be
        decoded or have another size than the JSON says, or the classes are not ``data.categories``.
    """
    json_path, image_root = locate(data, split)
    digests = _digests(json_path)
    folder = Path(data.records) / _name(data, split, digests)
    was_there = record_files.is_complete(folder)
    if not was_there:
        try:
            record_files.write(folder, split, json_path, image_root, data, threads=workers())
        except (OSError, RuntimeError) as error:  # ArrayRecord raises the latter
            if not any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
                raise
            raise InputError(
                f"{folder}: the disk is full; free some, or set data.records"
            ) from None
    try:
        builder = tfds.builder_from_directory(os.fspath(folder))
        about = builder.info.metadata
        categories = tuple(config_lib.Category(i, name) for i, name in about["categories"])
        told = list(about.get("doubts", ())) if was_there else []  # else it was told just now
        shares = about.get("shares", ()) if was_there else ()  # else they were checked
        stuff = about.get("stuff")
        if stuff is not None:
            stuff = tuple(config_lib.Category(i, name) for i, name in stuff)
        images = [(image_id, (height, width)) for image_id, height, width in about["images"]]
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # whatever TFDS makes of files that are damaged
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"the records in {folder} are damaged ({type(error).__name__}: {said}); delete that "
            "folder, and they are written anew"
        ) from error
    left_out.check(shares, json_path, data, "; ".join(told))
    for line in told:
        print(f"{json_path}: {line}")
    if was_there and (folder / record_files.LEFT_OUT).exists():
        print(f"{json_path}: what is left out is listed in {folder / record_files.LEFT_OUT}")
    seen = [FORMAT, *digests, data.faults, data.boxes_as_masks, images, stamps.sizes(folder)]
    seen += ["stretched"] * data.stretched
    wanted = data.categories or categories
    if data.stuff and not data.categories:
        wanted = ()
    return Records(
        source=source,
        categories=wanted,
        image_ids=[image_id for image_id, _ in images],
        sizes=np.array([size for _, size in images], np.int32),
        value_range=image_values.range_of(data.value_range),
        labels=_labels(categories, wanted, split, json_path),
        stuff=data.stuff or stuff or (),
        stuff_labels=None
        if stuff is None
        else _labels(stuff, data.stuff or stuff, split, json_path),
        fingerprint=hashlib.sha256(json.dumps(seen).encode()).hexdigest(),
    )


def is_prepared(data: config_lib.Data, split: Split) -> bool:
    """Whether ``prepare`` would write nothing; False where there is no such split."""
    if not has_split(data, split):
        return False
    json_path, _ = locate(data, split)
    return record_files.is_complete(Path(data.records) / _name(data, split, _digests(json_path)))


def prepare_all(data: config_lib.Data) -> Iterator[tuple[Split, Records]]:
    """Each split that there is, prepared; tells of classes that differ between them."""
    splits: tuple[Split, ...] = ("train", "val")
    classes = []
    # A folder of one split only is legal; that none is there is told of the first.
    for split in [split for split in splits if has_split(data, split)] or splits[:1]:
        records = prepare(data, split)
        classes.append(records.categories)
        yield split, records
    if len(classes) == 2:
        findings = Findings()
        compare(classes[0], classes[1], findings)
        for finding in findings:
            print(f"{data.root}: {finding}")


def read(records: Records, index: int) -> Record:
    """Reads one record; from any thread, in any order."""
    try:
        stored = records.source[index]
    except (RuntimeError, ValueError) as error:  # of ArrayRecord, with lines about its inside
        raise InputError(
            f"record {index} cannot be read, its file is damaged; delete the folder data.records"
        ) from error
    columns = stored["instances"]
    instances = [
        annotations.Instance(
            id=int(columns["id"][i]),
            label=records.labels[int(columns["label"][i])],
            rle=bytes(columns["rle"][i]),
            box=_floats(columns["box"][i]),
            area=float(columns["area"][i]),
            center=_floats(columns["center"][i]),
            is_crowd=bool(columns["is_crowd"][i]),
        )
        for i in range(len(columns["id"]))
    ]
    about = stored["path"].decode(), bool(stored["as_stored"])
    label_map = stored.get("label_map") or None
    return Record(stored["image"], *about, instances, records.value_range, label_map)


def image_of(record: Record) -> np.ndarray:
    """The image of a record, ``H W 3`` uint8 RGB."""
    image = image_files.decode_image(record.encoded, record.as_stored, record.value_range)
    if image is None:
        raise InputError(f"the record of {record.path} is damaged; delete the folder data.records")
    return image


def labels_of(records: Records, record: Record) -> np.ndarray | None:
    """The label map of a record, ``H W`` uint8; None where nobody labelled it.

    Labels are places in ``records.categories`` and then, behind those, in ``records.stuff``.
    """
    if record.label_map is None:
        return None
    labels = cv2.imdecode(np.frombuffer(record.label_map, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise InputError(f"the record of {record.path} is damaged; delete the folder data.records")
    own = [*records.labels, *(len(records.categories) + one for one in records.stuff_labels or ())]
    if own != [*range(len(own))]:
        labels = cv2.LUT(labels, np.array(own + [IGNORED] * (256 - len(own)), np.uint8))
    return labels


def workers() -> int:
    """How many threads find a core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _labels(
    categories: tuple[config_lib.Category, ...],
    wanted: tuple[config_lib.Category, ...],
    split: Split,
    json_path: Path,
) -> list[int]:
    """The labels that the config has for the classes of a JSON.

    Many exporters list for validation what occurs there, and number that from 1 on: what its own
    list calls a class is what is meant.

    Raises:
      InputError: they are others.
    """
    if categories == wanted:
        return [*range(len(wanted))]
    places = {one.name: label for label, one in enumerate(wanted)}
    named = [places.get(one.name) for one in categories]
    if split == "val" and set(categories) <= set(wanted):
        return [wanted.index(one) for one in categories]
    if (
        split == "val"
        and None not in named
        and len({*named}) == len(named)
        and len(places) == len(wanted)
    ):
        moved = [
            f"{one.name!r} is category {one.id}, not {wanted[label].id}"
            for one, label in zip(categories, named, strict=True)
            if label is not None and wanted[label] != one
        ]
        print(
            f"{json_path}: {len(moved)} classes have other ids than the model's, and are taken by "
            f"their names ({shorten(moved, len(moved), ', ')})"
        )
        return [label for label in named if label is not None]
    other = set(categories) ^ set(wanted) if split == "train" else set(categories) - set(wanted)
    names = {one.id: one.name for one in wanted}
    differ = [
        f"{one.name!r} is category {one.id}, which is {names.get(one.id, 'none')!r} there"
        for one in sorted(other & set(categories), key=lambda one: one.id)
    ]
    raise InputError(
        f"{json_path} has {_list(categories)} where the model was made for {_list(wanted)}"
        + (f" ({'; '.join(differ[:3])})" if differ else "")
        + ("; ids and names must be equal" if split == "train" else "; each must be one of those")
    )


def _digests(json_path: Path) -> list[str]:
    """Of a JSON, and of the panoptic one whose label maps are read with it."""
    digests = []
    for path in (json_path, panoptic.read_with(json_path)):
        if path is not None:
            digest = hashlib.sha256()
            with json_lists.open_bytes(path) as file:
                while chunk := file.read(json_lists.CHUNK):
                    digest.update(chunk)
            digests.append(digest.hexdigest())
    return digests


def _name(data: config_lib.Data, split: Split, digests: list[str]) -> str:
    """Of the folder of a split's records: for people, and a fingerprint of what is in them."""
    root = _absolute(Path(data.root))
    _, images = layout.given(data, split)
    known = [FORMAT, os.fspath(root), images, *digests, data.faults, data.boxes_as_masks]
    known += ["follow_links"] * data.follow_links + ["stretched"] * data.stretched
    return f"{root.name}-{split}-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]}"


def _absolute(path: Path) -> Path:
    return path if "://" in os.fspath(path) else path.resolve()


def _floats(values: Sequence[float]) -> Any:
    return tuple(map(float, values))


def _list(categories: tuple[config_lib.Category, ...]) -> str:
    names = [category.name for category in categories]
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
