"""A COCO folder -> records: ArrayRecord files that TFDS opens, written once, read at random.

A record holds the bytes of the image file, untouched, and its instances as run lengths. TFDS's own
``coco`` has no instance masks, which is why this one exists. Nothing here needs TensorFlow.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from etils.epath import Path

from solojax import config as config_lib
from solojax.data import annotations, image_files, image_values, json_lists, record_files
from solojax.data.image_values import Range
from solojax.types import InputError

Split = Literal["train", "val"]


class Record(NamedTuple):
    """One image and what is in it, as stored."""

    encoded: bytes  # the image file
    path: str  # where it was read from
    as_stored: bool  # whether the instances lie on the pixels as stored, EXIF orientation aside
    instances: list[annotations.Instance]
    value_range: Range | None = None  # which values become black and white, beyond 8 bits


class Records(NamedTuple):
    """A prepared split; ``read(records, i)`` reads the ``i``-th image of its JSON."""

    source: Any
    categories: tuple[config_lib.Category, ...]
    image_ids: list[int]
    sizes: np.ndarray  # len 2 int32, (height, width), original pixels
    value_range: Range | None = None  # of its images, as of ``data``


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
    value_range = image_values.range_of(data.value_range)
    folder = Path(data.records) / _name(data, split, json_path)
    was_there = record_files.is_complete(folder)
    if not was_there:
        record_files.write(
            *(folder, split, json_path, image_root), threads=workers(), value_range=value_range
        )
    try:
        builder = tfds.builder_from_directory(os.fspath(folder))
        about = builder.info.metadata
        categories = tuple(config_lib.Category(i, name) for i, name in about["categories"])
        doubts = list(about.get("doubts", ())) if was_there else []  # else they were told just now
        images = [(image_id, (height, width)) for image_id, height, width in about["images"]]
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # whatever TFDS makes of files that are damaged
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"the records in {folder} are damaged ({type(error).__name__}: {said}); delete that "
            "folder, and they are written anew"
        ) from error
    for doubt in doubts:
        print(f"{json_path}: {doubt}")
    if data.categories and data.categories != categories:
        raise InputError(
            f"{json_path} has {_list(categories)} where the model was made for "
            f"{_list(data.categories)}; the two must be equal, ids included"
        )
    return Records(
        source=source,
        categories=categories,
        image_ids=[image_id for image_id, _ in images],
        sizes=np.array([size for _, size in images], np.int32),
        value_range=value_range,
    )


def locate(data: config_lib.Data, split: Split) -> tuple[Path, Path]:
    """The JSON of a split, and the folder that its file names start from.

    Raises:
      InputError: there is no such folder, or ``data`` leaves the JSON open and there is not exactly
        one in its usual place.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.root")
    given, images = _given(data, split)
    if given:
        json_path = root / given
    else:
        found = _usual_jsons(root, split)
        if len(found) != 1:
            what = f"{len(found)} files" if found else "no file"
            raise InputError(
                f"{root} has {what} annotations/instances_{split}*.json; set data.root or "
                f"data.{split}_json"
            )
        (json_path,) = found
    if images:
        return json_path, root / images
    first = _first_name(json_path)
    usual = [f"{split}2017", split, f"images/{split}2017", f"images/{split}", "images", ""]
    found = [root / place for place in usual if first and (root / place / first).exists()]
    return json_path, found[0] if found else root / "images"


def _first_name(json_path: Path) -> str:
    """The file name of the first image that has one; empty where there is none."""
    for name, _, entry in json_lists.elements(json_path, ("images",), "looking for images"):
        if name == "images" and isinstance(entry, dict):
            file_name = entry.get("file_name")
            if isinstance(file_name, str) and file_name and "\0" not in file_name:
                return file_name.replace("\\", "/")
    return ""


def has_split(data: config_lib.Data, split: Split) -> bool:
    """Whether ``data`` names the annotations of a split, or the folder has any in their place."""
    return bool(_given(data, split)[0]) or bool(_usual_jsons(Path(data.root), split))


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
            label=int(columns["label"][i]),
            rle=bytes(columns["rle"][i]),
            box=_floats(columns["box"][i]),
            area=float(columns["area"][i]),
            center=_floats(columns["center"][i]),
            is_crowd=bool(columns["is_crowd"][i]),
        )
        for i in range(len(columns["id"]))
    ]
    about = stored["path"].decode(), bool(stored["as_stored"])
    return Record(stored["image"], *about, instances, records.value_range)


def image_of(record: Record) -> np.ndarray:
    """The image of a record, ``H W 3`` uint8 RGB."""
    image = image_files.decode_image(record.encoded, record.as_stored, record.value_range)
    if image is None:
        raise InputError(f"the record of {record.path} is damaged; delete the folder data.records")
    return image


def workers() -> int:
    """How many threads find a core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(data: config_lib.Data, split: Split, json_path: Path) -> str:
    """Of the folder of a split's records: for people, and a fingerprint of what is in them."""
    root = _absolute(Path(data.root))
    _, images = _given(data, split)
    digest = hashlib.sha256(f"{record_files.FORMAT} {root} {images}".encode())
    with json_lists.open_bytes(json_path) as file:
        while chunk := file.read(json_lists.CHUNK):
            digest.update(chunk)
    return f"{root.name}-{split}-{digest.hexdigest()[:12]}"


def _given(data: config_lib.Data, split: Split) -> tuple[str, str]:
    """What the config says of a split: its JSON and its folder of images, empty where open."""
    if split == "train":
        return data.train_json, data.train_images
    return data.val_json, data.val_images


def _usual_jsons(root: Path, split: Split) -> list[Path]:
    return sorted((root / "annotations").glob(f"instances_{split}*.json"))


def _absolute(path: Path) -> Path:
    return path if "://" in os.fspath(path) else path.resolve()


def _floats(values: Sequence[float]) -> Any:
    return tuple(map(float, values))


def _list(categories: tuple[config_lib.Category, ...]) -> str:
    names = [category.name for category in categories]
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
