"""The whole of the toolkit for a head that has what ``heads.protocol`` asks for, and no more."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import Predictor
from solojax import config as config_lib
from solojax.data import synthetic
from solojax.data.records import coco
from solojax.evaluation import score_run
from solojax.evaluation.dataset import statistics
from solojax.heads import protocol
from solojax.heads.labeller import Labeller
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.inference import contact_sheet
from solojax.models import detector
from solojax.models.detector import Detector
from solojax.training import (
    agreement,
    loop,
    optimizer,
    out_of_memory,
    pretrained,
    step,
)
from solojax.types import Detections, InputError, Logged, Mean
from tests import examples
from tests.heads.stranger import Blocks, Framed, Neither, Slots


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
    assert all(0 <= row["right"] <= 1 <= row["slots"] <= 6 for row in rows)
    said = {"classes", "masks", "right", "slots"}
    assert all(said < row.keys() <= {*said, *step.OTHERS_LOGGED} for row in rows)

    assert "mask AP of" in score_run.score_run(tmp_path, "latest", [])
    image = np.random.default_rng(0).integers(0, 255, (100, 150, 3)).astype(np.uint8)
    predictor = Predictor.from_run(tmp_path)
    assert len(predictor(image)) <= config.model.head.slots
    scores = predictor.tiled(image, 80).scores
    assert len(scores) and scores.min() > 0


def test_its_data_are_counted_and_shown_without_a_grid(config):
    text = statistics.report(config, "val")
    assert "instances per image" in text and "grid" not in text
    sheet = contact_sheet.of_training(config, "val", step=0, count=2)
    squares = contact_sheet.of_training(
        dataclasses.replace(config, model=examples.MODEL), "val", step=0, count=2
    )
    assert sheet.shape[0] < squares.shape[0] and sheet.shape[1] == squares.shape[1]


def test_other_recomputation_is_the_same_run_and_not_proposed_where_there_is_none(config):
    assert not any("head.remat" in name for one in out_of_memory._remedies(config) for name in one)
    assert agreement._without_remat(config) == config.model
    both = Panoptic(examples.MODEL.head, Labeller(PanopticFPN(width=8, groups=2)))
    for head, place in ((examples.MODEL.head, "head"), (both, "head.things")):
        off = dataclasses.replace(config, model=examples.MODEL.clone(head=head))
        proposed = out_of_memory.remat_overrides(off.model)
        assert proposed == ("model.backbone.remat_stages=(1,2,3,4)", f"model.{place}.remat=True")
        on = config_lib.override(off, *proposed)
        assert on != off and agreement._without_remat(on) == off.model
        some = config_lib.override(on, "model.backbone.remat_stages=(1,2)")
        assert agreement._without_remat(some) == off.model


def test_layers_of_classes_are_known_by_their_shape_whatever_their_name(config):
    named = pretrained._of_classes(config.model)
    assert sorted(named) == ["params/head/classes/bias", "params/head/classes/kernel"]


def first_step(head, run=jax.jit):
    """The state after a step of plain gradient descent, and the metrics."""
    model = Detector(Blocks(), Neither(), head)
    tx = optimizer.make_optimizer(config_lib.Optimizer(), lambda _: 0.1, model)
    update = step.make_update(model, tx, seed=0)
    one_device = jax.vmap(update, (None, 0), axis_name=step.AXIS, axis_size=1, out_axes=None)
    state = step.start_state(detector.init_variables(model, jax.random.key(0)), tx, ema=False)
    return run(one_device)(state, jax.tree.map(lambda x: x[None], examples.make_batch(8)))


def test_canvases_of_any_size_are_trained_on_shown_and_looked_at(config, tmp_path):
    data = dataclasses.replace(config.data, canvases=((131, 137),), resize="stretch")
    model = Detector(Blocks(), Neither(), Framed(num_classes=5), mean=(90, 90, 90), std=(9, 9, 9))
    free = dataclasses.replace(config, model=model, data=data)
    records = coco.prepare(data, "train")
    loop.train(free, records, tmp_path)
    (row, *_) = examples.rows_of(tmp_path)
    assert row["crowds"] == 0 and np.isfinite(row["masks"])
    sheet = contact_sheet.of_training(free, "val", step=0, count=2)
    assert sheet.shape[1] > 2 * 512 * 137 / 131
    assert "stretched to the canvas" in statistics.report(free, "val")

    said = score_run.score_run(tmp_path, "latest", [])
    assert "mask AP of" in said
    image = np.random.default_rng(0).integers(0, 255, (100, 150, 3)).astype(np.uint8)
    result = Predictor.from_run(tmp_path)(image)
    frames = np.array([[8.0 * n, 8 * n, 64 + 8 * n, 64 + 8 * n] for n in range(6)])
    scale = np.array([150 / 137, 100 / 131] * 2)
    expected = np.minimum(frames * scale, [150, 100] * 2)
    # What has no pixel of the photograph is left out.
    assert len(result) and all(np.isclose(expected, box).all(1).any() for box in result.boxes)


class LogsItsMasks(Slots):
    """Says its masks' loss once more, tenfold, and prints it."""

    def loss(self, outputs, targets):
        terms = super().loss(outputs, targets)
        jax.debug.callback(lambda total: None, terms["masks"].total)
        again = Logged(10 * terms["masks"].total, terms["masks"].count)
        return {**terms, "again": again}


