"""Claims about the records written from a COCO folder."""

import errno
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from etils.epath import backend as epath_backend
from etils.epath import gpath
from PIL import Image
from pycocotools import mask as coco_mask

from solojax.config import Category, Data
from solojax.data import annotations, check, rle
from solojax.data.findings import Findings
from solojax.data.images import files as image_files
from solojax.data.records import coco
from solojax.data.records import files as record_files
from solojax.evaluation.results import truths
from solojax.types import InputError

NAMES = (
    "b.jpg",
    "a.png",
    "mit Leerzeichen/Äpfel 苹果.jpg",
    "grey.png",
    "alpha.png",
    "deep/x/z.jpg",
)
SIZES = ((30, 40), (41, 23), (16, 64), (20, 20), (12, 34), (8, 9))
CATEGORIES = (Category(3, "Äpfel"), Category(50, "dining table"))


def paint(seed: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)


def encode(name: str, pixels: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(Path(name).suffix, pixels)
    assert done
    return encoded.tobytes()


def square(annotation_id: int, image_id: int, **changes: Any) -> dict[str, Any]:
    entry = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 50,
        "segmentation": [[1, 1, 6, 1, 6, 5, 1, 5]],
        "bbox": [1, 1, 5, 4],
        "area": 20,
        "iscrowd": 0,
    }
    return {**entry, **changes}


def make_folder(root: Path) -> Data:
    """A COCO folder of six images in several formats; the third has no instance."""
    images = []
    for place, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        channels = {"grey.png": 1, "alpha.png": 4}.get(name, 3)
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(name, paint(place, size, channels)))
        entry = {"id": 90 - place, "file_name": name, "height": size[0], "width": size[1]}
        images.append(entry)
    content = {
        "images": images,
        "annotations": [
            square(8, 89, area=17.25, bbox=[0.1, 0.2, 9, 8]),
            square(2, 90, category_id=3),
            square(5, 90, iscrowd=1, segmentation={"size": [30, 40], "counts": [7, 3, 1190]}),
            square(2**40, 87),
            square(6, 86),
            square(7, 85),
        ],
        "categories": [{"id": c.id, "name": c.name} for c in reversed(CATEGORIES)],
    }
    write_json(root, content)
    return Data(
        root=str(root),
        train_json="train.json",
        val_json="train.json",
        train_images="images",
        val_images="images",
        records=str(root / "records"),
    )


def read_json(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "train.json").read_text()))


def write_json(root: Path, content: dict[str, Any]) -> None:
    (root / "train.json").write_text(json.dumps(content))


def files_below(folder: Path) -> dict[str, int]:
    """Every file below a folder, with the time of its last change in nanoseconds."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def refusal(data: Data) -> str:
    with pytest.raises(InputError) as caught:
        coco.prepare(data, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bomb() -> bytes:
    """A small PNG whose header promises 3.6 thousand million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, coco.Records]:
    data = make_folder(tmp_path_factory.mktemp("coco"))
    return data, coco.prepare(data, "train")


def test_records_are_in_the_order_of_the_json(prepared: tuple[Data, coco.Records]) -> None:
    data, records = prepared
    assert records.image_ids == [90, 89, 88, 87, 86, 85]
    np.testing.assert_array_equal(records.sizes, SIZES)
    paths = [coco.read(records, index).path for index in range(len(NAMES))]
    assert paths == [str(Path(data.root) / "images" / name) for name in NAMES]


def test_record_holds_the_bytes_of_the_file(prepared: tuple[Data, coco.Records]) -> None:
    data, records = prepared
    for index, name in enumerate(NAMES):
        on_disk = (Path(data.root) / "images" / name).read_bytes()
        assert coco.read(records, index).encoded == on_disk


def test_record_holds_the_instances_of_the_json(prepared: tuple[Data, coco.Records]) -> None:
    data, records = prepared
    root = Path(data.root)
    content = annotations.read(root / "train.json", root / "images")
    for index, image in enumerate(content.images):
        stored = coco.read(records, index).instances
        assert len(stored) == len(image.instances)
        for found, true in zip(stored, image.instances, strict=True):
            np.testing.assert_array_equal(found.box, np.float32(true.box))
            assert found._replace(box=true.box) == true


def test_image_without_instances_has_a_record(prepared: tuple[Data, coco.Records]) -> None:
    assert coco.read(prepared[1], 2).instances == []


def test_crowd_flags_and_large_ids_are_kept(prepared: tuple[Data, coco.Records]) -> None:
    _, records = prepared
    assert [one.is_crowd for one in coco.read(records, 0).instances] == [False, True]
    assert [one.id for one in coco.read(records, 3).instances] == [2**40]


def test_categories_are_sorted_by_id_and_keep_their_names(
    prepared: tuple[Data, coco.Records],
) -> None:
    assert prepared[1].categories == CATEGORIES


def test_images_come_as_rgb_in_three_channels(prepared: tuple[Data, coco.Records]) -> None:
    _, records = prepared
    colour, grey, alpha = (coco.image_of(coco.read(records, index)) for index in (1, 3, 4))
    np.testing.assert_array_equal(colour, paint(1, SIZES[1])[..., ::-1])
    np.testing.assert_array_equal(grey, np.repeat(paint(3, SIZES[3], 1), 3, axis=2))
    np.testing.assert_array_equal(alpha, paint(4, SIZES[4], 4)[..., 2::-1])


