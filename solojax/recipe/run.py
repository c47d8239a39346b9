"""From a folder to a trained run with its report: the whole of ``solojax train FOLDER``."""

from pathlib import Path

import jax

from solojax import config as config_lib
from solojax import writing
from solojax.data.records import coco
from solojax.evaluation import score_run, watch
from solojax.recipe import plan
from solojax.training import checkpoint, experiment, loop
from solojax.types import InputError, TrainState

CODE, PICTURE, SOURCE = "config.py", "plan.svg", "source.txt"  # in the run folder
NOTHING = 0.01  # AP50 of an evaluation that is worth a warning


def workdir_of(folder: Path) -> Path:
    """The run folder of a folder, where none is given."""
    return Path("runs") / folder.resolve().name


def run(folder: Path, workdir: Path, wishes: plan.Wishes, command: str) -> str:
    """Plans, trains and scores; a run folder that holds a config already goes on with that.

    Args:
      folder: what to learn from.
      workdir: the run folder.
      wishes: what a person decides.
      command: that is written down with the config.

    Returns:
      Lines for people.

    Raises:
      InputError: the folder cannot be learned from, there are several processes, or one of
        ``experiment.train``.
    """
    if jax.process_count() > 1:
        raise InputError(
            f"{folder} is planned for one process; write a config with solojax plan {folder} "
            "--out my/config.py and train it with --config on all of them"
        )
    if (workdir / checkpoint.CONFIG).is_file():
        config = checkpoint.read_config(workdir)
        known = config.data.root  # of a run that was not planned
        if (workdir / SOURCE).is_file():
            known = (workdir / SOURCE).read_text().rstrip("\n")
        if Path(known).resolve() != folder.resolve():
            raise InputError(
                f"{workdir} holds a run on {known}; give another --workdir for {folder}"
            )
        print(
            f"{workdir} holds a run: its config is taken, budget and weights as it began, and what "
            f"was read of {folder} then; give another --workdir to begin anew",
            flush=True,
        )
        config = config_lib.override(config, *plan.still_open(wishes.overrides))
    else:
        planned = plan.make(folder, workdir, wishes)
        print(planned, flush=True)
        writing.put(workdir / SOURCE, f"{folder.resolve()}\n".encode())
        writing.put(workdir / CODE, planned.code(command).encode())
        writing.put(workdir / PICTURE, planned.picture.encode())
        config = planned.config
    experiment.train(config, workdir, make_watch)
    return score_run.score_run(workdir)


def make_watch(config: config_lib.Config, records: coco.Records) -> loop.Evaluate:
    """``watch.make_watch``, which says it once where hardly anything is found."""
    score = watch.make_watch(config, records)
    told = False

    def watched(state: TrainState) -> loop.Scores:
        nonlocal told
        scores = score(state)
        found = scores.numbers["AP50"]
        late = 4 * int(state.step) >= config.training.steps
        if 0 <= found < NOTHING and late and not told:
            told = True
            print(
                f"! AP50 is {found:.3f} at step {int(state.step)} of {config.training.steps}, as "
                "little as of ten images that were learnt by heart: see whether masks lie on their "
                "objects (solojax data show) and data check finds nothing; else give more time",
                flush=True,
            )
        return scores

    return watched