def test_what_is_only_logged_changes_nothing():
    state, metrics = first_step(LogsItsMasks())
    plain, expected = first_step(Slots())
    assert metrics.pop("again") == pytest.approx(10 * float(metrics["masks"]))
    jax.tree.map(np.testing.assert_array_equal, (state, metrics), (plain, expected))


class CountsWhatItFinds(Slots):
    """Its mean is over what the outputs say."""

    def loss(self, outputs, targets):
        terms = super().loss(outputs, targets)
        found = jnp.sum(outputs.class_logits > 0, dtype=jnp.float32)
        return {**terms, "found": Mean(terms["masks"].total, found)}


class SaysGoodput(Slots):
    """A term by a name of the loop's."""

    def loss(self, outputs, targets):
        return {"goodput": super().loss(outputs, targets)["masks"]}


class SaysTwice(Slots):
    """A term by the name of one of its metrics."""

    def loss(self, outputs, targets):
        return {"slots": super().loss(outputs, targets)["masks"]}


class LogsAlone(Slots):
    """Nothing to learn from."""

    def loss(self, outputs, targets):
        return {name: Logged(*term) for name, term in super().loss(outputs, targets).items()}


class LogsNumbers(Slots):
    """A bare number in place of a mean."""

    def loss(self, outputs, targets):
        return {name: term.total for name, term in super().loss(outputs, targets).items()}


class CountsInIntegers(Slots):
    """Counts that are whole, by their type."""

    def targets(self, instances, key):
        targets = super().targets(instances, key)
        count = Mean(jnp.sum(instances.valid), jnp.float32(1))
        return targets._replace(metrics={"slots": count})


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (LogsNumbers(), "LogsNumbers.loss: 'right' is float32[] where a types.Mean"),
        (CountsInIntegers(), "CountsInIntegers.targets: 'slots' is int32[] and float32[] where"),
        (CountsWhatItFinds(), "CountsWhatItFinds.loss: the count of 'found' depends on the out"),
        (SaysGoodput(), "SaysGoodput gives the log goodput where there is one already"),
        (SaysTwice(), "SaysTwice gives the log slots where"),
        (LogsAlone(), "LogsAlone.loss has no term to minimise"),
    ],
)
def test_what_could_only_be_logged_wrongly_is_refused(head, said):
    with pytest.raises(InputError, match=re.escape(said)):
        first_step(head, run=lambda update: functools.partial(jax.eval_shape, update))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"masks": jnp.zeros((2, 6, 8, 8))}, "masks is float32[2, 6, 8, 8] where float32[2, 6, 16"),
        ({"scores": jnp.zeros((2, 6), jnp.bfloat16)}, "scores is bfloat16[2, 6] where float32"),
        ({"valid": jnp.zeros((2, 5), bool)}, "valid is bool[2, 5] where bool[2, 6]"),
        ({"boxes": jnp.zeros((2, 6, 2))}, "boxes is float32[2, 6, 2] where float32[2, 6, 4]"),
    ],
)
def test_detections_of_another_form_are_refused(changes, said):
    found = Detections(
        scores=jnp.zeros((2, 6)),
        labels=jnp.zeros((2, 6), jnp.int32),
        masks=jnp.zeros((2, 6, 16, 16)),
        valid=jnp.zeros((2, 6), bool),
        overflow=jnp.zeros(2, jnp.int32),
    )
    protocol.check_detections(Slots(), found, 2, (64, 64))
    with pytest.raises(InputError, match=re.escape(f"Slots.detect: {said}")):
        protocol.check_detections(Slots(), found._replace(**changes), 2, (64, 64))
