"""Claims about ``solojax plan`` and ``solojax train FOLDER``."""

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from solojax import config as config_lib
from solojax.cli import main
from solojax.data import synthetic
from solojax.models.resnet import ResNet
from solojax.recipe import canvas, code, network, pace, plan, run, schedule, source
from solojax.training import checkpoint, memory, speed
from solojax.types import InputError

TINY = [
    *("data.canvases=((64,64),)", "data.test_short_side=64", "data.long_side=64"),
    *("model.backbone.width=8", "model.head.width=8", "model.head.grid.sizes=(8,4)"),
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A COCO folder with train and val."""
    folder = tmp_path_factory.mktemp("recipe") / "shapes"
    synthetic.draw_shapes(folder, train=12, val=4)
    return folder


@pytest.mark.parametrize("name", config_lib.names())
def test_every_config_is_the_same_from_its_code(name, tmp_path):
    config = config_lib.load(name)
    path = tmp_path / "again.py"
    path.write_text(code.write(config, ['Decided by "x"', "C:\\n"]))
    assert config_lib.load(path) == config
    assert max(map(len, path.read_text().splitlines())) <= 100


def test_a_plan_is_a_line_for_each_decision_and_a_config(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["plan", str(shapes), "--budget", "steps=300", "--out", "my.py"]
    assert main([*command, "--picture", "new/my.svg", "--set", "training.seed=3"]) == 0
    told = capsys.readouterr().out
    for what in ("found", "side", "network", "schedule", "canvas", "grid", "mirror", "optimizer"):
        assert sum(line[2:].startswith(what) for line in told.splitlines()) == 1, what
    config = config_lib.load(tmp_path / "my.py")
    drawn = ElementTree.parse(tmp_path / "new" / "my.svg").getroot()
    words = " ".join(drawn.itertext())
    assert "128 x 128" in words and all(
        f"{level}:" in words for level in config.model.head.grid.levels
    )
    assert config.training.steps == 300 and config.training.seed == 3
    assert config.model.head.num_classes == 5
    assert config.data.canvases == ((128, 128),)  # that of the images
    assert "Decided by `solojax plan" in (tmp_path / "my.py").read_text()
    assert not (tmp_path / "runs" / "shapes" / "config.json").exists()


def test_a_folder_without_val_is_divided_by_names(shapes, tmp_path, capsys):
    folder = tmp_path / "mine"
    shutil.copytree(shapes, folder)
    for path in (folder / "annotations").glob("*_val.json"):
        path.unlink()
    data, decisions = source.open_folder(folder, tmp_path / "run")
    assert any(one.what == "validation" and "2 images" in one.value for one in decisions)
    again, _ = source.open_folder(folder, tmp_path / "other")
    sides = [
        {one["file_name"] for one in json.loads((where / name).read_text())["images"]}
        for where in (tmp_path / "run/data/annotations", tmp_path / "other/data/annotations")
        for name in ("instances_train.json", "instances_val.json")
    ]
    assert sides[:2] == sides[2:] and not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 12


def test_a_plan_for_tiles_writes_them_and_says_how_to_predict(
    shapes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(canvas, "tile_side", lambda facts: (64, "for the test"))
    assert main(["plan", str(shapes), "--budget", "steps=9", "--out", "my.py"]) == 0
    assert "predict with --tiles 64" in capsys.readouterr().out
    data = config_lib.load(tmp_path / "my.py").data
    assert data.root == "runs/shapes/tiles" and data.canvases == ((64, 64),)
    assert len(list(Path(data.root, "images").rglob("*.jpg"))) > 4 * 16


def test_of_empty_tiles_as_many_are_trained_as_there_are_with_an_object(tmp_path):
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    (tmp_path / "set" / "images").mkdir()
    box = {"iscrowd": 0, "bbox": [4, 4, 9, 9], "area": 81}
    outline = [[4, 4, 13, 4, 13, 13, 4, 13]]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 320, "width": 320}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline, **box}],
        "categories": [{"id": 1, "name": "seed"}],
    }
    for split in ("train", "val"):
        path = tmp_path / "set" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.png"), np.zeros((320, 320, 3), np.uint8))
    data, left = source.cut(config_lib.Data(root=str(tmp_path / "set")), 64, tmp_path / "run")
    counts = {}
    for split in ("train", "val"):
        path = Path(data.root, "annotations", f"instances_{split}.json")
        cut = json.loads(path.read_text())
        full = len({one["image_id"] for one in cut["annotations"]})
        counts[split] = full, len(cut["images"])
    full, trained = counts["train"]
    assert full and trained == 2 * full
    assert counts["val"] == (full, trained + left) and left > 20  # scored as it is


def labelled_by_hand(folder):
    """A labelme set whose files have the names of splits."""
    folder.mkdir(parents=True)
    for number in range(3):
        name = f"train_{number}"
        cv2.imwrite(str(folder / f"{name}.png"), np.full((40, 50, 3), number, np.uint8))
        shape = {"label": "cat", "points": [[5, 5], [30, 5], [30, 30]], "shape_type": "polygon"}
        content = {"imagePath": f"{name}.png", "imageHeight": 40, "imageWidth": 50}
        (folder / f"{name}.json").write_text(json.dumps({**content, "shapes": [shape]}))


def test_a_set_is_found_in_a_folder_that_holds_it_alone(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "unpacked" / "inner")
    (tmp_path / "unpacked" / "__MACOSX").mkdir()
    data, (decision,) = source.open_folder(tmp_path / "unpacked", tmp_path / "run")
    assert data.root == str(tmp_path / "unpacked" / "inner") and data.root in decision.why
    with pytest.raises(InputError, match="no COCO folder"):  # of two it is neither
        (tmp_path / "unpacked" / "other").mkdir()
        source.open_folder(tmp_path / "unpacked", tmp_path / "run")


def test_a_set_that_would_be_written_into_itself_is_refused(tmp_path):
    labelled_by_hand(tmp_path / "mine")
    _, decisions = source.open_folder(tmp_path / "mine", tmp_path / "run")
    assert decisions[0].value == "labelme"
    with pytest.raises(InputError, match="start solojax from outside of it"):
        source.open_folder(tmp_path / "mine", tmp_path / "mine" / "runs" / "mine")


def test_several_jsons_of_coco_are_refused_by_name(shapes, tmp_path):
    folder = tmp_path / "mine" / "annotations"
    folder.mkdir(parents=True)
    for name in ("instances_train2014.json", "instances_train2017.json"):
        shutil.copy(shapes / "annotations" / "instances_train.json", folder / name)
    with pytest.raises(InputError, match="2 files for train"):
        source.open_folder(folder.parent, tmp_path / "run")


def test_what_no_form_reads_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no COCO folder, and nothing in it is of") as refused:
        source.open_folder(tmp_path, tmp_path / "run")
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no such folder, but a file"):
        source.open_folder(tmp_path / "notes.txt", tmp_path / "run")
    (tmp_path / "mine.json").write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(InputError, match="give --set data.train_json=mine.json"):
        source.open_folder(tmp_path, tmp_path / "run")


def test_what_is_wrong_with_a_set_is_said_by_its_own_form(tmp_path):
    labelled_by_hand(tmp_path / "mine")
    (tmp_path / "mine" / "train_1.json").write_text("{")
    told = "train_1.json cannot be parsed.* data.faults=skip .read as labelme"
    with pytest.raises(InputError, match=told):
        source.open_folder(tmp_path / "mine", tmp_path / "run")
    skipped = ["faults=skip", "most_skipped=.5"]
    data, _ = source.open_folder(tmp_path / "mine", tmp_path / "run", skipped)
    found = json.loads(Path(data.root, "annotations/instances_train.json").read_text())
    assert data.faults == "skip" and len(found["images"]) == 1


def test_labels_that_are_lost_or_likely_wrong_are_warnings(tmp_path):
    labelled_by_hand(tmp_path / "mine")
    path = tmp_path / "mine" / "train_1.json"
    content = json.loads(path.read_text())
    lost = {**content["shapes"][0], "points": [[200, 200], [230, 200], [230, 230]]}
    content["shapes"] += [lost, {**content["shapes"][0], "label": "Cat"}]
    path.write_text(json.dumps(content))
    _, decisions = source.open_folder(tmp_path / "mine", tmp_path / "run")
    warned = {one.what: one for one in decisions if one.doubtful}
    assert warned["labels lost"].value == "1 instances" and "of 5" in warned["labels lost"].why
    assert "differ by case" in warned["labels"].why


def test_a_set_in_a_folder_beside_a_readme_keeps_its_own_validation_images(tmp_path):
    for split in ("train", "val"):
        labelled_by_hand(tmp_path / "unpacked" / "set" / split)
    (tmp_path / "unpacked" / "README.txt").write_text("a set")
    _, decisions = source.open_folder(tmp_path / "unpacked", tmp_path / "run")
    assert [one.what for one in decisions] == ["data"]


def test_a_json_of_any_name_is_taken_where_it_is_given(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    shutil.copytree(shapes / "images", folder / "images")
    shutil.copy(shapes / "annotations" / "instances_train.json", folder / "of_ours.json")
    command = ["plan", str(folder), "--budget", "steps=9", "--out", "my.py", "--set"]
    assert main([*command, "data.train_json=of_ours.json"]) == 0
    told = capsys.readouterr().out
    assert "10 + 2 images" in told and "! few images" in told and "! short" in told
    data = config_lib.load(tmp_path / "my.py").data
    assert (data.root, data.train_json) == ("runs/mine/data", "")


def test_what_is_asked_of_the_data_is_known_before_the_rest_is_decided(
    shapes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = ["data.val_json=annotations/instances_train.json", "data.test_short_side=90"]
    command = ["plan", str(shapes), "--budget", "steps=9", "--out", "my.py"]
    assert main([*command, "--set", *given]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "! seen before 12 of 12 for validation" in told
    data = config_lib.load(tmp_path / "my.py").data
    assert data.canvases == ((96, 96),)  # the next that strides divide
    assert data.train_short_sides == (90,) and data.test_short_side == 90


def test_a_run_of_another_folder_is_not_gone_on_with(tmp_path):
    workdir = tmp_path / "runs" / "data"
    workdir.mkdir(parents=True)
    config = config_lib.override(config_lib.load("shapes"), f"data.root={workdir / 'data'}")
    (workdir / "config.json").write_text(config_lib.to_json(config))
    (workdir / run.SOURCE).write_text("/a/data\n")
    for folder in (tmp_path / "b" / "data", workdir / "data"):
        with pytest.raises(InputError, match="holds a run on /a/data; give another --workdir"):
            run.run(folder, workdir, plan.Wishes(schedule.Budget(steps=1)), "")


def test_the_network_is_that_of_the_weights(tmp_path):
    names = [f"layer{stage}.{block}.conv1.weight" for stage in range(1, 5) for block in range(2)]
    path = tmp_path / "resnet18.npz"
    weights = {name: np.zeros((64, 64, 3, 3), np.float32) for name in names}
    np.savez(path, **weights, **{"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)})
    networks, is_run = network.from_weights(str(path))
    assert not is_run
    assert {one.model.backbone for one in networks} == {ResNet(depth=18)}
    np.savez(path, **{name: weights[name] for name in names[:3]})
    with pytest.raises(InputError, match=r"blocks \(2, 1, 0, 0\)"):
        network.from_weights(str(path))


def test_the_network_of_a_run_is_taken_with_a_grid_for_these_data(
    shapes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = config_lib.load("nuclei")
    Path("run").mkdir()
    Path("run/config.json").write_text(config_lib.to_json(config))
    command = ["plan", str(shapes), "--budget", "steps=9", "--weights", "run", "--out", "my.py"]
    assert main([*command, "--set", "training.seed=3"]) == 0
    told = capsys.readouterr().out
    assert "as --weights has it" in told  # and not the widest of one
    assert any(
        line.split() == "given by --set training.seed=3".split() for line in told.split("\n")
    )
    planned = config_lib.load(tmp_path / "my.py")
    assert planned.model.backbone == config.model.backbone
    assert planned.model.head.grid != config.model.head.grid
    assert planned.training.pretrained == "run" and planned.training.reset_classes
    Path("run/config.json").write_text(config_lib.to_json(config_lib.load("shapes_yolact")))
    assert main(command) == 2
    assert "has no grid to fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("budget", "seconds", "side", "steps"),
    [
        ("30m", 1.0, 128, 1600),  # what the data ask for
        ("30m", 4.0, 96, 740),  # less, for the sake of views
        ("2m", 4.0, 96, 50),  # and still too few
    ],
)
def test_the_time_of_a_step_decides_how_many_and_how_large(
    budget, seconds, side, steps, shapes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "measure", lambda *_: speed.Speed(compiling=20.0, seconds=seconds))
    monkeypatch.setattr(memory, "operations", lambda config: 1e12)
    monkeypatch.setattr(canvas, "FEWER_SIDE", 96)  # of shapes that are 128 already
    assert main(["plan", str(shapes), "--budget", budget, "--out", "my.py"]) == 0
    config = config_lib.load(tmp_path / "my.py")
    assert config.data.test_short_side == side
    assert config.training.steps == steps
    told = capsys.readouterr().out
    assert ("! short" in told) == (8 * steps < pace.SCRATCH_VIEWS)
    assert ("! over budget" in told) == (steps == pace.LEAST_STEPS)


@pytest.mark.slow
def test_a_folder_is_trained_scored_and_gone_on_with(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", str(shapes), "--budget", "steps=2", "--set", *TINY]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "mask AP of runs/shapes" in told
    assert told.count("! AP50 is 0.000 at step") == 1  # of two steps' training
    workdir = tmp_path / "runs" / "shapes"
    assert {"config.json", "config.py", "eval.json", "report.html"} <= set(os.listdir(workdir))
    trained = checkpoint.read_config(workdir)
    again = config_lib.load(workdir / "config.py")
    assert config_lib.with_categories(again, trained.data.categories, trained.data.stuff) == trained
    # The config is not decided anew, and nothing is left to train.
    assert main(command) == 0
    assert "its config is taken" in capsys.readouterr().out
    elsewhere = ["train", str(tmp_path / "shapes"), "--workdir", str(workdir)]
    assert main(elsewhere) == 2
    assert "holds a run on" in capsys.readouterr().err
