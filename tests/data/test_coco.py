"""Claims about the records written from a COCO folder."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils.epath import backend as epath_backend
from etils.epath import gpath

from solojax.config import Category, Data
from solojax.data import annotations, coco, image_files, record_files, rle
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
    content["annotations"] += [square(100, 90, segmentation=[]), square(101, 90, segmentation=[])]
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
    assert message.startswith(f"{tmp_path / 'train.json'}: {path} is ")
    assert wanted in message
    assert files_below(Path(data.records)) == {}


@pytest.mark.parametrize(("height", "width"), [(40, 30), (31, 40), (30, 39)])
def test_image_of_another_size_is_named_and_leaves_no_records(
    height: int, width: int, tmp_path: Path
) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    content["images"][0].update(height=height, width=width)
    write_json(tmp_path, content)
    message = refusal(data)
    assert f"{tmp_path / 'images' / 'b.jpg'} is 30x40 (height x width)" in message
    assert f"says {height}x{width}" in message
    assert files_below(Path(data.records)) == {}


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


def test_two_files_for_a_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train.json", "instances_train2017.json"):
        (tmp_path / "annotations" / name).write_text("{}")
    with pytest.raises(InputError, match=r"has 2 files annotations/instances_train\*\.json"):
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
    folder = records_of(Data(records=str(tmp_path / "records")))
    assert folder.name.startswith("coco-train-")
    source = tfds.builder_from_directory(str(folder)).as_data_source("train")
    assert len(source) == len(NAMES)
    assert source[1]["path"].decode() == "gs://bucket/coco/images/a.png"


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
