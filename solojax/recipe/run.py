"""From a folder to a trained run with its report: the whole of ``solojax train FOLDER``."""

from pathlib import Path

import jax

from solojax.evaluation import score_run, watch
from solojax.recipe import plan
from solojax.training import checkpoint, experiment
from solojax.types import InputError

CODE = "config.py"  # in the run folder


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
        print(f"{workdir} holds a run: its config is taken", flush=True)
        config = checkpoint.read_config(workdir)
    else:
        planned = plan.make(folder, workdir, wishes)
        print(planned, flush=True)
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / CODE).write_text(planned.code(command))
        config = planned.config
    experiment.train(config, workdir, watch.make_watch)
    return score_run.score_run(workdir)
