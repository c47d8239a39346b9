"""Checkpoints of the training state, by Orbax: each is complete and sound, or not one at all.

Process 0 alone reads and writes them. Others get the state from it, so hosts need share no disk.
"""

import json
import re
import sys
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from solojax import __version__, fields, processes
from solojax import config as config_lib
from solojax.training import shared
from solojax.training.manager import (
    ABOUT,
    DIGEST,
    FOLDER,
    STATE,
    best_of,
    claims_in,
    irregular,
    manager_of,
    quietly,
    scores_in,
)
from solojax.types import InputError, TrainState

CONFIG = "config.json"  # in the run folder
FORMAT = 1  # of what a checkpoint holds; raise it with any change to TrainState

MOST_CONFIG = 2**24  # bytes; a thousand classes take a tenth of a million

Claims = Mapping[str, jax.ShapeDtypeStruct]
Choose = Callable[[Claims], Collection[str]]
"""What arrays are said to be, by name -> names of those to read; refuses what fits no model."""


class Damaged(Exception):
    """A checkpoint that cannot be read, or that is not what was written."""


def steps_in(workdir: Path) -> list[int]:
    """The steps that a run folder holds checkpoints of, without a look into them."""
    names = [path.name for path in (workdir / FOLDER).glob("*") if path.is_dir()]
    steps = [int(name) for name in names if re.fullmatch("0|[1-9][0-9]{,9}", name)]
    return sorted(step for step in steps if step <= fields.MOST)


def read_config(workdir: Path) -> config_lib.Config:
    """The config of a run, on every process; process 0 alone reads it.

    Raises:
      InputError: it is no run folder, or of another version.
    """
    text = config_lib.to_json(config_in(workdir)).encode() if processes.is_first() else b""
    return config_lib.from_json(processes.collect(text)[0], str(workdir / CONFIG))


def config_in(workdir: Path) -> config_lib.Config:
    """As ``read_config``, for a process that asks alone."""
    path = workdir / CONFIG
    if not path.is_file():
        raise InputError(f"{workdir} is not a run folder: it has no {CONFIG}")
    if path.stat().st_size > MOST_CONFIG:
        raise InputError(f"{path} has more than {MOST_CONFIG:,} bytes, and is no config")
    config = config_lib.from_json(path.read_bytes(), str(path))
    return shared.impersonal(config) if shared.is_one(workdir) else config


def read_variables(
    workdir: Path, like: dict[str, Any], which: str = "latest"
) -> tuple[int, dict[str, Any]]:
    """The step of a checkpoint, and what of its state is to be evaluated, on every process's host.

    Args:
      workdir: the run folder; process 0 alone reads it.
      like: variables of the model, or their shapes (``detector.variable_shapes``).
      which: ``latest``, ``best`` by AP, or a step.

    Raises:
      InputError: there is none such, or it is of another model or version.
    """
    if processes.is_first():
        step, arrays = read_arrays(workdir, like, which)
        found = np.array(step, np.int32), fill(like, arrays)
    else:
        found = np.zeros((), np.int32), jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    here, variables = processes.broadcast(found)
    return int(here), variables


def read_arrays(
    workdir: Path,
    like: Any,
    which: str = "latest",
    *,
    remedy: str = "take another workdir",
    anew: Collection[str] = (),
) -> tuple[int, dict[str, np.ndarray]]:
    """As ``read_variables``, by name: ``params/backbone/conv1/kernel`` and so on.

    No array is read that ``like`` has not, at its shape: a stranger's run takes no more memory.

    Args:
      workdir: as of ``read_variables``.
      like: as of ``read_variables``.
      which: as of ``read_variables``.
      remedy: what to do where the arrays are of another model.
      anew: names of those that are left out where their shape is another.

    Raises:
      InputError: as of ``read_variables``.
    """

    def fits(claims: Claims, where: str) -> list[str]:
        return fitting(like, claims, where, remedy, anew)

    if shared.is_one(workdir):
        return shared.read(workdir, which, fits)
    steps = steps_in(workdir)[::-1]
    if not steps:
        raise InputError(f"{workdir} holds no checkpoint; train first")
    manager = manager_of(workdir, read_only=True)
    known = f"it has {', '.join(map(str, sorted(steps)))}, latest and best"
    if which == "best":
        best = best_of(scores_in(manager))
        if best is None:
            raise InputError(f"no checkpoint of {workdir} was scored; set training.evaluate_every")
        wanted = [best]
    elif which == "latest":
        wanted = steps
    elif which in map(str, steps):
        wanted = [int(which)]
    else:
        raise InputError(f"{workdir} has no checkpoint {which!r}; {known}")

    def choose(claims: Claims) -> list[str]:
        prefix, evaluated = _evaluated(claims)
        return [prefix + name for name in fits(evaluated, f"checkpoint {step} of {workdir}")]

    for step in wanted:
        try:
            return step, {
                name.removeprefix("ema/"): array
                for name, array in read_step(manager, step, choose).items()
            }
        except Damaged as error:
            if which != "latest":
                raise InputError(
                    f"checkpoint {step} of {workdir} is damaged ({error}); {known}"
                ) from error
            tell_of_damage(step, error, "trying the one before")
    raise InputError(f"no sound checkpoint is left in {workdir}")


