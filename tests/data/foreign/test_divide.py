"""Claims about taking validation images from a set that has none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from solojax import cli
from solojax.config import Data
from solojax.data import foreign
from solojax.data.foreign.divide import divide
from solojax.data.records import coco
from solojax.types import InputError
from tests.data.foreign.scene import (
    BOX,
    bring,
    found_in,
    png,
    put,
    put_any,
    put_coco,
    put_drawing,
    raw,
    read,
    refusal,
    shape,
)


def put_set(source: Path, names: list[str], empty: int = 0) -> Path:
    for number, name in enumerate(names):
        shapes = [shape("x", BOX)] if number >= empty else []
        put_drawing(source / f"{name}.json", *shapes, image=png(number))
    return source


def names_of(source: Path, share: float = 0.2) -> dict[str, list[str]]:
    found = divide(foreign.FORMS["labelme"](source), share)
    return {split: [p.name for p in content.pictures] for split, content in found.splits.items()}


def test_a_share_of_the_images_is_taken_by_their_names_alone(source: Path) -> None:
    found = names_of(put_set(source, [f"{i:02}" for i in range(20)]))
    assert found["val"] == ["02.png", "03.png", "04.png", "06.png"]
    assert found["train"] == [f"{i:02}.png" for i in range(20) if f"{i:02}.png" not in found["val"]]
    moved = put_set(source.with_name("moved"), [f"deep/{i:02}" for i in range(20)])
    assert [name.removeprefix("deep/") for name in names_of(moved)["val"]] == found["val"]


def test_an_accent_may_be_spelt_in_two_ways(source: Path) -> None:
    rest = [f"{i}" for i in range(9)]
    one, two = (
        names_of(put_set(source / folder, [accent, *rest]), 0.5)
        for folder, accent in (("1", "\u00e9"), ("2", "e\u0301"))
    )
    assert [name for name in one["val"] if name.isascii()] == [
        name for name in two["val"] if name.isascii()
    ]


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_each_side_gets_an_image_with_instances(share: float, count: int, source: Path) -> None:
    found = names_of(put_set(source, list("abcdefgh"), empty=4), share)
    filled = {f"{name}.png" for name in "efgh"}
    assert len(filled & set(found["val"])) == count
    assert len(set(found["val"]) - filled) == round(share * 4)


def test_it_is_told(source: Path) -> None:
    found = divide(foreign.FORMS["labelme"](put_set(source, list("abcde"))), 0.2)
    (what,) = found_in(found.splits["val"], "told")
    assert what.startswith("of 5 images taken for val by a hash of their file names")
    assert found.splits["val"].categories == found.splits["train"].categories


@pytest.mark.parametrize("share", [0, 1, -0.5, 20, float("nan")])
def test_share_must_be_one(share: float, source: Path) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1, as in --val 0.2"):
        names_of(put_set(source, ["a", "b"]), share)


def test_sets_that_cannot_be_divided_are_refused(source: Path) -> None:
    with pytest.raises(InputError, match="has 1 images with instances, and to divide"):
        names_of(put_set(source, ["a", "b"], empty=1))
    with pytest.raises(InputError, match="has a val of its own; leave --val out"):
        divide(foreign.FORMS["yolo"](put_any("yolo", source / "yolo")), 0.2)


def test_images_that_are_the_same_go_to_one_side(source: Path) -> None:
    for number, name in enumerate("abcdefgh"):
        put_drawing(source / f"{name}.json", shape("x", BOX), image=png(number // 4))
    found = names_of(source, 0.25)
    assert sorted(map(len, found.values())) == [4, 4]
    assert {tuple(sorted(names)) for names in found.values()} == {
        tuple(f"{name}.png" for name in same) for same in ("abcd", "efgh")
    }
    roboflow = source.with_name("roboflow")
    for number in range(12):
        name = f"{number // 3}_jpg.rf.{number:032x}"
        put_drawing(roboflow / f"{name}.json", shape("x", BOX), image=png(number))
    found = names_of(roboflow, 0.5)
    parts = [{name[0] for name in names} for names in found.values()]
    assert not parts[0] & parts[1]
    assert [len(names) for names in found.values()] == [6, 6]


def lay_roboflow(source: Path) -> Path:
    return put_coco(source, "abcdef")


def lay_in_one_json(source: Path) -> Path:
    put_coco(source, "abcdef", "images")
    (source / "images/_annotations.coco.json").rename(source / "result.json")
    return source


def lay_in_annotations(source: Path) -> Path:
    put_coco(source, "abcdef", "images")
    path = source / "annotations/instances_default.json"
    path.parent.mkdir()
    (source / "images/_annotations.coco.json").rename(path)
    return path


@pytest.mark.parametrize("lay", [lay_roboflow, lay_in_one_json, lay_in_annotations])
def test_a_coco_folder_of_any_layout_is_divided(
    lay: Callable[[Path], Path], source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = lay(source)
    with pytest.raises(InputError) as caught:
        coco.locate(Data(root=f"{source}"), "val")
    command = f"solojax data import coco {source} OUT --val 0.2"
    assert command in str(caught.value)
    assert cli.main(["data", "import", "coco", f"{given}", f"{out}", "--val", "0.35"]) == 0
    (path,) = source.rglob("*.json")
    before = json.loads(path.read_text())
    parts = {split: raw(out, split) for split in ("train", "val")}
    assert [len(part["images"]) for part in parts.values()] == [4, 2]
    for key in ("images", "annotations"):  # nothing is another than it was
        after = [one for part in parts.values() for one in part[key]]
        assert sorted(after, key=lambda one: one["id"]) == before[key]
    assert parts["train"]["categories"] == parts["val"]["categories"] == before["categories"]
    for split in parts:
        for image in read(out, split).images:
            assert image.path.read_bytes() == next(source.rglob(image.name)).read_bytes()
    capsys.readouterr()


def test_splits_of_a_coco_folder_are_kept_and_names_may_be_the_same(
    source: Path, out: Path
) -> None:
    put_coco(source, "ab")
    put_coco(source, "ac", "valid")
    bring("coco", source, out)
    for split, names in (("train", "ab"), ("val", "ac")):
        wanted = [f"{split}/{name}.png" for name in names]
        assert [one["file_name"] for one in raw(out, split)["images"]] == wanted
    shutil.rmtree(source / "valid")
    bring("coco", source / "train/_annotations.coco.json", out.with_name("one"))
    assert "no JSON of COCO in a usual place; give the JSON itself" in refusal(
        "coco", put(source.with_name("other") / "a.png", png()).parent
    )


def test_a_damaged_coco_set_names_the_options_of_the_command(source: Path) -> None:
    path = put_coco(source, "ab") / "train/_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["image_id"] = 99
    path.write_text(json.dumps(content))
    message = refusal("coco", source)
    assert "annotations of unknown images (annotation 50: image_id 99)" in message
    assert message.endswith("or leave out what is so by --faults skip")
