"""A COCO folder -> records: ArrayRecord files that TFDS opens, written once, read at random.

A record holds the bytes of the image file, untouched, and its instances as run lengths. TFDS's own
``coco`` has no instance masks, which is why this one exists. Nothing here needs TensorFlow.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils.epath import Path
from PIL import ImageOps, TiffImagePlugin
from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import annotations
from solojax.types import InputError

Split = Literal["train", "val"]

NAME = "coco_instances"  # of the TFDS data set
FORMAT = "4"  # raise it with any change to _features, so that older records are written anew
SHARD = 512  # images a file: 80 MB of COCO, and no more open files than a system allows
COMPLETE = "complete.json"  # the last file to be written: the bytes of each file of records
INCOMPLETE = ".incomplete"  # folder in data.records for what is being written
STALE = 24 * 3600  # seconds after which what a killed process was writing is removed


class Record(NamedTuple):
    """One image and what is in it, as stored."""

    encoded: bytes  # the image file
    path: str  # where it was read from
    as_stored: bool  # whether the instances lie on the pixels as stored, EXIF orientation aside
    instances: list[annotations.Instance]


class Records(NamedTuple):
    """A prepared split; ``read(records, i)`` reads the ``i``-th image of its JSON."""

    source: Any
    categories: tuple[config_lib.Category, ...]
    image_ids: list[int]
    sizes: np.ndarray  # len 2 int32, (height, width), original pixels


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
    folder = Path(data.records) / _name(data, split, json_path)
    if not _is_complete(folder):
        _write(folder, split, json_path, image_root)
    builder = tfds.builder_from_directory(os.fspath(folder))
    about = builder.info.metadata
    categories = tuple(config_lib.Category(i, name) for i, name in about["categories"])
    if data.categories and data.categories != categories:
        raise InputError(
            f"{json_path} has {_list(categories)} where the model was made for "
            f"{_list(data.categories)}; the two must be equal, ids included"
        )
    return Records(
        source=builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()}),
        categories=categories,
        image_ids=[image_id for image_id, _, _ in about["images"]],
        sizes=np.array([size for _, *size in about["images"]], np.int32),
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
    # The file name that comes first, without parsing what may be gigabytes.
    name = re.search(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', annotations.read_bytes(json_path))
    first = json.loads(name[1]).replace("\\", "/") if name else ""
    usual = [f"{split}2017", split, f"images/{split}2017", f"images/{split}", "images", ""]
    found = [root / place for place in usual if first and (root / place / first).exists()]
    return json_path, found[0] if found else root / "images"


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
    return Record(stored["image"], stored["path"].decode(), bool(stored["as_stored"]), instances)


def image_of(record: Record) -> np.ndarray:
    """The image of a record, ``H W 3`` uint8 RGB."""
    image = decode_image(record.encoded, record.as_stored)
    if image is None:
        raise InputError(f"the record of {record.path} is damaged; delete the folder data.records")
    return image


def decode_image(encoded: bytes, as_stored: bool = False) -> np.ndarray | None:
    """The bytes of an image file -> ``H W 3`` uint8 RGB, or None where they are damaged.

    Turned as its EXIF orientation asks for, unless it is wanted ``as_stored``.
    """
    if not encoded:
        return None
    if encoded[:4] in (b"II*\0", b"MM\0*") and not as_stored:
        image = _decode_rgba_tiff(encoded)
        if image is not None:
            return image
    flags = cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # a header that promises more pixels than OpenCV is willing to hold
        return None


def _decode_rgba_tiff(encoded: bytes) -> np.ndarray | None:
    """A TIFF whose colours OpenCV would multiply by their alpha; None where it is another image."""
    with contextlib.suppress(Exception):  # of what is damaged OpenCV will say so
        with TiffImagePlugin.TiffImageFile(io.BytesIO(encoded)) as image:
            if image.mode == "RGBA":
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return None


@functools.cache
def _features() -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
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


def _write(folder: Path, split: Split, json_path: Path, image_root: Path) -> None:
    """Writes what is missing of the records of a split, with a progress bar."""
    content = annotations.read(json_path, image_root)
    for reason, count in content.skipped.items():
        print(f"{json_path}: {count} instances skipped: {reason}")
    images = content.images
    shards = [images[start : start + SHARD] for start in range(0, len(images), SHARD)]
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=NAME, split=split, filetype_suffix="array_record"
    )
    paths = [
        Path(template.sharded_filepath(shard_index=i, num_shards=len(shards)))
        for i in range(len(shards))
    ]
    # Beside the folder, whose files TFDS takes for its own whatever their names.
    staging = folder.parent / INCOMPLETE
    for path in (folder, staging):
        path.mkdir(parents=True, exist_ok=True)
    for left in staging.iterdir():
        with contextlib.suppress(FileNotFoundError):  # by another process that tidies up
            if time.time() - left.stat().mtime > STALE:
                left.rmtree() if left.is_dir() else left.unlink()
    cv2.setNumThreads(1)  # one file on each core is enough
    stop = threading.Event()
    with tqdm(total=len(images), desc=f"writing {split} records", unit="image") as bar:

        def write(place: int) -> list[str]:
            if paths[place].exists():
                bar.update(len(shards[place]))
                return []
            try:
                return _write_shard(paths[place], staging, shards[place], stop, bar)
            except BaseException:  # the other files are not to be finished first
                stop.set()
                raise

        with ThreadPoolExecutor(workers()) as pool:
            try:
                problems = [one for here in pool.map(write, range(len(shards))) for one in here]
            except KeyboardInterrupt:  # by a user, who interrupts this thread alone
                stop.set()
                raise
    if problems:
        raise InputError(f"{json_path}: {annotations.shorten(problems)}")
    metadata = tfds.core.MetadataDict(
        categories=[[one.id, one.name] for one in content.categories],
        images=[[one.id, one.height, one.width] for one in images],
    )
    lengths = [len(shard) for shard in shards]
    sizes = {path.name: path.stat().length for path in paths}
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=_features(),
        split_infos=[
            tfds.core.SplitInfo(split, lengths, sum(sizes.values()), filename_template=template)
        ],
        filename_template=template,
        check_data=False,
        description="Images and instance masks of a COCO-format folder.",
        metadata=metadata,
        disable_shuffling=True,  # record i is image i of the JSON
    )
    (folder / COMPLETE).write_text(json.dumps(sizes))


def _is_complete(folder: Path) -> bool:
    """Whether all files of a folder of records are there; one that was cut is removed."""
    if not (folder / COMPLETE).exists():
        return False
    try:
        sizes = json.loads((folder / COMPLETE).read_text())
    except ValueError:  # cut itself
        return False
    sound = True
    for name, size in sizes.items():
        path = folder / name
        if not path.exists() or path.stat().length != size:
            path.unlink(missing_ok=True)
            sound = False
    return sound


def workers() -> int:
    """How many threads find a core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_shard(
    path: Path, staging: Path, images: list[annotations.Image], stop: threading.Event, bar: tqdm
) -> list[str]:
    """Writes one file of records, unless there are problems with its images: those are returned."""
    problems = []
    # To a bucket, what ArrayRecord writes here is copied by the path layer.
    local = None if "://" in os.fspath(staging) else staging
    with tempfile.TemporaryDirectory(dir=local) as here:
        written = Path(here) / path.name
        # Never a group of records: each is read by itself.
        writer = array_record_module.ArrayRecordWriter(os.fspath(written), "group_size:1")
        try:
            for image in images:
                if stop.is_set():
                    return []
                try:
                    writer.write(_features().serialize_example(_example(image)))
                except InputError as problem:
                    problems.append(str(problem))
                with bar.get_lock():
                    bar.update()
        finally:
            writer.close()
        if not problems:
            if local is None:
                written = written.copy(staging / f"{os.getpid()}-{path.name}", overwrite=True)
            written.replace(path)
    return problems


