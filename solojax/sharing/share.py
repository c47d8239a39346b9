"""What ``solojax push`` does: a run becomes a folder for others, here or on the Hub."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax

from solojax import config as config_lib
from solojax import writing
from solojax.convert import weights
from solojax.evaluation import score_run
from solojax.evaluation.report import page
from solojax.inference import trained
from solojax.sharing import card
from solojax.training import checkpoint, hub, shared
from solojax.types import InputError

MOST_NUMBERS = 2**28  # bytes of an eval.json
NOBODYS = "owner/name"  # in a card, until it goes to the Hub


class Wishes(NamedTuple):
    """What a person says of a model."""

    checkpoint: str = "latest"
    data: str = ""  # what it was trained on, in words
    license: str = ""  # as the Hub calls it, such as apache-2.0
    picture: bool = True  # one of those that eval drew goes along


_NONE = Wishes()


def push(
    run: Path,
    name: str = "",
    to: Path | None = None,
    private: bool = False,
    wishes: Wishes = _NONE,
) -> list[str]:
    """Writes a run as a folder to share, or puts it on the Hub, or both.

    Args:
      run: the run folder; or a folder that this wrote, perhaps with another card, which goes to
        the Hub as it is.
      name: on the Hub, as in owner/name; empty for nothing there.
      to: the folder to make; None for none that stays.
      private: on the Hub, seen by its owner alone.
      wishes: what a person says.

    Returns:
      Lines for people.

    Raises:
      InputError: it is no run, ``to`` is there, or the Hub refuses.
    """
    if not (name or to):
        raise InputError(
            "say where to: a name on the Hub as in owner/name, a folder by --to, or both"
        )
    if to and to.exists() and (to.is_file() or any(to.iterdir())):
        raise InputError(f"{to} is there already; give another place by --to, or remove it")
    if wishes.license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{,40}", wishes.license):
        raise InputError(
            f"--license {wishes.license} is none of the Hub's; they are as apache-2.0, "
            "cc-by-nc-4.0, other"
        )
    if shared.is_one(run):
        if to or wishes != _NONE:
            raise InputError(
                f"{run} is made to be shared already; change its {hub.CARD} by hand, and give "
                "a name on the Hub alone"
            )
        trained.read(run)
        if links := [file.name for file in run.iterdir() if file.is_symlink()]:
            raise InputError(f"{run / links[0]} is a link; put what is to be shared in its place")
        if (path := run / hub.CARD).is_file():
            writing.put(path, path.read_bytes().replace(NOBODYS.encode(), name.encode()))
        return [_put(run, name, private)]
    with tempfile.TemporaryDirectory() as passing:
        folder = to or Path(passing)
        told = _write(run, folder, name, wishes)
        if name:
            told.append(_put(folder, name, private))
        if to:
            told.append(f"in {to}")
        if not name:
            told.append(f"next: read {folder / hub.CARD}, then solojax push {folder} owner/name")
    return told


def _put(folder: Path, name: str, private: bool) -> str:
    return f"on the Hub: {hub.push(folder, name, private)}"


def _write(run: Path, folder: Path, name: str, wishes: Wishes) -> list[str]:
    config, step, variables, least_scores = trained.read(run, wishes.checkpoint)
    files = shared.files_of(step, weights.named(variables))
    files[checkpoint.CONFIG] = config_lib.to_json(shared.impersonal(config)).encode()
    told = []
    if least_scores.origin:
        files[shared.THRESHOLDS] = (run / shared.THRESHOLDS).read_bytes()
    if (scores := _scores(run, step)) is None:
        told.append(f"not scored at step {step}: the card has no AP; solojax eval --workdir {run}")
    pictures = sorted((run / score_run.FOLDER).glob("*.png"))
    picture = next((path for path in pictures if not path.is_symlink()), None)
    if picture and wishes.picture:
        files[hub.PICTURE] = picture.read_bytes()
        told.append(f"{hub.PICTURE} shows {picture}, for all to see; --no-picture leaves it out")
    if not wishes.license:
        told.append("the card says no licence; give one by --license, such as apache-2.0")
    about = card.About(
        title=name.rpartition("/")[2] if name else run.resolve().name,
        name=name or NOBODYS,
        step=step,
        numbers=sum(leaf.size for leaf in jax.tree.leaves(variables)),
        scores=scores,
        data=wishes.data,
        license=wishes.license,
        began_with=Path(config.training.pretrained).name,
        has_picture=hub.PICTURE in files,
    )
    files[hub.CARD] = card.written(config, about).encode()
    for file, content in files.items():
        writing.put(folder / file, content)
    size = sum(map(len, files.values()))
    return [f"{len(files)} files of {run} at step {step}, {size / 1e6:.1f} MB", *told]


def _scores(run: Path, step: int) -> dict[str, Any] | None:
    """The numbers of a run's scoring, if it was of that checkpoint."""
    path = run / page.NUMBERS
    if not path.is_file() or path.stat().st_size > MOST_NUMBERS:
        return None
    try:
        numbers = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged; delete it, or score the run again") from error
    return numbers if isinstance(numbers, dict) and numbers.get("step") == step else None