def items_of(state: TrainState) -> ocp.args.Composite:
    """What is written of a state: its arrays, and what tells whether they are read as they were."""
    return ocp.args.Composite(
        **{
            STATE: ocp.args.PyTreeSave(state),
            DIGEST: ocp.args.JsonSave(
                {"format": FORMAT, "solojax": __version__, "arrays": _digest(by_name(state))}
            ),
        }
    )


def read_step(manager: ocp.CheckpointManager, step: int, choose: Choose) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint by name, compared with what was written.

    Orbax notices most damage, but not a flipped bit in the middle of an array.

    Args:
      manager: of the run.
      step: of the checkpoint.
      choose: all names, or some that are in dictionaries alone, before any array is read.

    Raises:
      InputError: it is of another version, or what ``choose`` raises.
      Damaged: it is.
    """
    try:
        folder = Path(manager.directory) / str(step)
        if strange := irregular(folder):
            raise Damaged(strange)
        about = folder / ABOUT
        if about.exists() and not isinstance(json.loads(about.read_bytes()), dict):
            raise Damaged(f"{ABOUT} holds no JSON object")
        digest = _restore(manager, step, DIGEST, ocp.args.JsonRestore())
        if (version := digest["format"]) != FORMAT:
            by = str(digest.get("solojax", "0.1.0"))
            if not re.fullmatch(r"[0-9][0-9A-Za-z.+-]{,40}", by):  # else no command is made of it
                raise Damaged(f"its version is {fields.shown(by)}")
            raise InputError(
                f"checkpoint {step} was written by solojax {by} (format {version}, here {FORMAT}); "
                f"go on with that version, `pip install solojax=={by}`, or take another workdir"
            )
        written = digest["arrays"]
        if missing := written.keys() ^ (claims := claims_in(folder / STATE)).keys():
            raise Damaged(f"not what was written: {min(missing)} is missing")
        written = {name: written[name] for name in choose(claims)}
        wanted = ocp.args.PyTreeRestore()
        if len(written) < len(claims):
            tree = traverse_util.unflatten_dict(dict.fromkeys(written, 0), sep="/")
            wanted = ocp.args.PyTreeRestore(tree, partial_restore=True)
        arrays = by_name(_restore(manager, step, STATE, wanted))
        if written != (here := _digest(arrays)):
            wrong = sorted(k for k in here if here[k] != written.get(k))
            raise Damaged(f"not what was written: {', '.join(wrong[:3]) or 'arrays are missing'}")
    except (InputError, Damaged):
        raise
    except Exception as error:  # Orbax and its libraries have no error of their own for it
        raise Damaged(first_line_of(error)) from error
    return arrays


def _restore(manager: ocp.CheckpointManager, step: int, item: str, how: Any) -> Any:
    with quietly():
        return manager.restore(step, args=ocp.args.Composite(**{item: how}))[item]


def _evaluated(claims: Claims) -> tuple[str, dict[str, jax.ShapeDtypeStruct]]:
    """What is to be evaluated, the averages where there are any, by names behind a prefix."""
    for prefix in ("ema/", ""):
        kinds = (f"{prefix}params/", f"{prefix}batch_stats/")
        if found := {name: claim for name, claim in claims.items() if name.startswith(kinds)}:
            return prefix, {name.removeprefix(prefix): claim for name, claim in found.items()}
    return "", {}


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, whether its tuples have names or, read from a disk, numbers."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _digest(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array).data) for name, array in arrays.items()}


def fitting(
    like: Any,
    claims: Mapping[str, Any],
    where: str,
    remedy: str = "take another workdir",
    anew: Collection[str] = (),
) -> list[str]:
    """The names of arrays that fit ``like``; names, types and shapes must be the same.

    Those of ``anew`` need not be, and are left out then.

    Raises:
      InputError: they are not; ``where`` says whose they are, ``remedy`` what to do.
    """
    theirs, ours = (
        {name: f"{x.dtype}{list(x.shape)}" for name, x in named.items()}
        for named in (claims, by_name(like))
    )
    differing = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    for name in sorted(differing):
        if name not in anew or name not in ours or name not in theirs:
            raise InputError(
                f"{where} is of another model or optimizer than the config; {remedy} "
                f"({name} is {theirs.get(name)}, not {ours.get(name)})"
            )
    return [name for name in ours if name not in differing]


def fill(like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Puts arrays, of its names, in the places of ``like``."""
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in by_name(like)])


def tell_of_damage(step: int, error: Damaged, what_next: str) -> None:
    """Says on stderr that a checkpoint is passed over, and what is done about it."""
    print(
        f"solojax: warning: checkpoint {step} is damaged ({error}); {what_next}",
        file=sys.stderr,
        flush=True,
    )


def first_line_of(error: Exception) -> str:
    """An error of a library, which may run over pages, in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
