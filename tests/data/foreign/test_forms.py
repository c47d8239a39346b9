"""Claims about importing any form: a scene written in each comes back as it was."""

import gzip
import json
from pathlib import Path

import pytest

from solojax import cli
from solojax.data import foreign
from solojax.data.foreign import write
from solojax.types import InputError
from tests.data.foreign.scene import (
    BOX,
    blobs,
    bring,
    content_of,
    lenient,
    png,
    put,
    put_any,
    put_city,
    put_coco,
    put_drawing,
    put_pairs,
    put_yolo,
    raw,
    refusal,
    shape,
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
    "coco": "_annotations.coco.json",
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
        assert f"it seems to be {what}" in message


def spoil(form: str, source: Path) -> tuple[Path, Path]:
    """A set of two images with one spoilt image or label file; that file, and the image."""
    match form:
        case "yolo":
            put(source / "images/train/b.png", png(7))
            put(source / "labels/train/b.txt", "0 .1 .1 .2\n")
            return source / "labels/train/b.txt", source / "images/train/b.png"
        case "labelme":
            put_drawing(source / "b.json", shape("cat", BOX), image=png(7))
            put(source / "b.json", "{")
            return source / "b.json", source / "b.png"
        case "cityscapes":
            put_city(source, blobs(24000), city="bonn")
            (image,) = source.rglob("bonn*leftImg8bit.png")
        case "pairs" | "labels":
            put_pairs(source, blobs(5), "b")
            image = source / "images/b.jpg"
        case "cvat":
            path = source / "annotations.xml"
            text = path.read_text()
            start, end = text.index("<image"), text.index("</image>") + len("</image>")
            another = text[start:end].replace("a.png", "b.png")
            path.write_text(text[:end] + another + text[end:])
            image = put(source / "images/b.png", png(7))
        case "label_studio":
            path = source / "project.json"
            (task,) = json.loads(path.read_text())
            another = json.loads(json.dumps(task).replace("a.png", "b.png"))
            path.write_text(json.dumps([task, another]))
            image = put(source / "b.png", png(7))
        case "via":
            path = source / "via.json"
            content = json.loads(path.read_text())
            content |= json.loads(json.dumps(content).replace("a.png", "b.png"))
            path.write_text(json.dumps(content))
            image = put(source / "b.png", png(7))
        case "supervisely":
            (path,) = source.rglob("a.png.json")
            put(path.with_name("b.png.json"), path.read_bytes())
            image = put(path.parents[1] / "img/b.png", png(7))
        case "coco":
            put_coco(source, "ab")
            image = source / "train/b.png"
        case _:
            (path,) = source.glob("lvis*_val.json")
            content = json.loads(path.read_text())
            one = content["images"][0]
            content["images"].append({**one, "id": 5, "coco_url": "", "file_name": "val2017/b.jpg"})
            path.write_text(json.dumps(content))
            image = put(source / "val2017/b.jpg", png(7))
    image.write_bytes(b"no image")
    return image, image


@pytest.mark.parametrize("form", foreign.FORMS)
def test_what_is_damaged_is_left_out_and_listed_where_that_is_asked_for(
    form: str, source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_any(form, source)
    path, image = spoil(form, source)
    message = refusal(form, source)
    assert str(path) in message
    assert message.endswith(", or leave out what is so by --faults skip")
    bring(form, source, out, lenient(0.5))
    told = capsys.readouterr().out
    assert f"1 images left out ({path}" in told
    (one,) = json.loads((out / "annotations/left_out.json").read_text())
    assert str(path) in one["reason"]
    split = "val" if form == "lvis" else "train"
    names = [entry["file_name"] for entry in raw(out, split)["images"]]
    assert names and not any(image.name == name.rpartition("/")[2] for name in names)
    with pytest.raises(InputError, match=r"1 of \d images cannot be taken, .* --most-skipped 0.1"):
        bring(form, source, out.with_name("refused"), lenient(0.1))


def test_a_set_that_was_mended_has_no_list_of_what_is_left_out(source: Path, out: Path) -> None:
    path, _ = spoil("yolo", put_yolo(source))
    cli.main(["data", "import", "yolo", f"{source}", f"{out}", "--faults=skip", "--most-skipped=1"])
    assert (out / "annotations/left_out.json").exists()
    path.write_text("")
    cli.main(["data", "import", "yolo", f"{source}", f"{out}"])
    assert not (out / "annotations/left_out.json").exists()
    assert len(raw(out)["images"]) == 2
