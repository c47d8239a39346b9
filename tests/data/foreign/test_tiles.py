"""Claims about sets that are cut into tiles."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax import config
from solojax.cli import main
from solojax.data.records import coco


@pytest.fixture
def folder(tmp_path):
    """Two images of 200 x 300 with squares: one whole in a corner, one across the middle."""
    rng = np.random.default_rng(0)
    (tmp_path / "set" / "images").mkdir(parents=True)
    boxes = ([4, 6, 30, 20], [112, 20, 40, 40])  # x y width height
    names = ("a.png", "b.jpg")
    for name in names:
        picture = rng.integers(0, 40, (200, 300, 3), np.uint8)
        for x, y, width, height in boxes:
            picture[y : y + height, x : x + width] = 200
        cv2.imwrite(str(tmp_path / "set" / "images" / name), picture)
    images = [
        {"id": number, "file_name": name, "width": 300, "height": 200}
        for number, name in enumerate(names, 7)
    ]
    annotations = [
        {
            "id": 10 * image["id"] + place,
            "image_id": image["id"],
            "category_id": 3,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            "bbox": [x, y, w, h],
            "area": w * h,
            "iscrowd": 0,
        }
        for image in images
        for place, (x, y, w, h) in enumerate(boxes)
    ]
    about = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "s"}]}
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(about))
    return tmp_path / "set"


def test_tiles_show_what_lies_in_them_and_slivers_are_no_instances(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "import", "coco", str(folder), str(out), "--tiles", "128"]) == 0
    assert "2 images were cut into" in capsys.readouterr().out
    data = config.Data(root=str(out), records=str(tmp_path / "records"))
    records = coco.prepare(data, "train")
    sizes, whole, slivers = set(), 0, 0
    for index in range(len(records.image_ids)):
        record = coco.read(records, index)
        sizes.add(tuple(records.sizes[index].tolist()))
        picture = coco.image_of(record)
        for one in record.instances:
            mask = coco_mask.decode({"size": list(picture.shape[:2]), "counts": one.rle}) > 0
            assert picture[mask].mean() > 190 and one.area == mask.sum()
            assert picture[~mask & (picture.mean(2) > 120)].size < 3 * 1600  # the other square
            whole += not one.is_crowd and mask.sum() in (600, 1600)
            slivers += one.is_crowd
            assert one.is_crowd == (mask.sum() < 800 and mask.sum() != 600)
    assert sizes == {(128, 128)} and len(records.image_ids) == 12
    # Of each image: one in a corner, seen once or by overlapping tiles, and one across a border.
    assert whole >= 4 and slivers >= 2


def test_what_is_no_larger_than_a_tile_stays_byte_for_byte(folder, tmp_path):
    out = tmp_path / "out"
    assert main(["data", "import", "coco", str(folder), str(out), "--tiles", "300"]) == 0
    for name in ("a.png", "b.jpg"):
        assert (out / "images" / name).read_bytes() == (folder / "images" / name).read_bytes()


def test_a_tile_of_no_size_is_refused(folder, tmp_path, capsys):
    assert main(["data", "import", "coco", str(folder), str(tmp_path / "out"), "--tiles", "9"]) == 2
    assert "tiles of 9 pixels" in capsys.readouterr().err
