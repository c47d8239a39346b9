"""The command line from a COCO folder to AP, as a user types it: one device, own processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from solojax.data import synthetic
from tests import examples

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "coco_subset"

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str | Path, quick: bool = True) -> str:
    """Runs train.py or eval.py on one CPU device and returns what it printed.

    Not ``quick`` is what is compiled as a user's is: for many steps.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["JAX_PLATFORMS"] = "cpu"
    if not quick:
        del environment["XLA_FLAGS"]
    done = subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    return done.stdout


def check_run_folder(workdir: Path, pictures: int) -> dict[str, float]:
    """All that a run is said to leave; returns the numbers."""
    config = json.loads((workdir / "config.json").read_text())
    assert config["data"]["categories"]
    assert any((workdir / "checkpoints").iterdir())
    assert any((workdir / "tensorboard").glob("events*"))
    assert examples.rows_of(workdir)[0]["step"] == 1
    drawn = sorted((workdir / "pictures").glob("*.png"))
    assert len(drawn) == pictures
    picture = cv2.imread(str(drawn[0]))
    assert picture.shape[1] > picture.shape[0] and picture.std() > 10
    return json.loads((workdir / "eval.json").read_text())


def test_shapes_are_learnt_a_little_in_a_minute(tmp_path):
    synthetic.draw_shapes(tmp_path / "shapes", train=400, val=16)
    settings = [f"data.root={tmp_path / 'shapes'}", f"data.records={tmp_path / 'records'}"]
    workdir = tmp_path / "run"
    steps = ["training.steps=150", "optimizer.warmup_steps=10", "training.evaluate_every=150"]
    printed = run(
        "train.py", "--config", ROOT / "configs/shapes.py", "--workdir", workdir,
        "--set", *settings, *steps, quick=False,
    )  # fmt: skip
    assert "learning rate 0.02 x 8 / 8 = 0.02 (linear in the batch size)" in printed
    printed = run("eval.py", "--workdir", workdir, quick=False)  # with what training compiled
    assert "AP50" in printed and "IoU .50:.95" in printed
    numbers = check_run_folder(workdir, pictures=16)
    assert numbers["AP50"] > 0.1
    assert examples.rows_of(workdir)[-1]["AP"] == pytest.approx(numbers["AP"], abs=1e-5), (
        "while training and afterwards"
    )


def choose_photographs(annotations: dict, count: int) -> dict:
    """The first photographs with 2 to 6 things, none a crowd, none small by COCO's measure."""
    chosen = []
    for image in sorted(annotations["images"], key=lambda image: image["id"]):
        here = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        clear = all(a["area"] > 32**2 and not a["iscrowd"] for a in here)
        if 2 <= len(here) <= 6 and clear:
            chosen.append((image, here))
    return {
        "images": [image for image, _ in chosen[:count]],
        "annotations": [a for _, here in chosen[:count] for a in here],
        "categories": annotations["categories"],
    }


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not on this machine")
def test_two_photographs_are_learnt_by_heart(tmp_path):
    whole = json.loads((PHOTOGRAPHS / "annotations/instances_train.json").read_text())
    two = tmp_path / "two.json"
    two.write_text(json.dumps(choose_photographs(whole, 2)))
    workdir = tmp_path / "run"
    run(
        "train.py", "--config", ROOT / "configs/memorize.py", "--workdir", workdir,
        "--set", f"data.root={PHOTOGRAPHS}", f"data.train_json={two}", f"data.val_json={two}",
        f"data.records={tmp_path / 'records'}",
        "training.batch_size=2", "optimizer.base_batch_size=2", quick=False,
    )  # fmt: skip
    run("eval.py", "--workdir", workdir, quick=False)
    numbers = check_run_folder(workdir, pictures=2)
    assert numbers["AP"] >= 0.8, numbers


