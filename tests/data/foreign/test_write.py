"""Claims about writing an import: what others made stays, what is ours is whole."""

from pathlib import Path
from typing import Any

import pytest

from solojax import writing
from solojax.data.foreign import labelme, write
from solojax.types import InputError
from tests.data.foreign.scene import (
    BOX,
    bring,
    content_of,
    lost,
    png,
    put,
    put_any,
    put_drawing,
    put_yolo,
    read,
    refusal,
    shape,
)


def test_annotations_by_others_are_never_overwritten(source: Path, out: Path) -> None:
    put_any("labelme", source)
    theirs = put(out / "annotations/instances_val.json", '{"info": {"description": "mine"}}')
    with pytest.raises(InputError, match=r"instances_val\.json is not by this importer"):
        bring("labelme", source, out)
    assert list(content_of(out)) == ["annotations/instances_val.json"]
    theirs.write_text('{"info": []}')
    with pytest.raises(InputError, match="is not by this importer"):
        bring("labelme", source, out)


def test_images_by_others_are_never_overwritten(source: Path, out: Path) -> None:
    put_any("labelme", source)
    theirs = put(out / "images/a.png", b"mine")
    with pytest.raises(InputError, match=r"a\.png is there already"):
        bring("labelme", source, out)
    assert content_of(out) == {"images/a.png": b"mine"}
    theirs.write_bytes(png())
    bring("labelme", source, out)
    assert len(read(out).images) == 1


def test_val_of_an_earlier_import_goes_when_the_set_has_none(source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source), out)
    assert len(read(out, "val").images) == 1
    bring("yolo", put_yolo(source, val=None), out)
    assert not (out / "annotations/instances_val.json").exists()
    assert len(read(out).images) == 1


def test_output_within_the_source_is_refused(source: Path) -> None:
    put_any("labelme", source)
    before = content_of(source)
    link = source.with_name("link")
    link.symlink_to(source)
    pairs = [(source, source), (source, source / "x/../coco"), (source, link), (link, source / "x")]
    for given, inside in pairs:
        with pytest.raises(InputError, match="choose a folder outside of it"):
            bring("labelme", given, inside)
    assert content_of(source) == before


def test_file_that_cannot_be_written_is_named(source: Path, out: Path) -> None:
    put_any("labelme", source)
    put(out, b"a file")
    with pytest.raises(
        InputError, match=r"cannot be written: Not a directory; see that there is space"
    ):
        bring("labelme", source, out)


def test_nothing_half_written_stays(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_any("labelme", source)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writing.os, "replace", fail)
    with pytest.raises(InputError, match=r"\.png cannot be written: disk full; see that"):
        bring("labelme", source, out)
    assert content_of(out) == {}


def test_skips_are_counted_and_printed(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_any("labelme", source)
    found = labelme.read(source)
    assert lost(found.splits["train"]) == {"shape of type point": 1}
    write.write(found, out)
    path = out / "annotations/instances_train.json"
    assert capsys.readouterr().out == (
        f"{path}: 1 instances skipped: shape of type point (a.json: shapes[1]); draw a polygon, a "
        "rectangle, a circle or a mask in its place\n"
    )


def test_set_without_a_mask_tells_why(source: Path) -> None:
    message = refusal("yolo", put_yolo(source, lines="0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n"))
    assert "train has no instance with a mask (2 instances skipped: box without a mask" in message
    assert "labels/train/a.txt:2); export the set as segmentation" in message


def test_equal_images_are_told_of_and_doubted_between_splits(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_yolo(source)
    for place, seed in (("train/b", 0), ("val/c", 0), ("val/d", 7)):
        put(source / f"images/{place}.png", png(seed))
    bring("yolo", source, out)
    lines = [line for line in capsys.readouterr().out.splitlines() if "byte for byte" in line]
    assert len(lines) == 2
    assert "1 images that are another one, byte for byte (train: train/b.png is " in lines[0]
    assert "likely wrong: 1 images" in lines[1]
    assert "(val: val/c.png is train: train/a.png)" in lines[1]


def test_file_names_may_be_as_long_as_they_can_be(source: Path, out: Path) -> None:
    name = "ü" * 125  # 250 bytes, 254 with its ending
    put_drawing(source / "a.json", shape("x", BOX), image=b"", imagePath=f"{name}.png")
    put(source / f"{name}.png", png())
    bring("labelme", source, out)
    assert list(content_of(out / "images")) == [f"{name}.png"]
