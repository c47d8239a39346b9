"""Claims about whole scenes from a folder to scores: of a head that labels pixels, and of both."""

import dataclasses
import json
from pathlib import Path

import cv2
import pytest

from solojax import cli
from solojax import config as config_lib
from solojax.config import Config
from solojax.data import synthetic
from solojax.data.records import coco
from solojax.evaluation import evaluate, score_run, watch
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.merging import Merging
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.training import experiment
from solojax.types import InputError
from tests import examples

LABELLER = Labeller(
    PanopticFPN(width=8, levels=("p2", "p3"), groups=2),
    dropout=0,
    objective=LabelObjective(stride=4),
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    synthetic.draw_shapes(folder / "shapes", train=8, val=4, processes=1)
    return folder


def config_of(folder: Path, head: Panoptic | Labeller) -> Config:
    config = examples.make_config(folder, steps=2, evaluate_every=2)
    return dataclasses.replace(config, model=examples.MODEL.clone(head=head))


@pytest.mark.slow
def test_instances_and_stuff_are_trained_scored_and_saved_together(shapes, tmp_path, capsys):
    merging = Merging(least_score=0, least_stuff=1)
    config = config_of(shapes, Panoptic(examples.MODEL.head, LABELLER, merging))
    run = tmp_path / "run"
    experiment.train(config, run, watch.make_watch)
    last = examples.rows_of(run)[-1]
    assert {"PQ", "AP", "mIoU"} < last.keys()
    told = score_run.score_run(run, "best")
    assert told.splitlines()[0].startswith(f"PQ of {run}")
    scores = json.loads((run / "eval.json").read_text())
    assert [round(scores[name], 4) for name in ("PQ", "mIoU")] == [
        round(last[name], 4) for name in ("PQ", "mIoU")
    ]
    assert [one["name"] for one in scores["panoptic"]["classes"]][4:7] == [
        "ring",
        "plain",
        "stripes",
    ]

    images, out = shapes / "shapes" / "images" / "val", tmp_path / "out"
    command = ["predict", str(images), "--run", str(run), "--out", str(out)]
    assert cli.main([*command, "--save", "labels,panoptic", "--score", "0"]) == 0
    truth = str(shapes / "shapes" / "annotations" / "panoptic_val.json")
    capsys.readouterr()
    # Files hold what the evaluation of the run saw.
    for results, name, width in ((out / "panoptic.json", "PQ", 6), (out, "mIoU", 8)):
        assert cli.main(["eval", "--results", str(results), "--gt", truth]) == 0
        assert f"{name:{width}} {scores[name]:8.3f}" in capsys.readouterr().out


SMALL = (
    "data.canvases=((64,64),)",
    "data.train_short_sides=(64,)",
    "data.test_short_side=64",
    "data.long_side=64",
    "model.backbone.width=8",
    "training.steps=1",
    "training.checkpoint_every=1",
    "training.evaluate_every=1",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn", "unet", "pspnet", "deeplabv3plus", "pp_liteseg"])
def test_networks_of_labels_are_trained_scored_and_saved_from_the_command_line(
    name, shapes, tmp_path, capsys
):
    run, out = tmp_path / "run", tmp_path / "out"
    root = [f"data.root={shapes / 'shapes'}", f"data.records={shapes / 'records'}"]
    train = ["train", "--config", f"configs/shapes_{name}.py", "--workdir", str(run), "--set"]
    assert cli.main([*train, *root, *SMALL]) == 0
    truth = shapes / "shapes" / "annotations" / "panoptic_val.json"
    capsys.readouterr()
    assert cli.main(["eval", "--workdir", str(run)]) == 0
    assert f"mIoU of {run} at step 1 on 4 images" in capsys.readouterr().out
    score = json.loads((run / "eval.json").read_text())["mIoU"]
    images = shapes / "shapes" / "images" / "val"
    predict = ["predict", str(images), "--run", str(run), "--out", str(out), "--save", "labels"]
    assert cli.main(predict) == 0
    told = capsys.readouterr().out
    assert "label maps of 4 images" in told and "score" not in told
    assert cli.main(["eval", "--results", str(out), "--gt", str(truth)]) == 0
    assert f"mIoU     {score:8.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_head_of_pixels_alone_needs_no_instances(shapes, tmp_path):
    run = tmp_path / "run"
    experiment.train(config_of(shapes, LABELLER), run, watch.make_watch)
    assert "AP" not in (row := examples.rows_of(run)[-1]) and 0 <= row["mIoU"] <= 1
    assert score_run.score_run(run).splitlines()[0].startswith(f"mIoU of {run}")
    picture = next((run / "pictures").glob("*.png"))
    assert cv2.imread(str(picture)).shape[1] > 128
    data = coco.prepare(config_of(shapes, LABELLER).data, "val")
    config = config_lib.from_json((run / "config.json").read_text(), "it")
    assert config.model.head.num_labels == len(data.categories) + len(data.stuff) == 12
    # Before a training, not at its first evaluation.
    with pytest.raises(InputError, match="Labeller labels pixels, and these images have no label"):
        evaluate.make_evaluate(config, data._replace(stuff_labels=None))
