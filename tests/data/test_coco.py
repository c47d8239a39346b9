"""Claims about the records written from a COCO folder."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solojax.config import Category, Data
from solojax.data import annotations, coco
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


def test_skipped_instances_are_told_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path)
    content = read_json(tmp_path)
    content["annotations"] += [square(100, 90, segmentation=[]), square(101, 90, segmentation=[])]
    write_json(tmp_path, content)
    coco.prepare(data, "train")
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{tmp_path / 'train.json'}: 2 instances skipped: no polygon of three finite points"
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda encoded: b"",
        lambda encoded: encoded[: len(encoded) // 2],
        lambda encoded: encoded[: len(encoded) * 9 // 10],
        lambda encoded: bytes(np.random.default_rng(0).bytes(len(encoded))),
        lambda encoded: b"<html><body>404 not found</body></html>",
        lambda encoded: bomb(),
    ],
    ids=["empty", "cut at half", "cut near the end", "random", "page", "bomb"],
)
@pytest.mark.parametrize("name", ["b.jpg", "a.png", "deep/x/z.jpg"])
def test_damaged_image_is_named_and_leaves_no_records(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data = make_folder(tmp_path)
    path = tmp_path / "images" / name
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(data) == f"{path} is damaged or no image"
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
    decode, calls = coco.decode_image, []

    def interrupt(encoded: bytes) -> np.ndarray | None:
        calls.append(encoded)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decode(encoded)

    monkeypatch.setattr(coco, "decode_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        coco.prepare(data, "train")
    records = coco.prepare(data, "train")
    assert len(records.source) == len(NAMES)
    assert len(calls) == 4 + len(NAMES)


def test_missing_json_is_named(tmp_path: Path) -> None:
    message = refusal(Data(root=str(tmp_path / "nothing"), records=str(tmp_path / "records")))
    assert "instances_train2017.json: no such file; set data.root" in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("encoded", [b"", b"abc", bomb()], ids=["empty", "text", "bomb"])
def test_bytes_that_are_no_image_decode_to_none(encoded: bytes) -> None:
    assert coco.decode_image(encoded) is None


def test_damaged_record_names_the_image() -> None:
    with pytest.raises(InputError, match=r"the record of x/1\.jpg is damaged"):
        coco.image_of(coco.Record(b"", "x/1.jpg", []))