@pytest.mark.parametrize(
    ("name", "parameters", "settings"),
    [
        (
            "solov2_light_448_r18_fpn_3x",
            "18,271,760",
            # Small images, as its own take minutes.
            [
                "data.canvases=((256,416),)",
                "data.train_short_sides=(256,)",
                "data.test_short_side=256",
                "data.long_side=416",
                "data.max_instances=8",
                "model.head.max_positives=64",
            ],
        ),
        pytest.param(
            "solov2_r50_fpn_3x",
            "46,592,912",
            ["data.canvases=((800,1344),)"],
            marks=pytest.mark.long,
        ),
    ],
    ids=["light", "large"],
)
def test_a_published_model_trains_a_step_and_predicts(tmp_path, name, parameters, settings):
    synthetic.draw_shapes(tmp_path / "shapes", train=2, val=2, processes=1)
    for split in ("train", "val"):
        # The published class count, so that the network is the published one.
        path = tmp_path / f"shapes/annotations/instances_{split}.json"
        content = json.loads(path.read_text())
        content["categories"] = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
        path.write_text(json.dumps(content))
    workdir = tmp_path / "run"
    settings = [
        *settings,
        f"data.root={tmp_path / 'shapes'}",
        f"data.records={tmp_path / 'records'}",
        "data.train_json=annotations/instances_train.json",
        "data.val_json=annotations/instances_val.json",
        "data.train_images=images",
        "data.val_images=images",
        "training.batch_size=2",
        "training.steps=1",
    ]
    printed = run(
        "train.py", "--config", ROOT / f"configs/{name}.py", "--workdir", workdir,
        "--set", *settings,
    )  # fmt: skip
    assert f"{parameters} parameters" in printed
    assert "learning rate 0.01 x 2 / 16 = 0.00125" in printed
    run("eval.py", "--workdir", workdir)
    check_run_folder(workdir, pictures=2)


@pytest.mark.parametrize(
    "network",
    [
        [
            "data.max_instances=8",
            "model.head.max_positives=64",
            "model.backbone.depth=10",
            "model.backbone.width=16",
            "model.neck.width=32",
            "model.head.width=32",
            "model.head.kernel_width=32",
            "model.head.mask_feature_width=32",
            "model.backbone.deform=none",
            "model.head.deform=none",
            "model.head.deform_mask_features=False",
            "optimizer.rate_factors=(('backbone/layer2_*',0.05),)",
            "optimizer.undecayed=()",
        ],
        pytest.param([], marks=pytest.mark.long),
    ],
    ids=["small", "its own"],
)
def test_the_enhanced_recipe_trains_on_the_shapes_set(tmp_path, network):
    synthetic.draw_shapes(tmp_path / "shapes", train=8, val=2, processes=1)
    workdir = tmp_path / "run"
    settings = [
        *network,
        f"data.root={tmp_path / 'shapes'}",
        f"data.records={tmp_path / 'records'}",
        "data.canvases=((128,128),)",
        "data.train_short_sides=(128,96)",
        "data.test_short_side=128",
        "data.long_side=128",
        "training.batch_size=4",
        "training.steps=3",
        "training.log_every=1",
    ]
    config = ROOT / "configs/solov2_enhanced_512_dcn_r50vd_fpn_3x.py"
    run("train.py", "--config", config, "--workdir", workdir, "--set", *settings)
    rows = examples.rows_of(workdir)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0]["learning_rate"] == 0 and rows[2]["learning_rate"] > 0
    run("eval.py", "--workdir", workdir)
    check_run_folder(workdir, pictures=2)


ONE_CLASS = """
from pathlib import Path

from tests import examples

config = examples.make_config(Path({folder!r}), steps=120, evaluate_every=120, log_every=40)
"""


@pytest.mark.long
def test_a_set_of_one_class_is_learnt(tmp_path: Path) -> None:
    synthetic.draw_shapes(tmp_path / "shapes", train=8, val=4, processes=1)
    for path in (tmp_path / "shapes/annotations").glob("instances_*.json"):
        content = json.loads(path.read_text())
        for one in content["annotations"]:
            one["category_id"] = 7
        path.write_text(json.dumps({**content, "categories": [{"id": 7, "name": "thing"}]}))
    config = tmp_path / "config.py"
    config.write_text(ONE_CLASS.format(folder=str(tmp_path)))
    learnt = (
        "data.val_json=annotations/instances_train.json",  # images that it has seen
        "data.augmentation.flip_probability=0",
        "data.train_short_sides=(64,)",
        "optimizer.algorithm=adamw",
        "optimizer.learning_rate=0.01",
        "optimizer.schedule=cosine",
    )
    printed = run("train.py", "--config", config, "--workdir", tmp_path / "run", "--set", *learnt)
    assert "8 images, 1 classes" in printed
    assert examples.rows_of(tmp_path / "run")[-1]["AP"] > 0.05
