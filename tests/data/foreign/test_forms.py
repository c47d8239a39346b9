"""Claims about importing any form: a scene written in each comes back as it was."""

import gzip
from pathlib import Path

import pytest

from solojax.data import foreign
from solojax.data.foreign import write
from tests.data.foreign.scene import (
    bring,
    content_of,
    put_any,
    raw,
    refusal,
)


@pytest.mark.parametrize("form", foreign.FORMS)
def test_image_files_are_copied_byte_by_byte(form: str, source: Path, out: Path) -> None:
    given = {v for k, v in content_of(put_any(form, source)).items() if "mask" not in k}
    bring(form, source, out)
    images = content_of(out / "images")
    assert images
    assert set(images.values()) <= given


@pytest.mark.parametrize("form", foreign.FORMS)
def test_importing_again_gives_the_same_bytes(form: str, source: Path, out: Path) -> None:
    put_any(form, source)
    bring(form, source, out)
    once = content_of(out)
    bring(form, source, out)
    assert content_of(out) == once
    bring(form, source, out.with_name("elsewhere"))
    assert content_of(out.with_name("elsewhere")) == once


@pytest.mark.parametrize("form", foreign.FORMS)
def test_annotations_have_all_that_coco_asks_for(form: str, source: Path, out: Path) -> None:
    bring(form, put_any(form, source), out)
    content = raw(out, "val" if form == "lvis" else "train")
    keys = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"}
    assert all(set(annotation) == keys for annotation in content["annotations"])
    assert all(len(annotation["bbox"]) == 4 for annotation in content["annotations"])
    assert content["info"]["description"] == write.DESCRIPTION
    assert content["info"]["form"] == form


@pytest.mark.parametrize("form", foreign.FORMS)
def test_missing_source_is_named(form: str, source: Path) -> None:
    message = refusal(form, source)
    assert str(source) in message
    assert "no such" in message


@pytest.mark.parametrize("form", foreign.FORMS)
def test_empty_source_is_refused(form: str, source: Path) -> None:
    source.mkdir()
    assert str(source) in refusal(form, source)


@pytest.mark.parametrize("form", foreign.FORMS)
def test_damaged_image_is_named(form: str, source: Path) -> None:
    put_any(form, source)
    files = [path for path in sorted(source.rglob("*")) if path.suffix in (".jpg", ".png")]
    image = next(path for path in files if "gtFine" not in path.parts)
    image.write_bytes(b"no image")
    message = refusal(form, source)
    assert image.name in message
    assert "is no image: it seems to be text" in message


DESCRIBED = {
    "labelme": "a.json",
    "yolo": "data.yaml",
    "lvis": "lvis_v1_val.json",
    "cvat": "annotations.xml",
    "label_studio": "project.json",
    "via": "via.json",
    "supervisely": "meta.json",
}


@pytest.mark.parametrize("form", DESCRIBED)
def test_what_is_no_text_is_named_for_what_it_is(form: str, source: Path) -> None:
    (path,) = put_any(form, source).rglob(DESCRIBED[form])
    sound = path.read_bytes()
    for encoded, what in (
        (gzip.compress(sound), "a gzip archive; unpack it"),
        (b"<!DOCTYPE html>\n<p>404</p>", "a web page (HTML); download the file itself"),
    ):
        path.write_bytes(encoded)
        message = refusal(form, source)
        assert str(path) in message
        assert message.endswith(f"it seems to be {what}")
