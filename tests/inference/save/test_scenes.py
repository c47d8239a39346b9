"""Claims about the files of whole scenes: a scoring of them finds what was written."""

from pathlib import Path

import numpy as np
import pytest

from solojax import cli
from solojax.data.panoptic_ids import Segment
from solojax.inference import save
from solojax.types import InputError
from tests.inference.save.scene import (
    box,
    frame,
    load,
    named,
    names_in,
    origin,
    scene_of,
    write,
)

IDS = np.int32(70_000) * box(2, 3, 12, 9) + 2 * box(0, 12, 30, 20)
SEGMENTS = (Segment(70_000, 1), Segment(2, 2), Segment(9, 0))  # the last one has no pixel


def test_what_was_written_scores_one_against_itself(tmp_path: Path, capsys) -> None:
    scene = scene_of(IDS.astype(np.int32), SEGMENTS)
    inputs = named("in/5.jpg", videos=("film.mov",))
    pairs = [(origin(5), scene), (frame(0, 0.0), scene)]
    write(tmp_path, pairs, "labels", "panoptic", inputs=inputs)
    content = load(tmp_path / "panoptic.json")
    assert content["categories"][1:] == [
        {"id": 7, "name": "square", "isthing": 1},
        {"id": 2, "name": "sky", "isthing": 0},
    ]
    assert content["annotations"][0] == {
        "image_id": 5,
        "file_name": "5.png",
        "segments_info": [
            {"id": 2, "category_id": 2, "area": 240, "bbox": [0, 12, 30, 8], "iscrowd": 0},
            {"id": 70_000, "category_id": 7, "area": 60, "bbox": [2, 3, 10, 6], "iscrowd": 0},
        ],
    }
    film = {"film/000000.jpg", "film/000000.labels.png", "panoptic/film/000000.png"}
    ours = {"panoptic.json", "panoptic/5.png", "5.labels.png"}
    assert names_in(tmp_path) == film | ours
    for results in (tmp_path / "panoptic.json", tmp_path):
        truth = str(tmp_path / "panoptic.json")
        assert cli.main(["eval", "--results", str(results), "--gt", truth]) == 0
        assert "mIoU        1.000" in (told := capsys.readouterr().out)
        assert ("PQ        1.000    1.000    1.000" in told) == (results != tmp_path)


@pytest.mark.parametrize("form", ["labels", "panoptic"])
def test_instances_alone_are_no_scene(form: str) -> None:
    with pytest.raises(InputError, match=f"--save {form} needs a network that"):
        save.check_able([form], finds_instances=True, labels_pixels=False)
