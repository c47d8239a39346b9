"""A COCO folder -> records: one ArrayRecord set, written once by a TFDS builder, read at random.

A record holds the bytes of the image file, untouched, and its instances as run lengths. TFDS's own
``coco`` has no instance masks, which is why this one exists.
"""

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import annotations
from solojax.types import InputError

Split = Literal["train", "val"]


class Record(NamedTuple):
    """One image and what is in it, as stored."""

    encoded: bytes  # the image file
    path: str  # where it was read from
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
    They are complete or absent: an interrupted run leaves nothing that could be mistaken for them.

    Raises:
      InputError: the folder is not a sound COCO data set (``annotations.read``), an image cannot be
        decoded or has another size than the JSON says, or the classes are not ``data.categories``.
    """
    root = Path(data.root)
    json_path = root / (data.train_json if split == "train" else data.val_json)
    image_root = root / (data.train_images if split == "train" else data.val_images)
    name = f"{root.resolve().name}-{split}-{_fingerprint(json_path, image_root)}"
    builder = _Builder(json_path, image_root, split, data_dir=str(Path(data.records) / name))
    if not Path(builder.data_path).is_dir():
        builder.write()
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


def read(records: Records, index: int) -> Record:
    """Reads one record; from any thread, in any order."""
    stored = records.source[index]
    columns = stored["instances"]
    instances = [
        annotations.Instance(
            id=int(columns["id"][i]),
            label=int(columns["label"][i]),
            rle=bytes(columns["rle"][i]),
            box=_box(columns["box"][i]),
            area=float(columns["area"][i]),
            is_crowd=bool(columns["is_crowd"][i]),
        )
        for i in range(len(columns["id"]))
    ]
    return Record(stored["image"], stored["path"].decode(), instances)


def image_of(record: Record) -> np.ndarray:
    """The image of a record, ``H W 3`` uint8 RGB."""
    image = decode_image(record.encoded)
    if image is None:
        raise InputError(f"the record of {record.path} is damaged; delete the folder data.records")
    return image


def decode_image(encoded: bytes) -> np.ndarray | None:
    """The bytes of an image file -> ``H W 3`` uint8 RGB, or None where they are damaged."""
    if not encoded:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV is willing to hold
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class _Builder(tfds.core.GeneratorBasedBuilder):
    """Writes one JSON and its images as one split."""

    VERSION = tfds.core.Version("1.0.0")  # of the record format in _info
    name = "coco_instances"

    def __init__(self, json_path: Path, image_root: Path, split: Split, data_dir: str):
        self._json_path, self._image_root, self._split = json_path, image_root, split
        self._metadata = tfds.core.MetadataDict()
        super().__init__(data_dir=data_dir, file_format="array_record")

    def write(self) -> None:
        content = annotations.read(self._json_path, self._image_root)
        for reason, count in content.skipped.items():
            print(f"{self._json_path}: {count} instances skipped: {reason}")
        self._images = content.images
        self._metadata["categories"] = [[c.id, c.name] for c in content.categories]
        self._metadata["images"] = [[i.id, i.height, i.width] for i in content.images]
        # TFDS would announce a download and count shards; the bar below counts images instead.
        tfds.disable_progress_bar()
        logging.getLogger("absl").setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images and instance masks of a COCO-format folder.",
            metadata=self._metadata,
            disable_shuffling=True,  # record i is image i of the JSON
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),  # any format, bytes as they are
                    "path": tfds.features.Text(),
                    "instances": tfds.features.Sequence(
                        {
                            "id": np.int64,
                            "label": np.int64,
                            "rle": tfds.features.Tensor(shape=(), dtype=np.bytes_),
                            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                            "area": np.float64,
                            "is_crowd": np.bool_,
                        }
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {self._split: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        bar = tqdm(self._images, desc=f"writing {self._split} records", unit="image")
        for index, image in enumerate(bar):
            encoded = image.path.read_bytes()
            pixels = decode_image(encoded)
            if pixels is None:
                raise InputError(f"{image.path} is damaged or no image")
            if pixels.shape[:2] != (image.height, image.width):
                raise InputError(
                    f"{image.path} is {pixels.shape[0]}x{pixels.shape[1]} (height x width) where "
                    f"{self._json_path} says {image.height}x{image.width}; the orientation that "
                    "EXIF asks for counts"
                )
            instances = [instance._asdict() for instance in image.instances]
            yield index, {"image": encoded, "path": str(image.path), "instances": instances}


def _fingerprint(json_path: Path, image_root: Path) -> str:
    digest = hashlib.sha256(str(image_root.resolve()).encode())
    digest.update(annotations.read_bytes(json_path))
    return digest.hexdigest()[:12]


def _box(sides: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, sides)
    return x0, y0, x1, y1


def _list(categories: tuple[config_lib.Category, ...]) -> str:
    names = [category.name for category in categories]
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
