import numpy as np
import pytest

from solojax.config import Category
from solojax.evaluation import evaluate
from solojax.inference.programs import Found


def test_coco_results_bear_original_ids_and_sizes():
    found = evaluate.to_coco(
        Found(np.array([0.9, 0.5], np.float32), np.array([1, 0]), [b"a", b"b"], 0),
        original_size=np.array([6, 11]),
        image_id=77,
        categories=(Category(4, "a"), Category(90, "b")),
    )
    assert [one["category_id"] for one in found] == [90, 4]
    assert {one["image_id"] for one in found} == {77}
    assert [one["score"] for one in found] == pytest.approx([0.9, 0.5])
    assert [one["segmentation"] for one in found] == [
        {"size": [6, 11], "counts": b"a"},
        {"size": [6, 11], "counts": b"b"},
    ]
