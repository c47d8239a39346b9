"""Orbax's manager of the checkpoints of a run: how it finds them, and which are best."""

import contextlib
import datetime
import logging
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from solojax import fields
from solojax.training import deciding

FOLDER = "checkpoints"  # in the run folder
STATE, DIGEST = "state", "digest"  # what is in a checkpoint, beside the scores
ABOUT = "_CHECKPOINT_METADATA"  # Orbax's, in a checkpoint
JSONS = (ABOUT, "_METADATA", "metadata", "metrics")  # wherever they are
MOST_JSON = 2**26  # bytes; an array takes some thousand


class _Manager(ocp.CheckpointManager):
    def metrics(self, step: int) -> dict[str, float] | None:
        """The scores of a checkpoint; none where they cannot be read, which is no damage to it."""
        if irregular(Path(self.directory) / str(step)):
            return None
        try:
            scores = super().metrics(step)
            return scores if np.isfinite(deciding.score_of(scores)) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None


class _Step(ocp.path.step.Metadata):
    """A checkpoint whose time is of no use here, since a file that is damaged has none."""

    commit_timestamp = datetime.datetime.min


class _Steps(ocp.path.step.NameFormat[_Step]):
    """Orbax's names of checkpoints, but that looking for them reads nothing that is in them."""

    _orbax = ocp.path.step.standard_name_format()

    def build_name(self, step: int) -> str:
        return self._orbax.build_name(step)

    def find_all(self, base_path: Any) -> Iterator[_Step]:
        found = self._orbax.find_all(base_path)
        return (_Step(one.step, one.path) for one in found if one.step <= fields.MOST)

    def find_step(self, base_path: Any, step: int) -> _Step:
        one = self._orbax.find_step(base_path, step)
        return _Step(one.step, one.path)


def irregular(folder: Path) -> str | None:
    """What is wrong with a file of a checkpoint before anything is read of it.

    A pipe is waited for, and what is JSON is held as a whole.
    """
    for path in folder.rglob("*"):
        if not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(folder)} is no regular file"
        if path.name in JSONS and path.stat().st_size > MOST_JSON:
            return f"{path.relative_to(folder)} has more than {MOST_JSON:,} bytes"
    return None


def claims_in(state: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """What the arrays of a checkpoint are said to be, by name; none of them is read.

    Args:
      state: its folder of that name.

    Raises:
      ValueError: something is no array, or has pieces that are larger than all of it.
    """
    tree = ocp.PyTreeCheckpointHandler().metadata(state.resolve()).tree
    claims = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        claims[name] = jax.ShapeDtypeStruct(leaf.shape, np.dtype(leaf.dtype))
        # A piece is decoded whole, wherever it ends.
        piece = leaf.storage.chunk_shape if leaf.storage else ()
        if prod(piece) > max(prod(leaf.shape), 1):
            raise ValueError(f"{name} has pieces of {list(piece)}, and is {list(leaf.shape)}")
    return claims


def best_of(scores: dict[int, float]) -> int | None:
    """The step with the highest score, the first of equal ones."""
    return max(scores, key=lambda step: (scores[step], -step), default=None)


def manager_of(workdir: Path, **options: Any) -> ocp.CheckpointManager:
    """Orbax's, for process 0 alone; ``options`` of ``ocp.CheckpointManagerOptions`` beside ours."""
    # What is damaged shows when it is read; Orbax would say so at length, too, and asyncio later.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Its other processes know nothing of it.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="checkpoints"
    )
    return _Manager(
        (workdir / FOLDER).resolve(),
        options=ocp.CheckpointManagerOptions(
            best_fn=deciding.score_of,
            step_name_format=_Steps(),
            # A checkpoint is seldom and takes seconds; one at a time is easier to be sure of.
            enable_async_checkpointing=False,
            multiprocessing_options=alone,
            create=False,  # which it refuses to do alone
            **options,
        ),
        item_names=(STATE, DIGEST),
    )


def scores_in(manager: ocp.CheckpointManager) -> dict[int, float]:
    """The score of each checkpoint that has one, by step."""
    scores = {step: manager.metrics(step) for step in manager.all_steps()}
    return {step: float(deciding.score_of(here)) for step, here in scores.items() if here}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Where one array cannot be read or written TensorStore tells asyncio of the others too late.

    Python would show a traceback for each, on top of the error of the first.
    """
    show = sys.unraisablehook

    def hear(late: Any) -> None:
        if not (late.exc_type is RuntimeError and str(late.exc_value) == "Event loop is closed"):
            show(late)

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = show
