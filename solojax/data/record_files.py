"""Files of records: how an image and its instances are stored, and how all of a split are written.

Files of ``SHARD`` images are written side by side, and each is complete or absent.
"""

import contextlib
import functools
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils.epath import Path
from tqdm import tqdm

from solojax.data import annotations, image_files, orientation, suspicions
from solojax.data.findings import Findings, shorten
from solojax.data.image_values import Note, Range
from solojax.types import InputError

NAME = "coco_instances"  # of the TFDS data set
FORMAT = "4"  # raise it with any change to _features, so that older records are written anew
SHARD = 512  # images a file: 80 MB of COCO, and no more open files than a system allows
COMPLETE = "complete.json"  # the last file to be written: the bytes of each file of records
INCOMPLETE = ".incomplete"  # folder in data.records for what is being written
STALE = 24 * 3600  # seconds after which what a killed process was writing is removed


def write(
    folder: Path,
    split: str,
    json_path: Path,
    image_root: Path,
    *,
    threads: int,
    value_range: Range | None = None,
) -> None:
    """Writes what is missing of the records of a split, with a progress bar.

    Args:
      folder: for the files.
      split: what it is called.
      json_path: its annotations.
      image_root: the folder that the file names in them start from.
      threads: each writes a file at a time.
      value_range: which values become black and white, where they have more than 8 bits.

    Raises:
      InputError: the annotations are not sound, or an image is none or of another size than they
        say.
    """
    content = annotations.read(json_path, image_root)
    if split == "train":
        suspicions.check_learnable(json_path, content.images)
    images = orientation.settle(content.images, content.findings, threads=threads)
    for finding in content.findings:
        print(f"{json_path}: {finding}")
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
    stop, findings = threading.Event(), Findings()
    with tqdm(total=len(images), desc=f"writing {split} records", unit="image") as bar:

        def write_one(place: int) -> list[str]:
            if paths[place].exists():
                bar.update(len(shards[place]))
                return []
            try:
                return _write_shard(
                    *(paths[place], staging, shards[place], stop, bar), findings, value_range
                )
            except BaseException:  # the other files are not to be finished first
                stop.set()
                raise

        with ThreadPoolExecutor(threads) as pool:
            try:
                problems = [one for here in pool.map(write_one, range(len(shards))) for one in here]
            except KeyboardInterrupt:  # by a user, who interrupts this thread alone
                stop.set()
                raise
    for finding in findings:
        print(f"{json_path}: {finding}")
    if problems:
        raise InputError(f"{json_path}: {shorten(problems, len(problems))}")
    metadata = tfds.core.MetadataDict(
        categories=[[one.id, one.name] for one in content.categories],
        images=[[one.id, one.height, one.width] for one in images],
        doubts=[str(one) for one in content.findings if one.effect == "doubtful"],
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
    # And what TFDS says of them, each time in the same words.
    sizes |= {path.name: path.stat().length for path in folder.glob("*.json")}
    sizes.pop(COMPLETE, None)
    (folder / COMPLETE).write_text(json.dumps(sizes))


def is_complete(folder: Path) -> bool:
    """Whether all files of a folder of records are there; one that was cut is removed."""
    if not (folder / COMPLETE).exists():
        return False
    try:
        sizes = json.loads((folder / COMPLETE).read_text())
    except (ValueError, RecursionError):  # cut itself
        return False
    if not isinstance(sizes, dict) or any(Path(name).name != name for name in sizes):
        return False
    sound = True
    for name, size in sizes.items():
        path = folder / name
        if not path.exists() or path.stat().length != size:
            path.unlink(missing_ok=True)
            sound = False
    return sound


def _write_shard(
    path: Path,
    staging: Path,
    images: list[annotations.Image],
    stop: threading.Event,
    bar: tqdm,
    findings: Findings,
    value_range: Range | None,
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
                    example, notes = _example(image, value_range)
                    writer.write(_features().serialize_example(example))
                except InputError as problem:
                    problems.append(str(problem))
                    notes = []
                with bar.get_lock():
                    bar.update()
                    for note in notes:
                        findings.add(note.effect, note.what, str(image.path), cure=note.cure)
        finally:
            writer.close()
        if not problems:
            if local is None:
                written = written.copy(staging / f"{os.getpid()}-{path.name}", overwrite=True)
            written.replace(path)
    return problems


def _example(
    image: annotations.Image, value_range: Range | None
) -> tuple[dict[str, Any], list[Note]]:
    """One image as it is stored, once its file is known to be sound, and what is to be told."""
    encoded = image_files.read_file(image.path)
    as_stored = image.as_stored
    try:
        pixels, notes = image_files.decode(encoded, as_stored=as_stored, value_range=value_range)
    except InputError as fault:
        raise InputError(f"{image.path} {fault}") from None
    if pixels.shape[:2] != (image.height, image.width):
        # Some tools annotate the pixels as stored and never look at the EXIF orientation.
        as_stored = not as_stored
        other, _ = image_files.decode(encoded, as_stored=as_stored, value_range=value_range)
        if other.shape[:2] != (image.height, image.width):
            raise InputError(
                f"{image.path} is {pixels.shape[0]}x{pixels.shape[1]} (height x width) where the "
                f"JSON says {image.height}x{image.width}"
            )
    instances = [instance._asdict() for instance in image.instances]
    example = {
        "image": encoded,
        "path": str(image.path),
        "as_stored": as_stored,
        "instances": instances,
    }
    return example, notes


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
