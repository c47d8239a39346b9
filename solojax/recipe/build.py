"""A whole config of what was decided: a network, a side, so many steps."""

import dataclasses
import math
from typing import NamedTuple

import jax
import numpy as np

from solojax import config as config_lib
from solojax.data.records import coco
from solojax.evaluation.dataset import collisions
from solojax.heads import assign
from solojax.heads.grid import Grid
from solojax.recipe import augmentation, canvas, grid, network, schedule
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import Facts

BATCH = 8  # images a step
ROOM = 1.25  # of caps, over the most instances there are
MOST_INSTANCES = 300  # of an image, that are trained
MOST_POSITIVES = 512
DETECTIONS = 100  # at least


class Subject(NamedTuple):
    """What is to be learned from."""

    facts: Facts
    data: config_lib.Data  # where it lies
    records: coco.Records
    weights: str  # of an ImageNet classifier, or a run; empty for none
    is_run: bool  # they are
    side: int = 0  # short one that a person asks for; 0 where it is open


def batch_size() -> int:
    """Images a step: as few as the devices share evenly."""
    devices = jax.device_count()
    return -(-BATCH // devices) * devices


class Layout(NamedTuple):
    """The data on canvases of one size, and the grid for them."""

    side: int  # the short one, network pixels
    data: config_lib.Data
    cells: Grid
    positives: int  # of an image
    detections: int
    decisions: list[Decision]


def lay_out(subject: Subject, side: int) -> Layout:
    """Reads all records and fits a grid to them, on canvases with that short side."""
    facts = subject.facts
    most = int(facts.per_image.max(initial=1))
    drawn, augmented = augmentation.choose(facts)
    threshold, balanced = augmentation.balance(facts)
    placed, placing = canvas.fields(facts, side)
    data = dataclasses.replace(
        subject.data,
        **placed,
        train_short_sides=(side,),
        augmentation=drawn,
        repeat_threshold=threshold,
        max_instances=min(_roomy(most * (1 + (drawn.copy_paste_probability > 0))), MOST_INSTANCES),
    )
    surveyed = collisions.survey(subject.records, data)
    cells, gridded = grid.fit(surveyed, data)
    positives = min(_positives(surveyed, cells), MOST_POSITIVES)
    detections = max(DETECTIONS, _roomy(max(most, facts.val_most)))
    caps = Decision(
        "caps",
        f"{data.max_instances} trained, {detections} found",
        f"up to {most} objects are in an image, of whose cells at most {positives} learn",
    )
    told = [*placing, *gridded, caps, *augmented, *balanced]
    return Layout(side, data, cells, positives, detections, told)


def build(
    subject: Subject, layout: Layout, chosen: network.Network, steps: int, evaluations: int
) -> tuple[config_lib.Config, list[Decision]]:
    """A config, and what is to be said of it.

    Args:
      subject: the data.
      layout: of these.
      chosen: the network.
      steps: of the training.
      evaluations: while it trains, the last included.
    """
    classes = len(subject.facts.categories)
    model = network.fitted(chosen, layout.cells, classes, layout.positives, layout.detections)
    optimizer, optimizing = schedule.optimizer_of(steps, batch_size(), bool(subject.weights))
    views = steps * batch_size() / len(subject.facts.sizes)
    drawn, varying = augmentation.vary(layout.data.augmentation, subject.facts, views)
    every = max(steps // max(evaluations, 1), 1)
    training = config_lib.Training(
        batch_size=batch_size(),
        steps=steps,
        pretrained=subject.weights,
        reset_classes=subject.is_run,
        log_every=max(steps // 200, 1),
        checkpoint_every=every,
        evaluate_every=every if evaluations else 0,
    )
    config = config_lib.Config(
        model=model,
        data=dataclasses.replace(layout.data, augmentation=drawn),
        optimizer=optimizer,
        training=training,
    )
    return config, [*layout.decisions, *varying, *optimizing]


def _roomy(most: int) -> int:
    return math.ceil(ROOM * most / 10) * 10


def _positives(surveyed: collisions.Survey, cells: Grid) -> int:
    """Cells that learn from an image, in nearly all images; a multiple of 32."""
    counts = np.zeros(int(surveyed.images.max(initial=0)) + 1)
    for side, scales in zip(cells.sizes, cells.scale_ranges, strict=True):
        here, _ = collisions.on_level(surveyed, side, scales, cells.sigma)
        extents = (surveyed.boxes[here, 2:] - surveyed.boxes[here, :2]) * cells.sigma
        reach = extents * side / surveyed.canvases[here][:, ::-1]
        across = np.minimum(np.floor(reach) + 2, 2 * assign.REACH + 1)
        np.add.at(counts, surveyed.images[here], across.prod(1))
    return max(math.ceil(float(np.quantile(counts, 0.99)) / 32) * 32, 32)
