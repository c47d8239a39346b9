"""Claims about what is told where a score says nothing of what was found."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solojax.evaluation import score_results

WIDTH, HEIGHT = 120, 100


def scene() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A truth of eight images with two boxes in each, and results that find all of it."""
    dice = random.Random(5)
    images, instances = [], []
    for number, letter in zip(range(8), "hcafgbde", strict=True):
        name = f"{letter}.jpg"
        images.append({"id": number + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for column in (0, 60):
            x, y = column + dice.uniform(1, 20), dice.uniform(1, 60)
            box = [x, y, dice.uniform(16, 40), dice.uniform(12, 30)]
            one = {"image_id": number + 1, "category_id": dice.choice([2, 4, 6]), "bbox": box}
            instances.append({"id": len(instances) + 1, **one, "area": 500, "iscrowd": 0})
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 8)]
    truth = {"images": images, "annotations": instances, "categories": categories}
    keys = ("image_id", "category_id", "bbox")
    return truth, [{**{key: one[key] for key in keys}, "score": 0.9} for one in instances]


def score(tmp_path: Path, truth: dict[str, Any], results: list[dict[str, Any]]) -> str:
    gt, path = tmp_path / "gt.json", tmp_path / "results.json"
    gt.write_text(json.dumps(truth))
    path.write_text(json.dumps(results))
    return score_results.score_results(path, gt)


def changed(key: str, change: Callable[[Any], Any]) -> list[dict[str, Any]]:
    return [{**one, key: change(one[key])} for one in scene()[1]]


BY_NAME = [3, 6, 2, 7, 8, 4, 5, 1]  # the ids of the images in the order of their names


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (
            changed("bbox", lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
            "with their boxes as corners x0 y0 x1 y1; bbox is x, y, width, height in pixels",
        ),
        (
            changed("bbox", lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]),
            "with their boxes as a centre, width and height; ",
        ),
        (
            changed("bbox", lambda b: [b[0] / WIDTH, b[1] / HEIGHT, b[2] / WIDTH, b[3] / HEIGHT]),
            "with their boxes as parts of the image's sides; ",
        ),
        (
            changed("bbox", lambda b: [b[1], b[0], b[3], b[2]]),
            "with their boxes as x and y exchanged; see that x and y are not exchanged",
        ),
        (changed("category_id", lambda i: i - 1), "with +1 to their category_id; "),
        (changed("category_id", lambda i: i + 1), "with -1 to their category_id; "),
        (
            changed("image_id", lambda i: BY_NAME.index(i) + 1),
            "with their image_id as a place by file name, counted from 1; give results the truth's "
            "ids, or a file_name; predict with --gt does",
        ),
        (
            changed("image_id", lambda i: i % 8 + 1),
            "see that image ids, category ids and sizes are those of ",
        ),
    ],
)
def test_another_reading_that_fits_is_told(
    results: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    told = score(tmp_path, scene()[0], results).splitlines()[0]
    assert told.startswith("likely wrong: ") and said in told


def test_of_a_good_score_and_of_a_poor_one_nothing_is_told(tmp_path: Path) -> None:
    truth, results = scene()
    assert score(tmp_path, truth, results).startswith("box AP of")
    for one in results[2:]:
        one["bbox"] = [1, 1, 5, 5]
    assert score(tmp_path, truth, results).startswith("box AP of")


def test_images_without_a_common_one_are_told(tmp_path: Path) -> None:
    truth, results = scene()
    truth["images"].append({**truth["images"][0], "id": 9, "file_name": "z.jpg"})
    told = score(tmp_path, truth, [{**results[0], "image_id": 9}]).splitlines()[0]
    assert "0 of 16 instances" in told and "no image has both results and instances" in told


def test_a_truth_of_crowds_alone_is_told(tmp_path: Path) -> None:
    truth, results = scene()
    for one in truth["annotations"]:
        one["iscrowd"] = 1
    told = score(tmp_path, truth, results)
    assert "16 instances of" in told and "are crowds (iscrowd 1): AP is -1; set iscrowd" in told
    assert "  AP       -1.000" in told


def test_no_results_score_zero_and_are_told(tmp_path: Path) -> None:
    told = score(tmp_path, scene()[0], [])
    assert told.startswith("0 results: AP is 0") and "  AP        0.000" in told


def test_values_that_are_likely_none_are_told(tmp_path: Path) -> None:
    truth, results = scene()
    for one in truth["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    for one, true in zip(results, truth["annotations"], strict=True):
        one["segmentation"], one["score"] = true["segmentation"], 87.5
    results[5]["score"] = 1.0000000000000002  # a sum of shares
    results[3]["segmentation"] = [[0.1, 0.1, 0.3, 0.1, 0.3, 0.3]]
    told = score(tmp_path, truth, results)
    assert "likely wrong: 1 results have a mask without a pixel (results[3])" in told
    assert "15 results have a score outside of 0..1" in told and "(results[0]: 87.5" in told
