"""Claims about ``solojax data check``: what it finds in a folder, and its exit code."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solojax.cli import main
from solojax.config import Data
from solojax.data import annotations, check
from solojax.data.health import checksums

SIDES = (40, 60)  # height and width


def make(root: Path, split: str = "train", first: int = 0) -> dict[str, Any]:
    """Four images of noise with a triangle each."""
    draw = np.random.default_rng(first)
    (root / "images").mkdir(parents=True, exist_ok=True)
    images, entries = [], []
    for number in range(first, first + 4):
        pixels = draw.integers(0, 256, (*SIDES, 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{number}.jpg"), pixels)
        images.append(
            {"id": number, "file_name": f"{number}.jpg", "height": SIDES[0], "width": SIDES[1]}
        )
        entries.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": 1,
                "segmentation": [[5, 5, 35, 10, 20, 30]],
                "bbox": [5, 5, 30, 25],
                "area": 337.5,
                "iscrowd": 0,
            }
        )
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "a"}]}
    put(root, content, split)
    return content


def put(root: Path, content: dict[str, Any], split: str = "train") -> None:
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def found(root: Path, **how: bool) -> dict[str, tuple[str, str, int]]:
    """What was found -> split, effect and how often."""
    report = check.folder(Data(root=str(root)), **how)
    return {one.what: (split, one.effect, one.count) for split, one in report.findings}


def test_of_a_sound_folder_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    make(tmp_path, "val", 10)
    assert main(["data", "check", str(tmp_path), "--decode"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [one.split(": ")[-1] for one in told[:2]] == ["4 images, 4 instances, 1 classes"] * 2
    assert told[2] == "lost: 0, doubtful: 0, repaired: 0, told: 0"


def test_what_is_wrong_is_in_the_table_and_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make(tmp_path)
    for entry in content["annotations"]:
        entry["iscrowd"] = 1
    put(tmp_path, content)
    assert main(["data", "check", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 1
    assert "of 4 instances are crowds" in capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    (one,) = report["findings"]
    assert (report["code"], one["split"], one["effect"], one["count"]) == (
        1,
        "train",
        "doubtful",
        4,
    )
    assert one["places"][0] == "annotation 1 of image 0" and "iscrowd" in one["cure"]


def test_what_cannot_be_read_is_told_and_the_other_split_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    (tmp_path / "annotations" / "instances_val.json").write_text("[]")
    assert main(["data", "check", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "train: " in told.out and "instances_val.json" in told.err


def test_files_that_are_no_images_cut_or_of_other_sides_are_lost(tmp_path: Path) -> None:
    make(tmp_path)
    images = tmp_path / "images"
    (images / "0.jpg").write_text("<html>404</html>")
    (images / "1.jpg").write_bytes((images / "1.jpg").read_bytes()[:-40])
    cv2.imwrite(str(images / "2.jpg"), np.zeros((*SIDES[::-1], 3), np.uint8))
    told = found(tmp_path)
    assert told["image files cannot be read"] == ("train", "lost", 2)
    assert told["image files have other sides than the JSON says"] == ("train", "lost", 1)


def test_bytes_that_changed_are_found_by_the_second_check_with_hash(tmp_path: Path) -> None:
    make(tmp_path)
    (told,) = found(tmp_path, hashes=True).values()
    assert told == ("both", "told", 4)
    assert found(tmp_path, hashes=True) == {}
    path = tmp_path / "images" / "2.jpg"
    encoded = bytearray(path.read_bytes())
    encoded[-30] ^= 1  # a bit of the pixels: it decodes all the same
    path.write_bytes(encoded)
    for _ in range(2):  # until it is mended
        report = check.folder(Data(root=str(tmp_path)), hashes=True)
        ((_, one),) = report.findings
        assert (one.effect, one.places) == ("doubtful", ("images/2.jpg",))
    assert f"  {one.places[0]}\n" in (tmp_path / checksums.NAME).read_text()


def test_names_of_any_letters_are_compared_as_sha256sum_does(tmp_path: Path) -> None:
    content = make(tmp_path)
    for image, name in zip(content["images"], ("a\nb", "c\rd", "e\x85f", " g"), strict=True):
        old = tmp_path / "images" / image["file_name"]
        image["file_name"] = f"{name}.jpg"
        old.rename(old.with_name(image["file_name"]))
    put(tmp_path, content)
    assert len(found(tmp_path, hashes=True)) == 1
    assert found(tmp_path, hashes=True) == {}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", checksums.NAME], cwd=tmp_path, check=True)


def test_a_list_of_checksums_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    (tmp_path / "sums").write_text("once upon a time\n")
    assert main(["data", "check", str(tmp_path), "--checksums", str(tmp_path / "sums")]) == 2
    assert f"{tmp_path / 'sums'}: line 1 is no checksum" in capsys.readouterr().err


def test_images_of_train_in_val_are_found_by_their_bytes(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, "val", 10)
    shutil.copy(tmp_path / "images" / "1.jpg", tmp_path / "images" / "12.jpg")
    shutil.copy(tmp_path / "images" / "1.jpg", tmp_path / "images" / "2.jpg")
    assert found(tmp_path) == {}
    told = found(tmp_path, hashes=True)
    assert told["images are there twice, under other names"] == ("both", "doubtful", 1)
    (leak,) = [
        one for what, one in told.items() if what.startswith("images are in train and in val")
    ]
    assert leak == ("both", "doubtful", 1)


def test_one_file_in_both_splits_is_found_without_its_bytes(tmp_path: Path) -> None:
    put(tmp_path, make(tmp_path), "val")
    ((what, one),) = found(tmp_path).items()
    assert what.startswith("images are in train and in val") and one == ("both", "doubtful", 4)


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ({"id": 1, "name": "b"}, "1 is '\u00c4' in train, 'b' in val"),
        ({"id": 1, "name": "\u00e4"}, "1 is '\u00c4' in train, '\u00e4' in val"),
        ({"id": 2, "name": "\u00e4"}, "'\u00c4' is 1 in train, '\u00e4' is 2 in val"),
        ({"id": 2, "name": "A\u0308"}, "'\\xc4' and 'A\\u0308' in ASCII"),
    ],
)
def test_classes_that_differ_between_the_splits_are_told(
    category: dict[str, Any], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make(tmp_path)
    content["categories"] = [{"id": 1, "name": "\u00c4"}]
    put(tmp_path, content)
    content = make(tmp_path, "val", 10)
    for entry in content["annotations"]:
        entry["category_id"] = category["id"]
    content["categories"] = [category]
    put(tmp_path, content, "val")
    told = found(tmp_path)
    records = f"data.records={tmp_path / 'records'}"
    assert main(["data", "prepare", str(tmp_path), "--set", records]) == 0
    assert text in capsys.readouterr().out
    assert told["classes differ between train and val"] == ("both", "doubtful", 1)
    assert told["classes have instances in val and none in train"] == ("both", "told", 1)


def test_files_that_nothing_names_are_told(tmp_path: Path) -> None:
    make(tmp_path)
    images = tmp_path / "images"
    shutil.copy(images / "1.jpg", images / "other.jpg")
    for name in ("1.txt", "LICENSE.txt", "settings.json", "notes.xml", "scan.dcm", ".DS_Store"):
        (images / name).touch()
    (images / "gone.txt").write_text("0 .5 -.5 .1 1e-2\n")
    (images / "gone.json").write_text('{"version": "5.0", "shapes": []}')
    told = found(tmp_path)
    assert {what: one[1:] for what, one in told.items()} == {
        "images that no JSON names, and nothing reads": ("told", 1),
        "files of labels beside their images, which nothing reads": ("told", 1),
        "files of labels without an image, which nothing reads": ("told", 2),
        "files are medical volumes (.dcm) and not read": ("told", 1),
    }


def test_what_is_read_or_left_out_is_not_called_unread(tmp_path: Path) -> None:
    content = make(tmp_path)
    images = tmp_path / "images"
    (images / "1.jpg").rename(images / "x.jpg")  # left out: it is in two folders
    for folder in ("a", "b"):
        (images / folder).mkdir()
        shutil.copy(images / "x.jpg", images / folder / "1.jpg")
    content["images"][2]["file_name"] = "x.jpg"
    (images / "2.jpg").unlink()
    (tmp_path / "annotations" / "instances_train.json").unlink()
    (images / "_annotations.coco.json").write_text(json.dumps(content))
    data = Data(
        root=str(tmp_path), train_json="images/_annotations.coco.json", train_images="images"
    )
    report = check.folder(data)
    assert not report.unread
    assert not [one for _, one in report.findings if "nothing reads" in one.what]


def test_decoding_finds_damage_and_values_that_are_almost_none(tmp_path: Path) -> None:
    content = make(tmp_path)
    images = tmp_path / "images"
    deep = np.random.default_rng(0).integers(0, 2, (*SIDES, 3)).astype(np.uint16)
    deep[0, 0] = 65535  # in sixteen bits, of which the rest is black
    cv2.imwrite(str(images / "3.png"), deep)
    content["images"][3]["file_name"] = "3.png"
    cv2.imwrite(str(images / "2.jpg"), np.zeros((*SIDES, 3), np.uint8))
    encoded = bytearray((images / "1.jpg").read_bytes())
    encoded[-300:-2] = bytes(298)
    (images / "1.jpg").write_bytes(encoded)
    os.remove(images / "3.jpg")
    put(tmp_path, content)
    assert found(tmp_path) == {}
    told = found(tmp_path, decode=True)
    assert told["images have the same value everywhere"] == ("train", "told", 1)
    assert any("nearly black" in what and one[1] == "doubtful" for what, one in told.items())


def test_an_import_tells_what_is_wrong_with_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "ab":
        cv2.imwrite(str(source / f"{name}.png"), np.zeros((*SIDES, 3), np.uint8))
        shape = {"label": "x", "shape_type": "polygon", "points": [[70, 20], [170, 20], [70, 80]]}
        shapes = [shape, {**shape, "points": [[20, 10], [150, 20], [70, 38]]}]
        about = {"imagePath": f"{name}.png", "imageHeight": SIDES[0], "imageWidth": SIDES[1]}
        (source / f"{name}.json").write_text(json.dumps({**about, "shapes": shapes}))
    assert main(["data", "import", "labelme", str(source), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "likely wrong: 2 of 2 instances have points outside of their image" in told


def test_one_file_of_two_images_is_told(tmp_path: Path) -> None:
    content = make(tmp_path)
    content["images"][1]["file_name"] = "0.jpg"
    put(tmp_path, content)
    assert found(tmp_path) == {
        "image files are named by several images": ("train", "doubtful", 1),
        "images that no JSON names, and nothing reads": ("both", "told", 1),
    }
    json_path = tmp_path / "annotations/instances_train.json"
    (told,) = annotations.read(json_path, tmp_path / "images").findings  # as prepare tells it
    assert told.places == ("images 0 and 1 (0.jpg)",)
