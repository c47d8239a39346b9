"""The least scores of what a prediction shows: chosen on validation images, kept with the run."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solojax import writing
from solojax.config import Category
from solojax.inference.result import SCORE
from solojax.training import shared
from solojax.types import InputError

FILE = shared.THRESHOLDS  # in the run folder


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """One score for all classes, and those of classes that have their own."""

    score: float = SCORE
    classes: Mapping[int, float] = dataclasses.field(default_factory=dict)  # by category id
    origin: str = ""  # in words; empty where they were chosen by nothing

    def of(self, categories: Sequence[Category]) -> np.ndarray:
        """``C`` float, the score of each class."""
        return np.array([self.classes.get(one.id, self.score) for one in categories], float)

    def describe(self) -> str:
        """A line for people."""
        scores = sorted({self.score, *self.classes.values()})
        spread = f" ({scores[0]:.3g} to {scores[-1]:.3g} by class)" if len(scores) > 1 else ""
        origin = self.origin or "none was chosen, as solojax eval does on validation images"
        return (
            f"shows what scores at least {self.score:.3g}{spread}: {origin}; --score sets another"
        )


def read(run: Path, step: int) -> Thresholds:
    """Those of a run folder, the default ones where none were chosen.

    Args:
      run: the folder.
      step: of the checkpoint that they are for.

    Raises:
      InputError: the file is there and is not what it should be.
    """
    path = run / FILE
    if not path.is_file():
        return Thresholds()
    try:
        if path.stat().st_size > shared.MOST_THRESHOLDS:
            raise ValueError(f"more than {shared.MOST_THRESHOLDS:,} bytes")
        content = json.loads(path.read_bytes())
        classes = {int(one["id"]): float(one["score"]) for one in content["classes"]}
        score, images, chosen_at = float(content["score"]), content["images"], content["step"]
        if not all(0 <= one <= 1 for one in (score, *classes.values())):
            raise ValueError("a score is not in 0..1")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it, or score the run "
            "again, which writes it"
        ) from None
    origin = f"best F1 on {images} validation images at step {chosen_at} ({path})"
    if chosen_at != step:
        origin += f", and this is step {step}"
    return Thresholds(score, classes, origin)


def save(run: Path, chosen: Mapping[str, Any] | None, *, step: int, images: int) -> None:
    """Writes what ``read`` reads; of scores that nothing can be chosen by none are left.

    Args:
      run: the folder.
      chosen: ``score`` and ``classes``, each with ``id`` and ``score``, and what else is to be
        kept.
      step: of the checkpoint that was scored.
      images: that it was scored on.

    Raises:
      InputError: the file cannot be written.
    """
    path = run / FILE
    if chosen is None:
        path.unlink(missing_ok=True)
        return
    content = {"step": step, "images": images, **chosen}
    writing.put(path, (json.dumps(content, indent=2) + "\n").encode())