def _example(image: annotations.Image) -> dict[str, Any]:
    """One image as it is stored, once its file is known to be sound."""
    encoded = image.path.read_bytes()
    pixels = decode_image(encoded)
    if pixels is None:
        raise InputError(f"{image.path} is damaged or no image")
    as_stored = False
    if pixels.shape[:2] != (image.height, image.width):
        # Some tools annotate the pixels as stored and never look at the EXIF orientation.
        stored = decode_image(encoded, as_stored=True)
        as_stored = stored is not None and stored.shape[:2] == (image.height, image.width)
        if not as_stored:
            raise InputError(
                f"{image.path} is {pixels.shape[0]}x{pixels.shape[1]} (height x width) where the "
                f"JSON says {image.height}x{image.width}"
            )
    instances = [instance._asdict() for instance in image.instances]
    return {
        "image": encoded,
        "path": str(image.path),
        "as_stored": as_stored,
        "instances": instances,
    }


def _name(data: config_lib.Data, split: Split, json_path: Path) -> str:
    """Of the folder of a split's records: for people, and a fingerprint of what is in them."""
    root = _absolute(Path(data.root))
    _, images = _given(data, split)
    digest = hashlib.sha256(f"{FORMAT} {root} {images}".encode())
    digest.update(annotations.read_bytes(json_path))
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
