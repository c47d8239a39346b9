import json

import cv2
import numpy as np
import pytest

from solojax import cli
from solojax.config import Data
from solojax.data import coco
from solojax.evaluation import collisions
from solojax.heads.grid import Grid

GRID = Grid(levels=("p2", "p3"), strides=(8, 8), sizes=(8, 4), scale_ranges=((1, 24), (16, 48)))
# x, y, width, height; the image is 64 x 64 and stays so.
PAIR = [(8, 8, 12, 12), (9, 9, 12, 12)]  # one centre cell, on p2 alone
BOTH_LEVELS = [(8, 8, 20, 20), (40, 40, 20, 20)]  # apart on both
HALF = [(8, 8, 20, 20), (17, 8, 20, 20)]  # one column of p3, two of p2
GIANT = [(2, 2, 60, 60)]  # on no level


@pytest.fixture
def root(tmp_path):
    images = [PAIR, BOTH_LEVELS, HALF, GIANT, []]
    (tmp_path / "images").mkdir()
    for i in range(len(images)):
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), np.full((64, 64, 3), 9, np.uint8))
    boxes = [(i, box) for i, here in enumerate(images) for box in here]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 64, "width": 64}
            for i in range(len(images))
        ],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [
            {
                "id": number + 1,
                "image_id": image,
                "category_id": 1,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for number, (image, (x, y, w, h)) in enumerate(boxes)
        ],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    return tmp_path


def data_of(root) -> Data:
    return Data(
        root=str(root),
        train_json="train.json",
        train_images="images",
        records=str(root / "records"),
        canvases=((64, 64),),
        test_short_side=64,
        long_side=64,
        max_instances=2,
    )


def test_instances_are_counted_by_level_and_by_what_they_lose(root):
    data = data_of(root)
    counts = collisions.count(coco.prepare(data, "train"), data, GRID)
    assert counts == collisions.Counts(
        instances=7,
        unassigned=1,  # the giant
        lost=1,  # the first of the pair
        level_instances=(6, 4),
        level_lost=(1, 1),  # the first of the pair; the first of the half, whose p2 cell is its own
        dropped=0,
    )
    table = collisions.table(GRID, counts)
    assert "p3       4x4" in table and "1  25.00 %" in table and "1..24" in table


def test_instances_beyond_the_limit_are_told(root):
    data = data_of(root)
    records = coco.prepare(data, "train")
    few = Data(**{**vars(data), "max_instances": 1})
    counts = collisions.count(records, few, GRID)
    assert (counts.instances, counts.dropped, counts.lost) == (4, 3, 0)


def test_the_command_prints_the_table(root, capsys):
    config = root / "config.py"
    config.write_text(
        f"""
from solojax.config import Config, Data
from solojax.heads.grid import Grid
from tests import examples
config = Config(
    model=examples.MODEL.clone(head=examples.MODEL.head.clone(grid={GRID!r})),
    data={data_of(root)!r},
)
"""
    )
    assert cli.main(["data", "stats", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert f"5 images of {root} (train), their short side 64 pixels" in printed
    assert "lose their cell on all of their levels" in printed
