"""The whole of the toolkit for a head that has what ``heads.protocol`` asks for, and no more."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import Predictor
from solojax import config as config_lib
from solojax.data import coco, synthetic
from solojax.evaluation import score_run, statistics
from solojax.inference import contact_sheet
from solojax.training import agreement, loop, optimizer, step
from solojax.types import InputError, Mean
from tests import examples
from tests.heads.stranger import Slots


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> config_lib.Config:
    folder = tmp_path_factory.mktemp("stranger")
    synthetic.draw_shapes(folder / "shapes", train=16, val=8, processes=1)
    config = examples.make_config(folder, steps=2)
    config = dataclasses.replace(config, model=examples.MODEL.clone(head=Slots(num_classes=5)))
    return config_lib.with_categories(config, coco.prepare(config.data, "train").categories)


@pytest.mark.slow
def test_a_run_goes_on_is_scored_and_predicts_in_tiles(config, tmp_path):
    for steps in (2, 4):
        training = dataclasses.replace(config.training, steps=steps)
        records = coco.prepare(config.data, "train")
        state = loop.train(dataclasses.replace(config, training=training), records, tmp_path)
    assert state.step == 4
    rows = examples.rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(0 <= row["right"] <= 1 and 1 <= row["slots"] <= 6 for row in rows)
    assert all(
        row["loss"] == pytest.approx(row["classes"] + row["masks"], abs=1e-4) for row in rows
    )

    assert "mask AP of" in score_run.score_run(tmp_path, "latest", [])
    image = np.random.default_rng(0).integers(0, 255, (100, 150, 3)).astype(np.uint8)
    predictor = Predictor.from_run(tmp_path)
    assert len(predictor(image)) <= config.model.head.slots
    assert predictor.tiled(image, 80).scores.min(initial=1) > 0


def test_its_data_are_counted_and_shown_without_a_grid(config):
    text = statistics.report(config, "val")
    assert "instances per image" in text and "grid" not in text
    sheet = contact_sheet.of_training(config, "val", step=0, count=2)
    squares = contact_sheet.of_training(
        dataclasses.replace(config, model=examples.MODEL), "val", step=0, count=2
    )
    assert sheet.shape[0] < squares.shape[0] and sheet.shape[1] == squares.shape[1]


def test_a_run_of_other_numbers_but_the_same_recomputation_is_the_same_run():
    stranger = examples.MODEL.clone(head=Slots())
    assert agreement._without_remat(stranger) == stranger
    on = examples.MODEL.clone(
        backbone=examples.MODEL.backbone.clone(remat_stages=(1, 2)),
        head=examples.MODEL.head.clone(remat=True),
    )
    assert agreement._without_remat(on) == examples.MODEL


class CountsWhatItFinds(Slots):
    """Its mean is over what the outputs say."""

    def loss(self, outputs, targets):
        terms = super().loss(outputs, targets)
        found = jnp.sum(outputs.class_logits > 0, dtype=jnp.float32)
        return {**terms, "found": Mean(terms["masks"].total, found)}


class SaysLoss(Slots):
    """A term by the name of their sum."""

    def loss(self, outputs, targets):
        return {"loss": super().loss(outputs, targets)["masks"]}


class SaysTwice(Slots):
    """A term by the name of one of its metrics."""

    def loss(self, outputs, targets):
        return {"slots": super().loss(outputs, targets)["masks"]}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (CountsWhatItFinds(), "CountsWhatItFinds.loss: the count of 'found' depends on the out"),
        (SaysLoss(), "SaysLoss gives the log loss where there is one already"),
        (SaysTwice(), "SaysTwice gives the log slots where"),
    ],
)
def test_what_a_step_could_only_log_wrongly_is_refused(head, said):
    model = examples.MODEL.clone(head=head)
    tx = optimizer.make_optimizer(config_lib.Optimizer(), lambda _: 0.1, model)
    state = jax.eval_shape(
        lambda: step.start_state(
            model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))), tx, False
        )
    )
    update = step.make_update(model, tx, seed=0)
    batch = jax.tree.map(lambda x: x[None], examples.make_batch(8))
    with pytest.raises(InputError, match=re.escape(said)):
        jax.eval_shape(jax.vmap(update, (None, 0), axis_name=step.AXIS), state, batch)
