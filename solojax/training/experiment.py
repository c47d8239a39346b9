"""A whole training from a config alone: its data prepared, its processes of one mind."""

from collections.abc import Callable
from pathlib import Path

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.data import examples
from solojax.data.records import coco
from solojax.models import detector
from solojax.training import agreement, loop
from solojax.types import TrainState

MakeEvaluate = Callable[[config_lib.Config, coco.Records], loop.Evaluate]
"""(what is trained, the validation images) -> what the loop calls now and then."""


def train(config: config_lib.Config, workdir: Path, make_evaluate: MakeEvaluate) -> TrainState:
    """Prepares the data of ``config`` and trains it, with the classes found there.

    It is scored where ``training.evaluate_every`` says so, or where the data set has validation
    images. All processes call alike, after ``processes.start``.

    Args:
      config: the experiment.
      workdir: the run folder.
      make_evaluate: what scores are made by.

    Returns:
      The last state, on the host.

    Raises:
      InputError: the batch does not divide over the devices, the data set is not sound, processes
        were given different ones, or ``loop.train`` refuses.
    """
    parallel.check_divisible(config.training.batch_size, config.training.accumulate)
    records = processes.in_turn(lambda: coco.prepare(config.data, "train"))
    strides = config.model.head.mask_strides, detector.label_strides(config.model)
    examples.check_asked(records, config.data, *strides)
    config = config_lib.with_categories(config, records.categories, records.stuff)
    scores = bool(config.training.evaluate_every or coco.has_split(config.data, "val"))
    agreement.check_processes(config, records, scores)
    evaluate = None
    if scores:
        # A fault in the validation set should not be found out after days of training.
        val_records = processes.in_turn(lambda: coco.prepare(config.data, "val"))
        agreement.check_processes(config, val_records, scores)
        evaluate = make_evaluate(config, val_records)
    return loop.train(config, records, workdir, evaluate)
