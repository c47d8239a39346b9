import json

import cv2
import numpy as np
import pytest

from solojax.config import Config, Data
from solojax.data.records import coco
from solojax.evaluation.dataset import collisions, statistics
from tests.examples import MODEL

# Of each image: (height, width), and x, y, width, height, category, crowd of what is in it.
IMAGES = [
    ((64, 64), [(8, 8, 3, 3, 5, 0), (9, 30, 12, 12, 5, 0), (30, 8, 13, 13, 2, 0)]),
    ((64, 128), [(2, 2, 100, 60, 5, 0), (0, 0, 9, 9, 5, 1)]),
    ((32, 64), [(0, 0, 0.25, 9, 2, 0)]),
    ((32, 32), []),
]


@pytest.fixture
def data(tmp_path) -> Data:
    (tmp_path / "images").mkdir()
    entries, instances = [], []
    for i, ((height, width), here) in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), np.full((height, width, 3), 9, np.uint8))
        entries.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
        for x, y, w, h, category, crowd in here:
            polygon = [x, y, x + max(w, 1), y, x + max(w, 1), y + h, x, y + h]
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": i,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": crowd,
                    "segmentation": [polygon],
                }
            )
    content = {
        "images": entries,
        "categories": [
            {"id": 5, "name": "cell"},
            {"id": 2, "name": "dust"},
            {"id": 9, "name": "ghost"},
        ],
        "annotations": instances,
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    return Data(
        root=str(tmp_path),
        train_json="train.json",
        train_images="images",
        records=str(tmp_path / "records"),
        canvases=((64, 64), (64, 128), (128, 64)),
        test_short_side=64,
        long_side=128,
        max_instances=2,
    )


def test_numbers_are_those_counted_by_hand(data):
    records = coco.prepare(data, "train")
    found = statistics.measure(collisions.survey(records, data), records, data)
    assert found == statistics.Statistics(
        images=4,
        empty_images=1,
        full_images=1,  # the first
        instances=5,
        crowds=1,
        small=1,  # a strip of half a network pixel
        class_instances=(2, 3, 0),  # sorted by id: dust, cell, ghost
        mean=1.25,
        median=1.0,
        percentile_90=pytest.approx(2.4),
        most=3,
        # The square of 3 and the strip; the squares of 12 and 13; 100 x 60.
        histogram={2: 2, 4: 0, 8: 2, 16: 0, 32: 0, 64: 1},
        areas=(4, 1, 0),
        heights=statistics.Spread(32, 48, 64),
        widths=statistics.Spread(32, 64, 128),
        aspects=statistics.Spread(1, 1.5, 2),
        canvas_images=(2, 2, 0),
    )


def test_the_bins_of_sizes_are_closed_below_and_hold_all(data):
    sizes = np.array([0, 0.3, 1, 1.99, 2, 4, 7.99, 8], np.float32)
    assert statistics._histogram(sizes) == {0: 2, 1: 2, 2: 1, 4: 2, 8: 1}
    assert statistics._histogram(sizes[5:6]) == {4: 1}
    assert statistics._histogram(sizes[:0]) == {}
    many = np.exp(np.random.default_rng(0).uniform(-2, 8, 1000)).astype(np.float32)
    assert sum(statistics._histogram(many).values()) == 1000


def test_the_report_tells_classes_sizes_levels_and_grids(data):
    text = statistics.report(Config(model=MODEL, data=data), "train")
    assert f"{data.root} (train)" in text
    assert "4, 1 of them without instances" in text
    assert "least 32 x 32, median 48 x 64, greatest 64 x 128" in text
    assert "64x64 2 (50.0 %), 64x128 2 (50.0 %)\n" in text
    assert "3: cell 3, dust 2\n" in text and "without an instance  1: ghost\n" in text
    assert "small 4 (80.0 %), medium 1 (20.0 %), large 0 (0.0 %)" in text
    assert f"2..4        2  40.00 %  {'#' * 40}\n" in text
    assert f"64..128        1  20.00 %  {'#' * 20}\n" in text
    assert "lose their cell on all of their levels" in text
    assert "own their centre's cell on no level" in text
