"""Claims about files for labelling tools: what a person accepts there is the very mask again."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from solojax.data import rle
from solojax.data.foreign import label_studio_brush
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from solojax.types import InputError
from tests.data.foreign.scene import bring, masks, read
from tests.inference.save.scene import NONE, TWO, box, frame, load, result_of, write

SIZE = 20, 30
DIAGONAL = np.eye(*SIZE, dtype=np.uint8)
RING = box(1, 2, 30, 20) - box(6, 6, 14, 14)
FOUND = [box(0, 0, 30, 20), box(29, 19, 30, 20), RING, DIAGONAL, box(0, 7, 30, 9), 1 - DIAGONAL]


def put_images(root: Path) -> list[tuple[Origin, Result]]:
    """Two images, whose names are not plain, with what was found in them."""
    paths = [root / "a & <b> 50%.png", root / "deeper" / "ä+c.png"]
    (root / "deeper").mkdir(parents=True)
    for path in paths:
        cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
    first, second = (Origin(str(path), path.stem, k) for k, path in enumerate(paths))
    return [(first, result_of(FOUND)), (second, NONE)]


def accept(path: Path) -> None:
    """Makes annotations of predictions, as Label Studio does when they are submitted."""
    tasks = load(path)
    for task in tasks:
        (prediction,) = task.pop("predictions")
        task["annotations"] = [{"result": prediction["result"]}]
    path.write_text(json.dumps(tasks))


@pytest.mark.parametrize("form", ["label-studio", "cvat"])
def test_what_is_accepted_is_bit_for_bit_what_was_found(form: str, tmp_path: Path) -> None:
    root, out = tmp_path / "images", tmp_path / "out"
    pairs = put_images(root)
    write(out, pairs, form, inputs=Inputs([Path(o.file) for o, _ in pairs], [], []))
    name = {"label-studio": "label_studio.json", "cvat": "cvat.xml"}[form]
    (root / name).write_bytes((out / name).read_bytes())
    if form == "label-studio":
        accept(root / name)
    bring(form.replace("-", "_"), root / name, tmp_path / "set")
    back = read(tmp_path / "set")
    assert [category.name for category in back.categories] == ["circle", "square"]
    full, empty = back.images
    np.testing.assert_array_equal(masks(full), FOUND)
    labels = [instance.label for instance in full.instances]
    assert labels == [0, 1, 0, 1, 0, 1] and not empty.instances


@pytest.mark.parametrize("form", ["label-studio", "cvat"])
def test_frames_are_files_to_label(form: str, tmp_path: Path) -> None:
    films = Inputs([], [Path("film.mov")], [])
    write(tmp_path, [(frame(0, 0.0), NONE), (frame(4, 0.4), TWO)], form, inputs=films)
    if form == "label-studio":
        names = [task["data"]["image"] for task in load(tmp_path / "label_studio.json")]
        names = [name.removeprefix("/data/local-files/?d=") for name in names]
    else:
        images = ElementTree.parse(tmp_path / "cvat.xml").getroot().findall("image")
        assert [image.get("id") for image in images] == ["0", "4"]
        names = [image.get("name") for image in images]
    assert names == ["film/000000.jpg", "film/000004.jpg"]
    assert all((tmp_path / name).is_file() for name in names)


def test_predictions_are_of_the_interface_beside_them(tmp_path: Path) -> None:
    write(tmp_path, [(Origin("5.jpg", "5", 5), TWO)], "label-studio")
    view = ElementTree.parse(tmp_path / "label_studio.xml").getroot()
    image, labels = view.find("Image"), view.find("BrushLabels")
    assert image.get("value") == "$image" and labels.get("toName") == image.get("name")
    assert [label.get("value") for label in labels] == ["circle", "square"]
    (prediction,) = load(tmp_path / "label_studio.json")[0]["predictions"]
    for region, name, score in zip(prediction["result"], TWO.names, TWO.scores, strict=True):
        assert (region["from_name"], region["to_name"]) == (labels.get("name"), image.get("name"))
        assert region["value"]["brushlabels"] == [name] and region["score"] == score
    assert prediction["score"] == pytest.approx(TWO.scores.mean())


def test_cvat_has_better_ones_on_top(tmp_path: Path) -> None:
    write(tmp_path, [(Origin("5.jpg", "5", 5), TWO)], "cvat")
    (image,) = ElementTree.parse(tmp_path / "cvat.xml").getroot().findall("image")
    assert [mask.get("z_order") for mask in image] == ["2", "1"]


def test_what_xml_cannot_write_makes_no_broken_file(tmp_path: Path) -> None:
    write(tmp_path, [(Origin("a\x01\udcff.jpg", "a", 5), NONE)], "cvat")
    (image,) = ElementTree.parse(tmp_path / "cvat.xml").getroot().findall("image")
    assert image.get("name") == "a\ufffd\ufffd.jpg"


def test_brushes_of_long_runs_are_read_again() -> None:
    size = 700, 300
    mask = np.zeros(size, np.uint8)
    mask[200:500] = 1
    (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), size)
    drawn = label_studio_brush.write_brush(counts, size)
    np.testing.assert_array_equal(label_studio_brush.read_brush(drawn, size, ""), mask)


def test_an_image_beyond_brushes_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(label_studio_brush, "MOST_PIXELS", 599)
    with pytest.raises(InputError, match=r"5.jpg is too large for Label Studio's brush, 30x20"):
        write(tmp_path, [(Origin("5.jpg", "5", 5), TWO)], "label-studio")
