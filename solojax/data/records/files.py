"""Files of records: how an image and its instances are stored, and how all of a split are written.

Files of ``SHARD`` images are written side by side, and each is complete or absent.
"""

import contextlib
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils.epath import Path
from tqdm import tqdm

from solojax import config
from solojax.data import annotations
from solojax.data.annotations import suspicions
from solojax.data.findings import Findings
from solojax.data.health import orientation
from solojax.data.images import places as image_places
from solojax.data.images import values as image_values
from solojax.data.records import contents, stamps
from solojax.types import InputError

NAME = "coco_instances"  # of the TFDS data set
FORMAT = "5"  # raise it with any change to _features, so that older records are written anew
SHARD = 512  # images a file: 80 MB of COCO, and no more open files than a system allows
COMPLETE = "complete.json"  # the last file to be written: the bytes of each file of records
LEFT_OUT = "left_out.json"  # images and annotations that are in the JSON and not in the records
INCOMPLETE = ".incomplete"  # folder in data.records for what is being written
STALE = 24 * 3600  # seconds after which what a killed process was writing is removed


def write(
    folder: Path, split: str, json_path: Path, image_root: Path, data: config.Data, *, threads: int
) -> None:
    """Writes what is missing of the records of a split, with a progress bar; prints findings.

    Args:
      folder: for the files.
      split: what it is called.
      json_path: its annotations.
      image_root: the folder that the file names in them start from.
      data: what is done with faults, and which values become black and white.
      threads: each writes a file at a time.

    Raises:
      InputError: the annotations are not sound, or an image is none or of another size than they
        say, or the disk is full.
    """
    content = annotations.read(json_path, image_root, data=data)
    if split == "train":
        suspicions.check_learnable(json_path, content.images)
    images = orientation.settle(content.images, content.findings, threads=threads)
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
    absent = [
        image_root / one.file_name
        for one in content.faults.left_out
        if not image_places.fault_of_name(one.file_name)
    ]
    count = len(images) + content.faults.images
    named = [[path for one in shard for path in _files_of(one, image_root)] for shard in shards]
    stamps.renew(folder, staging, image_root, named, paths, absent)
    maps = content.stuff is not None
    faults = _write_all(paths, staging, shards, split, data, content.findings, threads, maps)
    for place, found in enumerate(faults):
        for number, (what, value, cure) in found.items():
            one = shards[place][number]
            inside = [instance.id for instance in one.instances]
            content.faults.add_image(what, one.id, one.name, inside, value, cure)
    content.faults.settle(json_path, count, content.total, content.findings)
    for finding in content.findings:
        print(f"{json_path}: {finding}")
    kept = [
        [one for number, one in enumerate(shard) if number not in faults[place]]
        for place, shard in enumerate(shards)
    ]
    _check_kept(json_path, kept, content.findings, maps)
    listed = [one._asdict() for one in content.faults.left_out]
    (folder / LEFT_OUT).unlink(missing_ok=True)
    if listed:
        (folder / LEFT_OUT).write_text(json.dumps(listed, indent=1, default=str))
        print(f"{json_path}: what is left out is listed in {folder / LEFT_OUT}")
    metadata = tfds.core.MetadataDict(
        categories=[[one.id, one.name] for one in content.categories],
        images=[[one.id, one.height, one.width] for shard in kept for one in shard],
        doubts=[str(one) for one in content.findings if one.effect in ("doubtful", "lost")],
        shares=content.faults.shares,
        **({"stuff": [[one.id, one.name] for one in content.stuff or ()]} if maps else {}),
    )
    sizes = {path.name: path.stat().length for path in paths}
    lengths = [len(shard) for shard in kept]
    # Beside the folder as well: another process may read there what this one writes anew.
    about = staging / f"{folder.name}-{uuid.uuid4().hex}"
    about.mkdir()
    for path in paths:
        (about / path.name).touch()  # TFDS looks for their names alone
    tfds.folder_dataset.write_metadata(
        data_dir=about,
        features=contents.features(maps),
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
    told = [path for path in about.iterdir() if path.suffix == ".json"]
    sizes |= {path.name: path.stat().length for path in told}
    (about / COMPLETE).write_text(json.dumps(sizes))
    for path in (*told, about / COMPLETE):
        path.replace(folder / path.name)
    about.rmtree()


Found = dict[int, tuple[str, str, str]]
"""Place of an image in its file -> what is wrong with it, the value that is, the cure."""


def _write_all(
    paths: list[Path],
    staging: Path,
    shards: list[list[annotations.Image]],
    split: str,
    data: config.Data,
    findings: Findings,
    threads: int,
    maps: bool,
) -> list[Found]:
    """Writes the files that are not there; returns what is wrong with the images of each."""
    cv2.setNumThreads(1)  # one file on each core is enough
    stop = threading.Event()
    total = sum(map(len, shards))
    with tqdm(total=total, desc=f"writing {split} records", unit="image") as bar:

        def write_one(place: int) -> Found:
            path = paths[place]
            faulty = path.with_name(f"{path.name}.{LEFT_OUT}")
            if path.exists():
                bar.update(len(shards[place]))
                known = json.loads(faulty.read_text()) if faulty.exists() else {}
                return {int(number): tuple(fault) for number, fault in known.items()}
            try:
                images = shards[place]
                return _write_shard(path, faulty, staging, images, data, stop, bar, findings, maps)
            except BaseException:  # the other files are not to be finished first
                stop.set()
                raise

        with ThreadPoolExecutor(threads) as pool:
            try:
                return list(pool.map(write_one, range(len(shards))))
            except KeyboardInterrupt:  # by a user, who interrupts this thread alone
                stop.set()
                raise


def _files_of(image: annotations.Image, root: Path) -> Iterator[Path]:
    """The files that a record is made of, below a folder or beside it."""
    yield image.path
    if image.label_map:
        path = os.fspath(image.label_map.path)
        yield image.label_map.path if "://" in path else root / os.path.relpath(path, root)


def _check_kept(
    json_path: Path, kept: list[list[annotations.Image]], findings: Findings, maps: bool
) -> None:
    """Refuses a set of which nothing is left, or all of a file's images are not."""
    if not all(kept) or not (maps or any(one.instances for shard in kept for one in shard)):
        told = "; ".join(str(one) for one in findings if one.effect == "lost")
        raise InputError(f"{json_path}: too little is left to learn from: {told}")


def is_complete(folder: Path) -> bool:
    """Whether all files of a folder of records are there and no image was changed since.

    A file that was cut is removed.
    """
    if not (folder / COMPLETE).exists():
        return False
    try:
        sizes = json.loads((folder / COMPLETE).read_text())
    except (ValueError, RecursionError):  # cut itself
        return False
    if not isinstance(sizes, dict) or any(Path(name).name != name for name in sizes):
        return False
    sound = not stamps.are_changed(folder)
    for name, size in sizes.items():
        path = folder / name
        if not path.exists() or path.stat().length != size:
            path.unlink(missing_ok=True)
            sound = False
    return sound


def _write_shard(
    path: Path,
    faulty: Path,
    staging: Path,
    images: list[annotations.Image],
    data: config.Data,
    stop: threading.Event,
    bar: tqdm,
    findings: Findings,
    maps: bool,
) -> Found:
    """Writes one file of records, and which of its images are left out.

    Where there are some and ``data.faults`` says fail, it writes nothing.
    """
    faults: Found = {}
    value_range = image_values.range_of(data.value_range)
    # To a bucket, what ArrayRecord writes here is copied by the path layer.
    local = None if "://" in os.fspath(staging) else staging
    with tempfile.TemporaryDirectory(dir=local) as here:
        written = Path(here) / path.name
        # Never a group of records: each is read by itself.
        writer = array_record_module.ArrayRecordWriter(os.fspath(written), "group_size:1")
        try:
            for number, image in enumerate(images):
                if stop.is_set():
                    return {}
                try:
                    example, notes = contents.read(image, value_range, maps)
                    writer.write(contents.features(maps).serialize_example(example))
                except contents.ImageFault as fault:
                    faults[number], notes = fault.args, []
                with bar.get_lock():
                    bar.update()
                    for note in notes:
                        findings.add(note.effect, note.what, str(image.path), cure=note.cure)
        finally:
            writer.close()
        if data.faults != "fail" or not faults:
            faulty.write_text(json.dumps(faults)) if faults else faulty.unlink(missing_ok=True)
            if local is None:
                written = written.copy(staging / f"{uuid.uuid4().hex}-{path.name}", overwrite=True)
            written.replace(path)
    return faults
