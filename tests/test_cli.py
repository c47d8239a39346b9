"""Claims about the command line: what a user got wrong ends with one line and exit code 2."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax import cli
from solojax import config as config_lib
from solojax.data import rle, throughput
from solojax.data.records import coco
from solojax.evaluation import evaluate
from solojax.evaluation.metrics import coco as coco_evaluation
from solojax.training import checkpoint

SHAPES = Path(__file__).parent.parent / "configs" / "shapes.py"


def make_data(root: Path) -> None:
    """The smallest sound COCO folder that the shapes config finds its way in, but for pixels."""
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    (root / "images" / "1.jpg").write_bytes(b"no image")
    square = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 16, "width": 16}],
        "annotations": [square],
        "categories": [{"id": 1, "name": "thing"}],
    }
    for split in ("train", "val"):
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))


def overrides(folder: Path, *more: str) -> list[str]:
    records = f"data.records={folder / 'records'}"
    return ["--set", f"data.root={folder / 'data'}", records, "training.batch_size=8", *more]


def train_command(folder: Path, *more: str) -> list[str]:
    workdir = ["--workdir", str(folder / "run")]
    return ["train", "--config", str(SHAPES), *workdir, *overrides(folder, *more)]


def prepare_command(folder: Path) -> list[str]:
    return ["data", "prepare", "--config", str(SHAPES), *overrides(folder)]


def error_line(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must fail; returns its one line, which is all that stderr may hold."""
    capfd.readouterr()
    assert cli.main(arguments) == 2
    printed = capfd.readouterr().err
    assert printed.startswith("solojax: error: ")
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    return printed


@pytest.mark.parametrize("wrong", ["a\0b", "a\ud800", "n" * 300, "file/below"])
@pytest.mark.parametrize(
    "command",
    [
        "eval --results results.json --gt {truth} --out {wrong}",
        "eval --results {wrong} --gt {truth}",
        "eval --results results.json --gt {wrong}",
        "eval --workdir {wrong}",
        "predict {wrong} --run run",
        "predict images --run {wrong}",
        "data check {wrong}",
        "data check data --json {wrong}",
        "data prepare {wrong}",
        "data shapes {wrong} --train 1 --val 1",
        "data import labelme data {wrong}",
    ],
)
def test_a_path_that_can_be_none_is_told_in_a_line(
    command: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    (tmp_path / "file").touch()
    (tmp_path / "results.json").write_text("[]")
    truth = "data/annotations/instances_val.json"
    words = [word.format(truth=truth, wrong=wrong) for word in command.split()]
    assert cli.main(words) in (1, 2)
    printed = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert "Traceback" not in "".join(printed)
    assert [line for line in printed if "solojax: error: " in line] == printed[-1:]


def missing_config(folder: Path) -> list[str]:
    workdir = str(folder / "run")
    return ["train", "--config", str(folder / "nothing.py"), "--workdir", workdir]


def no_config(folder: Path) -> list[str]:
    (folder / "other.py").write_text("config = 3")
    return ["train", "--config", str(folder / "other.py"), "--workdir", str(folder / "run")]


def broken_config(folder: Path) -> list[str]:
    (folder / "broken.py").write_text("config = Config(")
    return ["train", "--config", str(folder / "broken.py"), "--workdir", str(folder / "run")]


def records_under_a_file(folder: Path) -> list[str]:
    make_data(folder / "data")
    (folder / "file").touch()
    return train_command(folder, f"data.records={folder / 'file' / 'records'}")


def head_that_cannot_work(folder: Path) -> list[str]:
    return train_command(folder, "model.head.width=65")


def misspelt_field(folder: Path) -> list[str]:
    return train_command(folder, "training.batchsize=8")


def wrong_type(folder: Path) -> list[str]:
    return train_command(folder, "training.steps=many")


def odd_canvas(folder: Path) -> list[str]:
    return train_command(folder, "data.canvases=((100,128),)")


def missing_root(folder: Path) -> list[str]:
    return train_command(folder)


def not_coco(folder: Path) -> list[str]:
    make_data(folder / "data")
    (folder / "data/annotations/instances_train.json").write_text('{"images": []}')
    return train_command(folder)


def missing_image(folder: Path) -> list[str]:
    make_data(folder / "data")
    (folder / "data/images/1.jpg").unlink()
    return train_command(folder)


def indivisible_batch(folder: Path) -> list[str]:
    make_data(folder / "data")
    return train_command(folder, "training.batch_size=6")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (missing_config, "nothing.py: no such file"),
        (no_config, "other.py does not define"),
        (broken_config, "broken.py: SyntaxError"),
        (records_under_a_file, "file"),
        (head_that_cannot_work, "head.width=65 does not divide into head.groups=8"),
        (misspelt_field, "did you mean 'batch_size'?"),
        (wrong_type, "'many' is not of type int"),
        (odd_canvas, "the nearest is 96x128"),
        (missing_root, "data: no such folder; set data.root"),
        (not_coco, "instances_train.json is not a COCO instances file: it has no list"),
        (missing_image, "1 image files missing (image 1 (1.jpg))"),
        (indivisible_batch, "training.batch_size=6 does not divide over 8 devices; use 8"),
    ],
)
def test_training_that_cannot_start_tells_why_and_leaves_no_run_folder(
    make: Callable[[Path], list[str]],
    said: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert said in error_line(make(tmp_path), capfd)
    assert not (tmp_path / "run").exists()


def test_missing_pretrained_weights_are_named_and_leave_no_run_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path / "data")
    pixels = np.zeros((16, 16, 3), np.uint8)
    (tmp_path / "data/images/1.jpg").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    small = ["backbone.depth=10", "backbone.width=8", "head.depth=1", "head.width=16"]
    fields = (f"model.{field}" for field in small)
    command = train_command(tmp_path, "training.pretrained=nothing.npz", *fields)
    assert cli.main(command) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == "solojax: error: training.pretrained=nothing.npz: no such file"
    assert not (tmp_path / "run").exists()


