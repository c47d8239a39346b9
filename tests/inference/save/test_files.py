"""Claims about a folder of predictions: names of their own, whole files, whatever happens."""

from pathlib import Path

import cv2
import pytest

from solojax.inference import save
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin
from solojax.types import InputError
from tests import disk
from tests.inference.save.scene import (
    CATEGORIES,
    INSTANCES,
    NONE,
    NOTHING,
    TWO,
    decode,
    frame,
    load,
    named,
    names_in,
    origin,
    write,
)


def test_nothing_found_is_the_same_structure_with_no_rows(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), NONE)], *INSTANCES, overlays=True)
    assert [row["detections"] for row in load(tmp_path / "detections.json")] == [[]]
    assert load(tmp_path / "results.json") == []
    instances = load(tmp_path / "instances.json")
    assert [image["id"] for image in instances["images"]] == [5]
    assert instances["annotations"] == []
    assert instances["categories"] == [{"id": 1, "name": "circle"}, {"id": 7, "name": "square"}]
    (task,) = load(tmp_path / "label_studio.json")
    assert [one["result"] for one in task["predictions"]] == [[]]
    assert "<mask" not in (tmp_path / "cvat.xml").read_text()
    jsons = {"detections.json", "results.json", "instances.json", "label_studio.json"}
    xmls = {"label_studio.xml", "cvat.xml"}
    assert names_in(tmp_path) == jsons | xmls | {"5.png", "5.ids.png"}
    assert not cv2.imread(str(tmp_path / "5.ids.png"), cv2.IMREAD_UNCHANGED).any()


def test_an_interruption_leaves_whole_files_of_what_came_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        with save.Files(tmp_path, NOTHING, INSTANCES, CATEGORIES) as files:
            files.add(origin(5), TWO)
            files.add(frame(0, 0.0), TWO)
            assert not (tmp_path / "detections.json").exists()
            raise KeyboardInterrupt
    assert len(load(tmp_path / "detections.json")) == 2
    assert len(load(tmp_path / "instances.json")["images"]) == 2
    assert len(decode(tmp_path / "film.mp4")) == 1
    assert not [name for name in names_in(tmp_path) if name.endswith(".part")]


def test_an_error_before_the_first_image_leaves_earlier_results_alone(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json")
    with pytest.raises(InputError):
        with save.Files(tmp_path, NOTHING, ["json"], CATEGORIES):
            raise InputError("no")
    assert len(load(tmp_path / "detections.json")) == 1
    assert names_in(tmp_path) == {"detections.json"}


def test_files_of_an_earlier_prediction_are_known(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json", "rle", "png")
    (tmp_path / "notes.txt").touch()
    with save.Files(tmp_path, NOTHING, ["json"], CATEGORIES) as files:
        assert files.left_over() == []
        files.add(origin(6), TWO)
    assert files.left_over() == [tmp_path / "5.ids.png", tmp_path / "results.json"]


def test_inputs_of_which_none_is_readable_leave_earlier_results_alone(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json", "rle", "polygons")
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)}
    with save.Files(tmp_path, NOTHING, ["json", "rle", "polygons"], CATEGORIES):
        pass
    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == before


def test_inputs_of_one_name_get_files_of_their_own() -> None:
    inputs = named("a/1.jpg", "b/1.png", "b/1-2.png", "c/1.jpg", "A/X.png", "b/x.jpg", webcams=(0,))
    assert save.name_outputs(inputs) == ["1", "1-2", "1-2-2", "1-3", "X", "x-2", "webcam0"]


def test_an_id_map_never_takes_the_name_of_an_overlay() -> None:
    assert save.name_outputs(named("a.jpg", "a.ids.jpg")) == ["a", "a.ids-2"]
    assert save.name_outputs(named("a.ids.jpg", "a.jpg")) == ["a.ids", "a-2"]
    assert save.name_outputs(named(videos=("a.mp4", "a.mp4.mov"))) == ["a", "a.mp4-2"]


def test_a_long_name_is_shortened_so_that_its_files_can_be_written(tmp_path: Path) -> None:
    (name,) = save.name_outputs(named("é" * 125 + ".jpg"))
    assert name == "é" * 100
    long = Origin("long", name, 1)
    write(tmp_path, [(long, TWO)], "png", overlays=True)
    assert names_in(tmp_path) == {f"{name}.png", f"{name}.ids.png"}


def test_many_inputs_of_one_name_take_no_quadratic_time() -> None:
    names = save.name_outputs(named(*(f"{i}/frame.jpg" for i in range(5000))))
    assert len(set(names)) == 5000


def test_the_folder_of_an_input_is_no_place_for_overlays(tmp_path: Path) -> None:
    inside = Inputs([tmp_path / "x" / "a.png"], [], [])
    save.check_folder(tmp_path, inside)
    with pytest.raises(InputError, match="is the folder of an input; choose another one"):
        save.check_folder(tmp_path / "y" / ".." / "x", inside)


@pytest.mark.parametrize(("form", "name"), [("rle", "results.json"), ("png", "5.ids.png")])
def test_a_full_disk_is_told_and_leaves_earlier_results_alone(
    form: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path, [(origin(5), TWO)], form)
    before = {one: (tmp_path / one).read_bytes() for one in names_in(tmp_path)}
    with disk.full(10), pytest.raises(InputError, match=f"{name} cannot be written: .*; see that"):
        write(tmp_path, [(origin(5), TWO)] * 200, form)
    assert {one: (tmp_path / one).read_bytes() for one in names_in(tmp_path)} == before
