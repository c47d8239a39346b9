"""What a training is told of its validation images: how it scores, and some of them drawn."""

from solojax import config as config_lib
from solojax import processes
from solojax.data.records import coco
from solojax.evaluation import evaluate
from solojax.inference import pictures
from solojax.training import loop, step
from solojax.types import TrainState

WATCHED = 4  # images that are drawn at each evaluation


def make_watch(config: config_lib.Config, records: coco.Records) -> loop.Evaluate:
    """Builds what ``loop.train`` calls now and then: the score of a state, and pictures.

    All processes call alike; process 0 draws.

    Args:
      config: what is trained.
      records: the validation images.
    """
    score = evaluate.make_evaluate(config, records)
    watched = pictures.spread(len(records.image_ids), WATCHED)

    def watch(state: TrainState) -> loop.Scores:
        found = score(step.eval_variables(state))
        drawn = {
            f"val {records.image_ids[index]}": evaluate.picture(found, records, index)
            for index in watched
            if processes.is_first()
        }
        return loop.Scores(found.numbers, drawn)

    return watch
