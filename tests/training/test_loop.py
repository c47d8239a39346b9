"""The loop on a handful of drawn images, in this process."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from solojax import config as config_lib
from solojax.data import coco, synthetic
from solojax.training import checkpoint, loop
from solojax.types import InputError
from tests import examples


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> config_lib.Config:
    folder = tmp_path_factory.mktemp("loop")
    synthetic.draw_shapes(folder / "shapes", train=20, val=4, processes=1)
    config = config_lib.Config(
        model=examples.MODEL,
        data=config_lib.Data(
            root=str(folder / "shapes"),
            train_json="annotations/instances_train.json",
            val_json="annotations/instances_val.json",
            train_images="images",
            val_images="images",
            records=str(folder / "records"),
            canvases=((64, 64),),
            train_short_sides=(64, 48),
            test_short_side=64,
            long_side=64,
            max_instances=6,
        ),
        optimizer=config_lib.Optimizer(base_batch_size=8, warmup_steps=2, ema_decay=0.9),
        training=config_lib.Training(batch_size=8, steps=6, log_every=1, checkpoint_every=2),
    )
    return config_lib.with_categories(config, records_of(config).categories)


def records_of(config: config_lib.Config) -> coco.Records:
    return coco.prepare(config.data, "train")


def train(config: config_lib.Config, workdir, **options):
    return loop.train(config, records_of(config), workdir, **options)


def losses_of(workdir) -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    """A run from the beginning to the end."""
    workdir = tmp_path_factory.mktemp("straight")
    calls = []
    training = dataclasses.replace(config.training, evaluate_every=3)
    state = train(
        dataclasses.replace(config, training=training),
        workdir,
        evaluate=lambda state: calls.append(int(state.step)) or loop.Scores({"AP": 0.5}, {}),
    )
    return workdir, state, calls


def test_a_run_leaves_config_metrics_events_and_checkpoints(config, straight):
    workdir, state, calls = straight
    assert int(state.step) == 6 and calls == [3, 6]
    kept = config_lib.from_json((workdir / "config.json").read_text(), "config.json")
    assert kept.model == config.model and len(kept.data.categories) == 5
    assert list(losses_of(workdir)) == [1, 2, 3, 4, 5, 6]
    assert list((workdir / "tensorboard").iterdir())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "6"]


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(config, straight, tmp_path):
    workdir, state, _ = straight
    # The cosine or the drops would end elsewhere, but this schedule has no length.
    first = dataclasses.replace(config.training, steps=4)
    train(dataclasses.replace(config, training=first), tmp_path)
    resumed = train(config, tmp_path)
    assert losses_of(tmp_path) == losses_of(workdir)
    for ours, theirs in zip(*map(jax.tree.leaves, (resumed, state)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_average_is_what_an_evaluation_restores(config, straight):
    workdir, state, _ = straight
    wanted = {"params": state.params}
    found, variables = checkpoint.read_variables(workdir, wanted)
    assert found == 6
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.ema["params"])


def test_a_checkpoint_of_another_model_is_refused(config, straight, tmp_path):
    workdir, _, _ = straight
    head = examples.MODEL.head.clone(num_classes=5, kernel_width=4)
    other = dataclasses.replace(config, model=examples.MODEL.clone(head=head))
    with pytest.raises(InputError, match="take another workdir"):
        train(other, workdir)


def test_a_folder_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        checkpoint.read_arrays(tmp_path)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_the_images_named(config, tmp_path):
    # A rate without measure takes the parameters to infinity within a few steps.
    wild = config_lib.Optimizer(learning_rate=1e30, warmup_steps=0, clip_norm=1e30)
    training = dataclasses.replace(config.training, steps=40, log_every=1000, checkpoint_every=1000)
    broken = dataclasses.replace(config, optimizer=wild, training=training)
    with pytest.raises(InputError, match=r"loss is not finite at step \d+ .*images \["):
        train(broken, tmp_path)
    # Nothing was logged before the end, and the state stood still from the bad step on.
    found, arrays = checkpoint.read_arrays(tmp_path)
    assert found < 40 and all(np.isfinite(array).all() for array in arrays.values())
    with np.load(tmp_path / f"not_finite_step_{found + 1}.npz") as batch:
        assert batch["images"].shape == (8, 64, 64, 3)
        assert set(batch["image_ids"]) <= set(records_of(config).image_ids)


def test_a_folder_of_another_run_is_refused(config, straight):
    workdir = straight[0]
    kept = (workdir / "config.json").read_bytes()
    for changed, name in (
        (
            dataclasses.replace(config, training=dataclasses.replace(config.training, seed=3)),
            "seed",
        ),
        (
            config_lib.with_categories(
                config, tuple(config_lib.Category(i, f"thing {i}") for i in range(1, 6))
            ),
            "data.categories",
        ),
    ):
        with pytest.raises(InputError, match=f"{name} is not that of the config"):
            loop.train(changed, records_of(config), workdir)
    assert (workdir / "config.json").read_bytes() == kept


@pytest.mark.slow
def test_a_run_is_not_shortened_behind_its_end(config, straight):
    workdir = straight[0]
    kept = (workdir / "config.json").read_bytes()
    fewer = dataclasses.replace(config.training, steps=2)
    with pytest.raises(InputError, match="trained to step 6 already, not 2"):
        train(dataclasses.replace(config, training=fewer), workdir)
    assert (workdir / "config.json").read_bytes() == kept


@pytest.mark.parametrize("content", [b"some text", b"", b"\x93NUMPY\x01\x00"])
def test_pretrained_weights_that_are_no_npz_leave_nothing_behind(config, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    training = dataclasses.replace(config.training, pretrained=str(path))
    with pytest.raises(InputError, match="is not an .npz of arrays"):
        train(dataclasses.replace(config, training=training), tmp_path / "run")
    assert not (tmp_path / "run").exists()
