"""A run as a folder to share: a config, and one set of weights that is whole or refused.

A run trains on; what is shared of it is what predicts: no optimizer, no paths of a machine. It is
read as a run is, through ``checkpoint``.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

from solojax import __version__, fields
from solojax import config as config_lib
from solojax.convert import inert, safetensors
from solojax.types import InputError

WEIGHTS = "model.safetensors"
SUMS = "SHA256SUMS"  # sha256sum --check there says the same
THRESHOLDS = "thresholds.json"  # in a run folder as well
# Fields of ``data`` that say where somebody's files lie.
PLACES = ("root", "records", "train_json", "val_json", "train_images", "val_images")
MOST_SUMS, MOST_THRESHOLDS = 2**16, 2**23  # bytes; a class takes a hundred

Fits = Callable[[Mapping[str, jax.ShapeDtypeStruct], str], list[str]]
"""(what arrays are said to be, whose they are) -> names of those to read, or InputError."""


def is_one(folder: Path) -> bool:
    """Whether a folder is shared, and no run that trains."""
    return (folder / WEIGHTS).is_file()


def impersonal(config: config_lib.Config) -> config_lib.Config:
    """A config without what is of one person's machine.

    Left out when it is written, for their sake, and when it is read, for ours: nothing is looked
    for, or written, where a stranger says.
    """
    usual = {name: getattr(config_lib.Data(), name) for name in PLACES}
    data = dataclasses.replace(config.data, **usual)
    training = dataclasses.replace(config.training, pretrained="", wandb="", mlflow="")
    return dataclasses.replace(config, data=data, training=training)


def read(folder: Path, which: str, fits: Fits) -> tuple[int, dict[str, np.ndarray]]:
    """The step of the weights, and those that fit, by name; compared with their check sum.

    What they are said to be is looked at first: no more is held than is asked for.

    Raises:
      InputError: they are damaged, or none that ``which`` means.
    """
    path = folder / WEIGHTS
    try:
        with path.open("rb") as file:
            head = file.read(safetensors.MOST_HEAD)
            entries, about = safetensors.entries_of(head, path.stat().st_size)
            step = about.get("step", "")
            if not re.fullmatch("[0-9]{1,10}", step) or int(step) > fields.MOST:
                raise InputError(f"{path} is none that solojax push wrote: it has no step")
            if which not in ("latest", step):
                raise InputError(
                    f"{folder} holds the weights of step {step} alone, and no checkpoint {which!r}"
                )
            claims = {
                name: jax.ShapeDtypeStruct(one.shape, safetensors.type_of(one))
                for name, one in entries.items()
            }
            names = fits(claims, str(path))
            if (found := sum_of(folder)) != (wanted := sum_in(folder)):
                raise InputError(
                    f"{path} is not what was shared: its SHA-256 is {found[:16]}..., and {SUMS} "
                    f"says {wanted[:16]}...; fetch it again"
                )
            arrays = {}
            for name in names:
                file.seek(entries[name].start)
                raw = file.read(entries[name].stop - entries[name].start)
                arrays[name] = safetensors.array_of(entries[name], raw)
            return int(step), arrays
    except inert.Unreadable as error:
        raise InputError(f"{path}: {error}; fetch it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def sum_in(folder: Path) -> str:
    """The SHA-256 that the weights of a folder should have.

    Raises:
      InputError: it does not say.
    """
    path = folder / SUMS
    if not path.is_file():
        raise InputError(
            f"{folder} has no {SUMS}, by which its weights are checked; fetch it whole"
        )
    with path.open("rb") as file:
        text = file.read(MOST_SUMS).decode(errors="replace")
    found = re.search(rf"^([0-9a-f]{{64}}) [ *]{re.escape(WEIGHTS)}\r?$", text, re.MULTILINE)
    if not found:
        raise InputError(f"{path} has no line for {WEIGHTS}, as sha256sum writes it")
    return found[1]


def sum_of(folder: Path) -> str:
    """The SHA-256 that the weights of a folder have."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(step: int, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The weights and the file of their check sum, by name."""
    about = {"format": "solojax", "solojax": __version__, "step": str(step)}
    content = safetensors.written(arrays, about)
    return {WEIGHTS: content, SUMS: f"{hashlib.sha256(content).hexdigest()}  {WEIGHTS}\n".encode()}