def test_damaged_image_ends_preparing_with_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path / "data")
    assert cli.main(prepare_command(tmp_path)) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("solojax: error: ")
    assert "1 images that cannot be read (image 1 (1.jpg): " in last


def test_evaluation_of_a_folder_that_is_no_run_tells_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = error_line(["eval", "--workdir", str(tmp_path)], capfd)
    assert f"{tmp_path} is not a run folder: it has no config.json" in line
    assert list(tmp_path.iterdir()) == []


def with_parent(config: dict[str, Any]) -> None:
    config["model"]["head"]["parent"] = None


def with_text_for_a_number(config: dict[str, Any]) -> None:
    config["training"]["steps"] = "many"


def with_nul(config: dict[str, Any]) -> None:
    config["data"]["root"] = "a\0b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "config.json is not JSON"),
        ("{}", "is not a config class"),
        ('{"type": "os.system"}', "'os.system' is not a config class"),
        ("[]", "config.json does not hold a config"),
        (b"\xff\xfe{}", "config.json is not JSON: 'utf-8' codec can't decode"),
        ("[" * 100_000, "config.json is nested too deeply"),
        ("1" * 5000, "config.json is not JSON"),
        (with_parent, "SOLOv2 of another version of solojax has 'parent'"),
        (with_text_for_a_number, "'many' is not of type int"),
        (with_nul, "has characters that no text may have"),
    ],
)
def test_evaluation_of_a_run_with_a_damaged_config_tells_so(
    text: Any, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if callable(text):
        content = json.loads(config_lib.to_json(config_lib.load(SHAPES)))
        text(content)
        text = json.dumps(content)
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert said in error_line(["eval", "--workdir", str(tmp_path)], capfd)


def test_evaluation_with_a_misspelt_field_names_the_nearest_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(config_lib.to_json(config_lib.load(SHAPES)))
    arguments = ["eval", "--workdir", str(tmp_path), "--set", "data.rot=x"]
    assert "did you mean 'root'?" in error_line(arguments, capfd)


@pytest.mark.parametrize("options", [["boxes"], ["masks", "boxes"], []])
def test_evaluation_by_an_unknown_oracle_exits_with_2(
    options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["eval", "--workdir", str(tmp_path), "--oracle", *options])
    assert "argument --oracle: " in capfd.readouterr().err


@pytest.fixture
def partly_right_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that finds a part of the one instance there is, without a network."""
    make_data(tmp_path / "data")
    pixels = np.zeros((16, 16, 3), np.uint8)
    (tmp_path / "data/images/1.jpg").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    fields = [f"data.root={tmp_path / 'data'}", f"data.records={tmp_path / 'records'}"]
    config = config_lib.load(SHAPES, [*fields, "training.batch_size=8"])
    (tmp_path / "config.json").write_text(config_lib.to_json(config))

    def make_evaluate(config: Any, records: coco.Records, score: Any) -> Callable[[Any], Any]:
        (true,) = coco.read(records, 0).instances
        truth = coco_evaluation.truth_of([1], [[16, 16]], [[true]], records.categories)
        part = rle.decode([true.rle], 16, 16)[0].astype(np.uint8)
        part[:, 6:] = 0
        segmentation = coco_mask.encode(np.asfortranarray(part))
        one = dict(image_id=1, category_id=1, score=0.9, segmentation=segmentation)
        numbers = score(truth, [one])
        return lambda variables: evaluate.Evaluation(numbers, {0: [one]}, 0, truth)

    monkeypatch.setattr(evaluate, "make_evaluate", make_evaluate)
    monkeypatch.setattr(checkpoint, "read_variables", lambda *_: (None, {}))
    return tmp_path


def test_evaluation_by_oracles_adds_their_numbers(
    partly_right_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "--workdir", str(partly_right_run)]
    assert cli.main(arguments) == 0
    assert capfd.readouterr().out.count("IoU .50:.95, all sizes") == 1
    alone = json.loads((partly_right_run / "eval.json").read_text())
    assert list(alone)[:12] == [*coco_evaluation.NAMES] and "step" in alone
    assert "Worst images" in (partly_right_run / "report.html").read_text()
    assert not alone["alarms"], "the training images have no records to be counted"
    chosen = json.loads((partly_right_run / "thresholds.json").read_text())
    assert chosen["images"] == 1 and 0 < chosen["score"] <= 0.9
    (one,) = alone["lost"]
    (example,) = one["examples"]
    assert (one["cause"], example["file"]) == ("rough", "images/1.jpg")
    assert not {"truths", "results"} & example.keys()

    assert cli.main([*arguments, "--oracle", "masks", "classes"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("IoU .50:.95, all sizes") == 3, "a table of the run, two beside it"
    assert printed.index("with the masks of") < printed.index("with the classes of")
    content = json.loads((partly_right_run / "eval.json").read_text())
    masks, classes = content.pop("oracle_masks"), content.pop("oracle_classes")
    assert content == alone
    assert list(masks) == list(classes) == list(coco_evaluation.NAMES)
    assert 0 < alone["AP"] < 0.5 and masks["AP"] == pytest.approx(1)
    assert classes["AP"] == alone["AP"]


def test_scores_of_the_training_images_lie_apart_and_choose_nothing(
    partly_right_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "--workdir", str(partly_right_run), "--split", "train"]) == 0
    assert "on 1 training images" in capfd.readouterr().out
    left = {path.name for path in (partly_right_run / "train").iterdir()}
    assert left == {"eval.json", "report.html", "pictures"}
    assert not (partly_right_run / "thresholds.json").exists()
    assert not (partly_right_run / "eval.json").exists()
    scored = json.loads((partly_right_run / "train/eval.json").read_text())
    assert scored["alarms"][0].startswith("1 of 1 classes have fewer than 10 training instances")


def test_a_run_is_scored_where_its_training_images_are_not(partly_right_run: Path) -> None:
    config = json.loads((partly_right_run / "config.json").read_text())
    config["data"]["train_json"] = "annotations/gone.json"
    (partly_right_run / "config.json").write_text(json.dumps(config))
    assert cli.main(["eval", "--workdir", str(partly_right_run)]) == 0
    assert (partly_right_run / "report.html").exists()


def test_a_model_that_was_changed_for_a_scoring_chooses_no_scores(
    partly_right_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = ["--set", "model.head.selection.nms_sigma=4"]
    assert cli.main(["eval", "--workdir", str(partly_right_run), *changed]) == 0
    assert "thresholds.json is left as it is: --set changes the model" in capfd.readouterr().out
    assert not (partly_right_run / "thresholds.json").exists()


@pytest.mark.parametrize(
    ("options", "said"), [(["--train", "0"], "train is 0"), (["--seed", "-1"], "seed is -1")]
)
def test_shapes_of_an_impossible_number_tell_the_limit(
    options: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in error_line(["data", "shapes", str(tmp_path / "data"), *options], capfd)


def test_shapes_never_replace_a_foreign_coco_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path / "data")
    line = error_line(["data", "shapes", str(tmp_path / "data")], capfd)
    assert "instances_train.json is not a 'solojax shapes' file" in line


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["train"], ["train", "--config", "x.py"], ["eval"], ["data"]]
)
def test_a_command_that_is_incomplete_exits_with_2(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert capfd.readouterr().err.startswith("usage: solojax")


@pytest.mark.parametrize("times", [1, 10_000])  # held back until the end, and not
def test_output_that_nobody_reads_ends_a_command_without_a_word(times: int) -> None:
    program = f"""
import sys
from solojax import cli
from solojax.cli import data_shapes
data_shapes.run = lambda _: [print("a line") for _ in range({times})]
sys.exit(cli.main(["data", "shapes", "folder"]))
"""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (cli.UNREAD, b"")


def test_interruption_ends_with_one_line_and_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config_lib, "load", interrupt)
    capfd.readouterr()
    assert cli.main(prepare_command(tmp_path)) == 130
    assert capfd.readouterr().err == "solojax: stopped\n"


def draw_square(folder: Path) -> list[str]:
    """A data set of one image with one square; returns the overrides that lead there."""
    make_data(folder / "data")
    pixels = np.zeros((16, 16, 3), np.uint8)
    (folder / "data/images/1.jpg").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return [str(folder / "data"), "--set", f"data.records={folder / 'records'}"]


def test_a_folder_is_prepared_without_a_config(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare = ["data", "prepare", *draw_square(tmp_path)]
    assert cli.main(prepare) == 0
    printed = capfd.readouterr().out
    assert printed == "train: 1 images, 1 classes\nval: 1 images, 1 classes\n"
    (tmp_path / "data/annotations/instances_val.json").unlink()
    assert cli.main(prepare) == 0
    assert capfd.readouterr().out == "train: 1 images, 1 classes\n"


@pytest.mark.parametrize("field", ["data.rot=x", "model.head.width=3"])
def test_a_misspelt_field_of_a_folder_alone_is_named(
    field: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = error_line(["data", "prepare", str(tmp_path), "--set", field], capfd)
    assert f"override {field!r}: no field" in line


@pytest.mark.parametrize("command", ["stats", "prepare"])
def test_an_empty_name_is_no_config(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = error_line(["data", command, str(tmp_path), "--config", ""], capfd)
    assert "config : no such file" in line


def test_examples_are_drawn_into_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    show = ["data", "show", *draw_square(tmp_path), "--config", str(SHAPES)]
    assert cli.main([*show, "--count", "3", "--out", str(out)]) == 0
    assert f"3 examples from step 0 on in {out}" in capfd.readouterr().out
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] > 2 * 512
    assert "--count must be in 1..64" in error_line([*show, "--count", "0"], capfd)


def test_statistics_of_a_folder_are_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stats = ["data", "stats", *draw_square(tmp_path), "--config", str(SHAPES)]
    assert cli.main(stats) == 0
    printed = capfd.readouterr().out
    assert "thing 1" in printed and "p2      16x16" in printed


def test_the_pipeline_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "PROFILED", 8)
    bench = ["bench", "data", *draw_square(tmp_path), "training.batch_size=2"]
    assert cli.main([*bench, "--config", str(SHAPES), "--images", "16"]) == 0
    printed = capfd.readouterr().out
    assert "images a second" in printed and "resident memory" in printed


def test_a_foreign_set_becomes_one_that_can_be_prepared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    for folder in ("images", "masks"):
        (source / folder).mkdir(parents=True)
    ids = np.zeros((16, 16), np.uint8)
    ids[2:6, 2:9], ids[8:12, 3:5] = 1, 2
    for folder, pixels in (("images", ids * 100), ("masks", ids)):
        (source / folder / "a.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    out = tmp_path / "coco"
    assert cli.main(["data", "import", "pairs", str(source), str(out), "--name", "cell"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("train: 1 images, 2 instances, 1 classes\n")
    assert "import again with --val 0.2" in printed
    assert printed.endswith(f"next: solojax data prepare {out}\n")
    records = f"data.records={tmp_path / 'records'}"
    assert cli.main(["data", "prepare", str(out), "--set", records]) == 0
    # Names of files may be bytes that are no text, and the classes, and whatever else is printed.
    odd = tmp_path / "odd" / "\udcff.json"
    odd.parent.mkdir()
    (odd.parent / "a.png").write_bytes(cv2.imencode(".png", ids)[1].tobytes())
    points = [[1, 1], [9, 1], [9, 9]]
    drawn = [{"label": "x", "points": points}, {"label": "x", "points": [], "shape_type": "point"}]
    odd.write_text(json.dumps({"shapes": drawn, "imagePath": "a.png"}))
    assert cli.main(["data", "import", "labelme", str(odd.parent), str(tmp_path / "of odd")]) == 0
    assert "1 instances skipped: shape of type point (\\udcff.json" in capfd.readouterr().out
    line = error_line(["data", "import", "voc", str(source), str(out)], capfd)
    assert "form 'voc' is none of labelme, yolo, cityscapes, lvis, pairs" in line