def test_records_can_be_read_in_any_order_and_again(prepared: tuple[Data, coco.Records]) -> None:
    _, records = prepared
    first = [coco.read(records, index) for index in (5, 0, 3, 0)]
    assert first[1] == first[3]
    assert [Path(record.path).name for record in first[:3]] == ["z.jpg", "b.jpg", "grey.png"]


def test_preparing_again_writes_nothing(prepared: tuple[Data, coco.Records]) -> None:
    data, records = prepared
    before = files_below(Path(data.records))
    again = coco.prepare(data, "train")
    assert files_below(Path(data.records)) == before
    assert len(before) > 0
    assert (again.image_ids, again.categories) == (records.image_ids, records.categories)
    np.testing.assert_array_equal(again.sizes, records.sizes)
    assert coco.read(again, 4) == coco.read(records, 4)


def test_categories_that_are_those_of_the_config_are_taken(
    prepared: tuple[Data, coco.Records],
) -> None:
    data, _ = prepared
    same = Data(**{**vars(data), "categories": CATEGORIES})
    assert coco.prepare(same, "train").categories == CATEGORIES


@pytest.mark.parametrize(
    "categories",
    [
        CATEGORIES[:1],
        (*CATEGORIES, Category(51, "lamp")),
        (Category(4, "Äpfel"), CATEGORIES[1]),
        (Category(3, "Birnen"), CATEGORIES[1]),
    ],
    ids=["fewer", "more", "other id", "other name"],
)
def test_categories_that_differ_from_the_config_are_refused(
    categories: tuple[Category, ...], prepared: tuple[Data, coco.Records]
) -> None:
    message = refusal(Data(**{**vars(prepared[0]), "categories": categories}))
    assert "train.json has 2 classes (Äpfel, dining table)" in message
    assert f"{len(categories)} classes" in message


def test_changed_json_gives_new_records(tmp_path: Path) -> None:
    data = make_folder(tmp_path)
    before = coco.prepare(data, "train")
    old_files = files_below(Path(data.records))
    content = read_json(tmp_path)
    content["images"].reverse()
    content["annotations"].pop(0)
    write_json(tmp_path, content)
    after = coco.prepare(data, "train")
    assert after.image_ids == before.image_ids[::-1]
    assert coco.read(after, 4).instances == []
    assert len(coco.read(before, 1).instances) == 1
    assert old_files.items() <= files_below(Path(data.records)).items()


def test_splits_of_one_json_have_records_of_their_own(tmp_path: Path) -> None:
    data = make_folder(tmp_path)
    train, val = coco.prepare(data, "train"), coco.prepare(data, "val")
    assert coco.read(train, 1) == coco.read(val, 1)


def test_what_is_likely_wrong_is_told_again_where_the_records_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    for entry in content["annotations"]:
        entry["bbox"] = [11, 11, 4, 5]
    write_json(tmp_path, content)
    told = []
    for _ in range(2):
        coco.prepare(data, "train")
        told.append([one for one in capsys.readouterr().out.splitlines() if "boxes do not" in one])
    assert len(told[0]) == 1 and "likely wrong: 6 of 6 boxes" in told[0][0]
    assert told[1] == told[0]


def test_skipped_instances_are_told_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    content["annotations"] += [square(n, 90, segmentation=[[1, 2]]) for n in (100, 101)]
    write_json(tmp_path, content)
    coco.prepare(data, "train")
    told = [one for one in capsys.readouterr().out.splitlines() if ": 2 instances" in one]
    assert told == [
        f"{tmp_path / 'train.json'}: 2 instances skipped: no polygon of three finite points "
        "(annotation 100 of image 90, annotation 101 of image 90)"
    ]


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda encoded: b"", "is empty; copy it again"),
        (lambda encoded: encoded[: len(encoded) // 2], "; copy it again"),
        (lambda encoded: encoded[: len(encoded) * 9 // 10], "; copy it again"),
        (lambda encoded: np.random.default_rng(0).bytes(len(encoded)), "is no image: no kind of"),
        (lambda encoded: b"<html><body>404 not found</body></html>", "seems to be a web page"),
        (lambda encoded: bomb(), "3600 megapixels where 400 are read at once"),
    ],
    ids=["empty", "cut at half", "cut near the end", "random", "page", "bomb"],
)
@pytest.mark.parametrize("name", ["b.jpg", "a.png", "deep/x/z.jpg"])
def test_damaged_image_is_named_and_leaves_no_records(
    name: str, damage: Callable[[bytes], bytes], wanted: str, tmp_path: Path
) -> None:
    data = make_folder(tmp_path)
    path = tmp_path / "images" / name
    path.write_bytes(damage(path.read_bytes()))
    message = refusal(data)
    assert f"1 images that cannot be read (image {90 - NAMES.index(name)} ({name}): " in message
    assert f"{path} is " in message
    assert wanted in message
    assert message.endswith("mend them, or leave them out by data.faults=skip")
    assert shards(data) == {}


@pytest.mark.parametrize(("height", "width"), [(40, 30), (31, 40), (30, 39), (60, 80), (15, 20)])
def test_image_of_another_size_is_named_and_leaves_no_records(
    height: int, width: int, tmp_path: Path
) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    content["images"][0].update(height=height, width=width)
    write_json(tmp_path, content)
    message = refusal(data)
    path = tmp_path / "images" / "b.jpg"
    assert f"image 90 (b.jpg): {path} is 40x30 where the JSON says {width}x{height}" in message
    assert "(width x height)" in message
    assert shards(data) == {}


def test_records_can_be_written_once_the_image_is_mended(tmp_path: Path) -> None:
    data = make_folder(tmp_path)
    path = tmp_path / "images" / NAMES[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    refusal(data)
    path.write_bytes(whole)
    records = coco.prepare(data, "train")
    assert coco.read(records, 5).encoded == whole


def test_interrupted_writing_leaves_nothing_that_passes_for_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_folder(tmp_path)
    decode, calls = image_files.decode, []

    def interrupt(encoded: bytes, **options: Any) -> image_files.Decoded:
        calls.append(encoded)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decode(encoded, **options)

    monkeypatch.setattr(image_files, "decode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        coco.prepare(data, "train")
    records = coco.prepare(data, "train")
    assert len(records.source) == len(NAMES)
    assert len(calls) == 4 + len(NAMES)


def test_missing_json_is_named(tmp_path: Path) -> None:
    data = Data(root=str(tmp_path / "nothing"), records=str(tmp_path / "records"))
    assert refusal(data) == f"{tmp_path / 'nothing'}: no such folder; set data.root"
    other = Data(**{**vars(data), "root": str(tmp_path), "train_json": "x.json"})
    assert "x.json: no such file; set data.root" in refusal(other)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("encoded", [b"", b"abc", bomb()], ids=["empty", "text", "bomb"])
def test_bytes_that_are_no_image_decode_to_none(encoded: bytes) -> None:
    assert image_files.decode_image(encoded) is None


def test_damaged_record_names_the_image() -> None:
    with pytest.raises(InputError, match=r"the record of x/1\.jpg is damaged"):
        coco.image_of(coco.Record(b"", "x/1.jpg", False, []))


# EXIF

ORIENTATIONS = range(1, 9)


def stored_as(orientation: int, shown: np.ndarray) -> np.ndarray:
    """The pixels a camera stores for a picture to be shown with that EXIF orientation."""
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}
    stored = np.rot90(shown, turns[orientation])
    return (
        stored[:, ::-1]
        if orientation in (2, 4)
        else stored[::-1]
        if orientation in (5, 7)
        else stored
    )


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """The same file with an EXIF segment that holds an orientation and nothing else."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\x00\x2a" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def corner_folder(root: Path, orientation: int, as_stored: bool) -> tuple[Data, np.ndarray]:
    """One picture with a white block in a corner, and that block annotated where it is seen."""
    shown = np.full((48, 64, 3), 40, np.uint8)
    shown[:16, :24] = 255
    stored = np.ascontiguousarray(stored_as(orientation, shown))
    frame = stored if as_stored else shown
    (root / "images").mkdir(parents=True)
    jpeg = encode("x.jpg", stored)
    (root / "images/x.jpg").write_bytes(with_exif(jpeg, orientation))
    white = (frame[..., 0] > 128).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(white)
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    content = {
        "images": [
            {"id": 1, "file_name": "x.jpg", "height": frame.shape[0], "width": frame.shape[1]}
        ],
        "annotations": [square(1, 1, segmentation=[polygon], bbox=[x, y, width, height])],
        "categories": [{"id": 50, "name": "block"}],
    }
    write_json(root, content)
    return Data(root=str(root), train_json="train.json", records=str(root / "records")), frame


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    data, frame = corner_folder(tmp_path, orientation, as_stored=False)
    record = coco.read(coco.prepare(data, "train"), 0)
    image = coco.image_of(record)
    assert not record.as_stored
    assert image.shape == frame.shape
    (mask,) = rle.decode([record.instances[0].rle], *image.shape[:2])
    np.testing.assert_array_equal(image[..., 0] > 128, mask > 0)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_annotations_of_the_pixels_as_stored_stay_on_them(orientation: int, tmp_path: Path) -> None:
    data, frame = corner_folder(tmp_path, orientation, as_stored=True)
    records = coco.prepare(data, "train")
    record = coco.read(records, 0)
    image = coco.image_of(record)
    assert record.as_stored
    assert image.shape == frame.shape
    assert records.sizes.tolist() == [list(frame.shape[:2])]
    (mask,) = rle.decode([record.instances[0].rle], *image.shape[:2])
    np.testing.assert_array_equal(image[..., 0] > 128, mask > 0)


# Files of records


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Fifty images of 16 x 16 in files of eight."""
    monkeypatch.setattr(record_files, "SHARD", 8)
    (tmp_path / "images").mkdir()
    for i in range(50):
        path = tmp_path / f"images/{i}.png"
        path.write_bytes(encode("x.png", np.full((16, 16, 3), i, np.uint8)))
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 16, "width": 16} for i in range(50)
        ],
        "annotations": [square(1000 + i, i) for i in range(50)],
        "categories": [{"id": 50, "name": "thing"}],
    }
    write_json(tmp_path, content)
    return Data(root=str(tmp_path), train_json="train.json", records=str(tmp_path / "records"))


def records_of(data: Data) -> Path:
    """The folder of the only split's records."""
    (folder,) = set(Path(data.records).iterdir()) - {Path(data.records) / record_files.INCOMPLETE}
    return folder


def shards(data: Data) -> dict[str, int]:
    return {k: v for k, v in files_below(Path(data.records)).items() if "array_record" in k}


def test_records_of_many_files_are_in_the_order_of_the_json(many: Data) -> None:
    records = coco.prepare(many, "train")
    assert len(shards(many)) == 7
    assert [coco.image_of(coco.read(records, i))[0, 0, 0] for i in range(50)] == list(range(50))
    assert [coco.read(records, i).instances[0].id for i in range(50)] == list(range(1000, 1050))


def test_what_was_written_before_an_interruption_is_kept(
    many: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "workers", lambda: 1)
    decode, calls = image_files.decode, []

    def interrupt(encoded: bytes, **options: Any) -> image_files.Decoded:
        calls.append(encoded)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return decode(encoded, **options)

    monkeypatch.setattr(image_files, "decode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        coco.prepare(many, "train")
    before = shards(many)
    assert len(before) == 2
    records = coco.prepare(many, "train")
    assert len(calls) == 20 + 50 - 16
    assert before.items() <= shards(many).items()
    assert [coco.read(records, i).instances[0].id for i in range(50)] == list(range(1000, 1050))


def test_all_images_with_a_problem_are_named_at_once_and_the_rest_is_kept(
    many: Data, tmp_path: Path
) -> None:
    whole = (tmp_path / "images/0.png").read_bytes()
    for i in (3, 30):
        (tmp_path / f"images/{i}.png").write_bytes(b"nothing")
    message = refusal(many)
    assert "2 images that cannot be read" in message
    assert message.count("is no image: it seems to be text") == 2
    assert message.index("3.png") < message.index("30.png")
    assert len(shards(many)) == 5
    for i in (3, 30):
        (tmp_path / f"images/{i}.png").write_bytes(whole)
    assert len(coco.prepare(many, "train").source) == 50
    assert len(shards(many)) == 7


def test_records_are_the_same_bytes_however_many_cores_write_them(
    many: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for cores in (1, 3):
        monkeypatch.setattr(coco, "workers", lambda cores=cores: cores)
        data = Data(**{**vars(many), "records": str(tmp_path / f"records{cores}")})
        coco.prepare(data, "train")
        paths = sorted(p for p in Path(data.records).rglob("*") if "array_record" in p.name)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


# Places


@pytest.mark.parametrize(
    ("json_name", "image"),
    [
        ("instances_train2017.json", "train2017/x.png"),
        ("instances_train.json", "images/x.png"),
        ("instances_train.json", "images/train/x.png"),
        ("instances_train_v2.json", "train/x.png"),
        ("instances_train.json", "x.png"),
    ],
)
def test_the_usual_places_are_found(json_name: str, image: str, tmp_path: Path) -> None:
    for path in (tmp_path / "annotations", (tmp_path / image).parent):
        path.mkdir(exist_ok=True, parents=True)
    (tmp_path / image).write_bytes(b"")
    content = {"images": [{"file_name": "x.png"}], "annotations": [], "categories": []}
    (tmp_path / "annotations" / json_name).write_text(json.dumps(content))
    found = coco.locate(Data(root=str(tmp_path)), "train")
    assert [str(path) for path in found] == [
        str(tmp_path / "annotations" / json_name),
        str((tmp_path / image).parent),
    ]
    assert coco.has_split(Data(root=str(tmp_path)), "train")
    assert not coco.has_split(Data(root=str(tmp_path)), "val")


def test_the_name_of_a_folder_is_no_pattern(tmp_path: Path) -> None:
    for name in ("sib1", "sib[12]"):
        block(tmp_path / name, (40, 60), [[12, 8, 36, 8, 36, 24, 12, 24]])
    data = Data(root=str(tmp_path / "sib[12]"), records=str(tmp_path / "records"))
    assert coco.locate(data, "train")[0] == tmp_path / "sib[12]/train.json"
    assert len(coco.prepare(data, "train").source) == 1
    (tmp_path / "sib[12]/train.json").rename(tmp_path / "sib[12]/other.json")
    assert "training.json, but other.json; set data.root" in refusal(data)


def test_images_are_found_where_the_first_are_not(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    names = [f"{n}.png" for n in range(40)]
    (tmp_path / "train2017" / names[-1]).touch()
    write_json(tmp_path, {"images": [{"file_name": name} for name in names]})
    assert coco.locate(Data(root=str(tmp_path)), "train")[1] == tmp_path / "train2017"


def test_two_files_for_a_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train.json", "instances_train2017.json"):
        (tmp_path / "annotations" / name).write_text("{}")
    with pytest.raises(
        InputError, match=r"has 2 files for train, annotations/instances_train\.json, "
    ):
        coco.locate(Data(root=str(tmp_path)), "train")


class Bucket:
    """The files of ``gs://bucket`` in a folder: all that a path asks of a file system."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __getattr__(self, name: str) -> Callable:
        method = getattr(epath_backend.os_backend, name)

        def call(*arguments: Any, **options: Any) -> Any:
            found = method(*(self._local(one) for one in arguments), **options)
            return (
                [one.replace(str(self._folder), "gs://bucket") for one in found]
                if name == "glob"
                else found
            )

        return call

    def _local(self, argument: Any) -> Any:
        return (
            argument.replace("gs://bucket", str(self._folder))
            if isinstance(argument, str)
            else argument
        )


def test_a_bucket_is_read_and_written_like_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "coco")
    bucket = Bucket(tmp_path)
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", bucket)
    monkeypatch.setattr(gpath, "_GCS_BACKENDS", {bucket})
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    data = Data(
        root="gs://bucket/coco",
        train_json="train.json",
        train_images="images",
        records="gs://bucket/records",
    )
    assert coco.prepare(data, "train").image_ids == [90, 89, 88, 87, 86, 85]
    found = coco.locate(Data(root="gs://bucket/coco"), "train")
    assert [str(path) for path in found] == [
        "gs://bucket/coco/train.json",
        "gs://bucket/coco/images",
    ]
    folder = records_of(Data(records=str(tmp_path / "records")))
    assert folder.name.startswith("coco-train-")
    source = tfds.builder_from_directory(str(folder)).as_data_source("train")
    assert len(source) == len(NAMES)
    assert source[1]["path"].decode() == "gs://bucket/coco/images/a.png"
    report = check.folder(data, hashes=True, decode=True)
    assert report.counts["train"]["images"] == 6
    assert "images/a.png" in (tmp_path / "coco" / "checksums.sha256").read_text()
    truth = truths.read(epath.Path("gs://bucket/coco/train.json"), Findings())
    assert len(truth["images"]) == 6
    assert not Path("gs:").exists()


# What goes wrong with records


def test_what_a_killed_process_left_harms_nobody_and_goes_after_a_day(many: Data) -> None:
    coco.prepare(many, "train")
    folder = records_of(many)
    staging = folder.parent / record_files.INCOMPLETE
    left = [staging / name / "x.array_record" for name in ("old", "young")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    os.utime(left[0].parent, (0, 0))
    for path in (*folder.glob("*00003*"), folder / record_files.COMPLETE):
        path.unlink()
    assert len(coco.prepare(many, "train").source) == 50
    assert [path.exists() for path in left] == [False, True]


def test_nothing_but_records_is_left(many: Data) -> None:
    coco.prepare(many, "train")
    assert len(list(Path(many.records).iterdir())) == 2
    assert not list((Path(many.records) / record_files.INCOMPLETE).iterdir())


def test_two_that_prepare_at_once_both_have_the_records(many: Data) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: coco.prepare(many, "train"), range(2)))
    for records in both:
        assert [coco.read(records, i).instances[0].id for i in (0, 49)] == [1000, 1049]


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:100])],
    ids=["gone", "cut"],
)
def test_files_that_are_gone_or_cut_are_written_again_and_no_others(
    damage: Callable[[Path], object], many: Data
) -> None:
    coco.prepare(many, "train")
    before = shards(many)
    (path,) = (Path(one) for one in before if "00003" in Path(one).name)
    whole = path.read_bytes()
    damage(path)
    records = coco.prepare(many, "train")
    assert [coco.read(records, i).instances[0].id for i in range(50)] == list(range(1000, 1050))
    assert path.read_bytes() == whole
    after = shards(many)
    assert {one for one in before if before[one] != after[one]} == {str(path)}


def test_records_without_a_list_of_their_files_are_completed(many: Data) -> None:
    coco.prepare(many, "train")
    before = shards(many)
    folder = records_of(many)
    other = folder.parent / "other.txt"
    other.write_text("of another")
    for content in ("", "{", "[]", "[" * 100_000, '{"../other.txt": 3}'):
        (folder / record_files.COMPLETE).write_text(content)
        assert len(coco.prepare(many, "train").source) == 50
    assert other.exists(), "what is beside the folder is not touched"
    other.unlink()
    (folder / "dataset_info.json").write_text("")
    (folder / record_files.COMPLETE).unlink()
    assert len(coco.prepare(many, "train").source) == 50
    assert shards(many) == before


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
def test_what_says_how_records_are_read_is_completed_or_told_in_a_line(
    many: Data, name: str
) -> None:
    coco.prepare(many, "train")
    before, path = shards(many), records_of(many) / name
    for damage in (b"", path.read_bytes()[:50], None):
        path.unlink() if damage is None else path.write_bytes(damage)
        assert len(coco.prepare(many, "train").source) == 50
        assert shards(many) == before, "the records themselves are not written again"
    path.write_bytes(b"[" * path.stat().st_size)
    with pytest.raises(InputError, match=r"the records in .* are damaged .*; delete that folder"):
        coco.prepare(many, "train")


def test_a_damaged_file_of_records_is_told_in_a_line(many: Data) -> None:
    coco.prepare(many, "train")
    path = Path(next(one for one in shards(many) if "00003" in Path(one).name))
    content = bytearray(path.read_bytes())
    content[200:-200] = bytes(len(content) - 400)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"record \d+ cannot be read, its file is damaged"):
        records = coco.prepare(many, "train")
        for index in range(50):
            coco.read(records, index)


def test_records_are_found_when_the_images_are_gone(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train.json").rename(tmp_path / "annotations/instances_train.json")
    data = Data(root=str(tmp_path), records=str(tmp_path / "records"))
    first = coco.prepare(data, "train")
    shutil.rmtree(tmp_path / "images")
    assert coco.read(coco.prepare(data, "train"), 1) == coco.read(first, 1)


def test_a_split_that_is_named_or_there_in_any_form_is_never_passed_over(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    root = Data(root=str(tmp_path))
    assert not coco.has_split(root, "val")
    assert coco.has_split(Data(root=str(tmp_path), val_json="typo.json"), "val")
    (tmp_path / "annotations/instances_val.json").write_text("{")
    assert coco.has_split(root, "val")
    (tmp_path / "annotations/instances_val2017.json").write_text("{}")
    assert coco.has_split(root, "val")


# What is left out


def put(data: Data, **fields: Any) -> Data:
    return Data(**{**vars(data), **fields})


def break_two(root: Path) -> None:
    (root / "images/3.png").write_bytes(b"")
    (root / "images/30.png").unlink()


def test_unsound_images_are_left_out_and_listed_where_that_is_asked_for(
    many: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_two(tmp_path)
    with pytest.raises(InputError, match=r"1 of 50 images cannot be taken, more than data\.most_"):
        coco.prepare(put(many, faults="skip"), "train")
    data = put(many, faults="skip", most_skipped=0.05)
    records = coco.prepare(data, "train")
    kept = [i for i in range(50) if i not in (3, 30)]
    assert records.image_ids == kept
    assert len(records.source) == len(records.sizes) == 48
    assert [coco.read(records, i).instances[0].id for i in range(48)] == [1000 + i for i in kept]
    listed = json.loads((records_of(data) / record_files.LEFT_OUT).read_text())
    assert [(one["image_id"], one["annotation_ids"]) for one in listed] == [
        (30, [1030]),
        (3, [1003]),
    ]
    out = capsys.readouterr().out
    assert "1 images that cannot be read (image 3 (3.png): " in out
    assert "1 image files missing (image 30 (30.png))" in out
    before = shards(data)
    assert coco.prepare(data, "train").image_ids == kept
    out = capsys.readouterr().out
    assert "1 image files missing (image 30 (30.png))" in out
    assert "1 images that cannot be read (image 3 (3.png): " in out
    with pytest.raises(InputError, match=r"2 of 50 images cannot be taken, more than data\.most_"):
        coco.prepare(put(many, faults="skip", most_skipped=0.03), "train")
    (records_of(data) / record_files.COMPLETE).unlink()
    assert coco.prepare(data, "train").image_ids == kept
    assert shards(data) == before


def test_what_is_left_out_at_reading_and_at_decoding_counts_together(
    many: Data, tmp_path: Path
) -> None:
    break_two(tmp_path)
    message = refusal(put(many, faults="skip", most_skipped=0.03))
    assert "2 of 50 images cannot be taken, more than data.most_skipped=0.03" in message
    assert "image 30 (30.png)" in message and "image 3 (3.png)" in message


def test_records_with_linked_images_are_not_those_without(many: Data, tmp_path: Path) -> None:
    (tmp_path / "images/3.png").rename(tmp_path / "3.png")
    (tmp_path / "images/3.png").symlink_to(tmp_path / "3.png")
    coco.prepare(put(many, follow_links=True), "train")
    assert "1 images that are links out of the folder" in refusal(many)


def test_what_was_left_out_is_taken_once_it_is_mended(many: Data, tmp_path: Path) -> None:
    whole = [(tmp_path / f"images/{i}.png").read_bytes() for i in (3, 30)]
    break_two(tmp_path)
    data = put(many, faults="skip", most_skipped=0.05)
    coco.prepare(data, "train")
    for i, content in zip((3, 30), whole, strict=True):
        (tmp_path / f"images/{i}.png").write_bytes(content)
        records = coco.prepare(data, "train")
    assert records.image_ids == list(range(50))
    assert [coco.read(records, i).instances[0].id for i in range(50)] == list(range(1000, 1050))


def test_unsound_annotations_are_left_out_and_listed(many: Data, tmp_path: Path) -> None:
    content = read_json(tmp_path)
    content["annotations"][4]["image_id"] = 77
    content["annotations"][5]["category_id"] = 78
    content["annotations"].append(square(2000, 1, segmentation=[]))
    write_json(tmp_path, content)
    message = refusal(many)
    assert "1 annotations of unknown images (annotation 1004: image_id 77)" in message
    assert "1 annotations of unknown categories (annotation 1005: category_id 78)" in message
    data = put(many, faults="skip", most_skipped=0.05)
    records = coco.prepare(data, "train")
    assert [len(coco.read(records, i).instances) for i in (3, 4, 5, 6)] == [1, 0, 0, 1]
    listed = json.loads((records_of(data) / record_files.LEFT_OUT).read_text())
    assert sorted(one["annotation_ids"] for one in listed) == [[1004], [1005], [2000]]


def block(root: Path, size: tuple[int, int], segmentation: Any, **entry: Any) -> Data:
    """An image of 40 x 60 with a white block, annotated at another size."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[8:24, 12:36] = 255
    (root / "images").mkdir(parents=True)
    (root / "images/x.png").write_bytes(encode("x.png", image))
    height, width = size
    about = {"id": 1, "file_name": "x.png", "height": height, "width": width}
    one = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, **entry}
    categories = [{"id": 1, "name": "block"}]
    write_json(root, {"images": [about], "annotations": [one], "categories": categories})
    return Data(root=str(root), train_json="train.json", records=str(root / "records"))


def check_block(data: Data) -> annotations.Instance:
    records = coco.prepare(put(data, faults="repair"), "train")
    assert records.sizes.tolist() == [[40, 60]]
    record = coco.read(records, 0)
    (mask,) = rle.decode([record.instances[0].rle], 40, 60)
    np.testing.assert_array_equal(mask > 0, coco.image_of(record)[..., 0] > 0)
    return record.instances[0]


@pytest.mark.parametrize("form", ["polygon", "pairs", "runs", "list", "text"])
def test_masks_are_scaled_to_images_that_were_made_smaller(form: str, tmp_path: Path) -> None:
    polygon = [60, 40, 180, 40, 180, 120, 60, 120]
    mask = np.zeros((200, 300), np.uint8)
    mask[40:120, 60:180] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    forms = {
        "polygon": [polygon],
        "pairs": [[polygon[i : i + 2] for i in range(0, 8, 2)]],
        "runs": {"size": [200, 300], "counts": encoded["counts"].decode()},
    }
    forms |= {"list": [forms["runs"]], "text": json.dumps(forms["polygon"])}
    data = block(tmp_path, (200, 300), forms[form], bbox=[60, 40, 120, 80], area=9600)
    message = refusal(data)
    assert "is 60x40 where the JSON says 300x200" in message
    assert "data.faults=repair scales the masks" in message
    one = check_block(data)
    assert one.box == (12, 8, 36, 24)
    assert one.area == pytest.approx(9600 / 25)


def test_masks_of_turned_photos_with_the_sides_of_the_file_are_read_as_asked(
    tmp_path: Path,
) -> None:
    data = block(tmp_path, (40, 60), [[12, 8, 36, 8, 36, 24, 12, 24]])
    picture = tmp_path / "images/x.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown it is 40 wide and 60 high
    Image.open(picture).save(picture, exif=exif)
    (as_stored,) = coco.read(coco.prepare(data, "train"), 0).instances
    assert as_stored.box == (12, 8, 36, 24)
    record = coco.read(coco.prepare(put(data, stretched=True), "train"), 0)
    assert not record.as_stored and coco.image_of(record).shape == (60, 40, 3)
    (one,) = record.instances
    assert one.box == (8, 12, 24, 36)


@pytest.mark.parametrize(("factor", "is_doubtful"), [(1, True), (5, False)])
def test_masks_that_fit_a_smaller_file_as_they_are_are_scaled_with_a_doubt(
    factor: int, is_doubtful: bool, tmp_path: Path
) -> None:
    data = block(tmp_path, (200, 300), [])
    content = read_json(tmp_path)
    content["annotations"] = [
        square(number, 1, category_id=1, segmentation=[[n * factor for n in polygon]])
        for number in range(1, 7)
        for polygon in [[8 * number, 20, 8 * number + 7, 20, 8 * number + 7, 39]]
    ]
    for one in content["annotations"]:
        del one["bbox"], one["area"]
    write_json(tmp_path, content)
    found = annotations.read(
        tmp_path / "train.json", tmp_path / "images", data=put(data, faults="repair")
    )
    doubts = [str(one) for one in found.findings if "fit the files as they are too" in one.what]
    assert bool(doubts) == is_doubtful


def test_sides_that_are_exchanged_are_those_of_the_file(tmp_path: Path) -> None:
    data = block(tmp_path, (60, 40), [[12, 8, 36, 8, 36, 24, 12, 24]])
    message = refusal(data)
    assert "is 60x40 where the JSON says 40x60" in message
    assert "data.faults=repair takes theirs" in message
    check_block(data)


@pytest.mark.parametrize("segmentation", [None, [], [[]], [12, 8, 24, 16], [[12, 8, 24, 16]]])
def test_boxes_are_taken_for_masks_where_that_is_asked_for(
    segmentation: Any, tmp_path: Path
) -> None:
    data = block(tmp_path, (40, 60), segmentation, bbox=[12, 8, 24, 16])
    assert "draw masks, or take boxes for masks by data.boxes_as_masks=true" in refusal(data)
    check_block(put(data, boxes_as_masks=True))


def test_boxes_in_place_of_masks_are_scaled_as_well(tmp_path: Path) -> None:
    box = [60, 40, 120, 80]
    check_block(put(block(tmp_path, (200, 300), [box], bbox=box), boxes_as_masks=True))


# What is told from what


def test_records_are_written_anew_for_images_that_were_changed_and_no_others(
    many: Data, tmp_path: Path
) -> None:
    first = coco.prepare(many, "train")
    before = shards(many)
    path = tmp_path / "images/30.png"
    path.write_bytes(encode("x.png", paint(0, (16, 16))))
    records = coco.prepare(many, "train")
    np.testing.assert_array_equal(
        coco.image_of(coco.read(records, 30)), paint(0, (16, 16))[..., ::-1]
    )
    after = shards(many)
    assert ["00003" in name for name in before if after[name] != before[name]] == [True]
    assert records.fingerprint != first.fingerprint


def test_images_in_the_folder_that_a_command_runs_in_are_seen_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(tmp_path, (40, 60), [[12, 8, 36, 8, 36, 24, 12, 24]])
    (tmp_path / "images/x.png").rename(tmp_path / "x.png")
    monkeypatch.chdir(tmp_path)
    data = Data(root=".", train_json="train.json", train_images=".", records="records")
    coco.prepare(data, "train")
    (tmp_path / "x.png").write_bytes(encode("x.png", paint(0, (40, 60))))
    changed = coco.image_of(coco.read(coco.prepare(data, "train"), 0))
    np.testing.assert_array_equal(changed, paint(0, (40, 60))[..., ::-1])


def test_a_fingerprint_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        make_folder(tmp_path / name)
        data = put(make_folder(tmp_path / name), records=str(tmp_path / f"records of {name}"))
        found.append(coco.prepare(data, "train").fingerprint)
    assert found[0] == found[1]
    content = read_json(tmp_path / "two")
    content["annotations"][0]["bbox"][0] += 0.5
    write_json(tmp_path / "two", content)
    assert coco.prepare(data, "train").fingerprint != found[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "images.json"])
def test_records_whose_description_was_cut_are_described_anew(
    name: str, content: str, many: Data
) -> None:
    coco.prepare(many, "train")
    before = shards(many)
    (records_of(many) / name).write_text(content)
    assert len(coco.prepare(many, "train").source) == 50
    assert (name != "images.json") == any(shards(many)[one] == before[one] for one in before)


def test_a_full_disk_is_told_in_a_line(many: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    assert "the disk is full; free some, or set data.records" in refusal(many)


# Classes of the validation set


@pytest.mark.parametrize(
    ("names", "differ"),
    [
        ({50: "dining table"}, ""),
        ({3: "dining table"}, ""),
        ({50: "lamp"}, "'lamp' is category 50, which is 'dining table' there"),
        ({4: "lamp"}, "'lamp' is category 4, which is 'none' there"),
    ],
)
def test_validation_may_list_some_of_the_classes_by_names(
    names: dict[int, str], differ: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = put(make_folder(tmp_path), val_json="val.json", categories=CATEGORIES)
    content = read_json(tmp_path)
    (category_id,) = names
    content["annotations"] = [square(1, 90, category_id=category_id)]
    content["categories"] = [{"id": i, "name": name} for i, name in names.items()]
    (tmp_path / "val.json").write_text(json.dumps(content))
    if differ:
        with pytest.raises(InputError) as caught:
            coco.prepare(data, "val")
        assert differ in str(caught.value)
    else:
        records = coco.prepare(data, "val")
        assert records.categories == CATEGORIES
        assert [one.label for one in coco.read(records, 0).instances] == [1]
        moved = "1 classes have other ids than the model's" in capsys.readouterr().out
        assert moved == (category_id != 50)


def test_a_root_of_classes_that_nothing_has_is_left_out(tmp_path: Path) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    root = {"id": 0, "name": "things", "supercategory": "none"}
    content["categories"] = [
        root,
        *({**c, "supercategory": "things"} for c in content["categories"]),
    ]
    write_json(tmp_path, content)
    assert coco.prepare(data, "train").categories == CATEGORIES
    content["annotations"][0]["category_id"] = 0
    write_json(tmp_path, content)
    assert coco.prepare(data, "train").categories == (Category(0, "things"), *CATEGORIES)


@pytest.mark.parametrize(
    ("train", "val", "images"),
    [
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
        ("train.json", "validation.json", ("images", "images")),
        ("train.json", "val.json", ("train", "val")),
        ("annotations/train.json", "annotations/valid.json", ("images/train", "images/valid")),
        ("annotations.json", None, ("images", None)),
        ("_annotations.coco.json", None, ("", None)),
        ("annotations/instances_default.json", None, ("images", None)),
        ("train/annotations.json", "val/annotations.json", ("train/images", "val/images")),
        ("labels.json", None, ("data", None)),
        ("train/labels.json", "validation/labels.json", ("train/data", "validation/data")),
        (
            "annotations/instances_Train.json",
            "annotations/instances_Validation.json",
            ("images/Train", "images/Validation"),
        ),
        (
            "annotations/instances_train.json",
            "annotations/instances_valid.json",
            ("train", "valid"),
        ),
    ],
)
def test_layouts_of_other_tools_are_found(
    train: str, val: str | None, images: tuple[str, str | None], tmp_path: Path
) -> None:
    data = Data(root=str(tmp_path))
    for path, folder in zip((train, val), images, strict=True):
        if path is not None and folder is not None:
            for one in (tmp_path / path, tmp_path / folder / "x.png"):
                one.parent.mkdir(exist_ok=True, parents=True)
                one.write_text(json.dumps({"images": [{"file_name": "x.png"}]}))
    assert coco.locate(data, "train") == (tmp_path / train, tmp_path / images[0])
    assert coco.has_split(data, "val") == (val is not None)
    if val is not None and images[1] is not None:
        assert coco.locate(data, "val") == (tmp_path / val, tmp_path / images[1])
