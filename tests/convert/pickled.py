"""Files as torch writes them, made without it: names in a pickle are text until it is read."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Name(NamedTuple):
    """A class or function by its name, whether there is such a thing or not."""

    module: str
    name: str


class Call:
    """What is called when a pickle is read, its arguments, and the state that it gets."""

    def __init__(self, function: Name, *arguments: Any, state: Any = None):
        self.function, self.arguments, self.state = function, arguments, state


class Stored(NamedTuple):
    """A reference to a storage."""

    kind: str
    key: str
    length: int


class _Writer(pickle._Pickler):  # the one in Python, which may be told how a name is written
    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, one: Any) -> Any:
        if isinstance(one, Stored):
            return "storage", Name("torch", one.kind), one.key, "cpu", one.length
        return None

    def _save_name(self, one: Name) -> None:
        self.write(pickle.GLOBAL + f"{one.module}\n{one.name}\n".encode())

    def _save_call(self, one: Call) -> None:
        self.save(one.function)
        self.save(one.arguments)
        self.write(pickle.REDUCE)
        self.memoize(one)
        if one.state is not None:
            self.save(one.state)
            self.write(pickle.BUILD)

    dispatch[Name] = _save_name
    dispatch[Call] = _save_call


def dumps(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    _Writer(stream, protocol).dump(value)
    return stream.getvalue()


def tensor(
    key: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
    kind: str = "FloatStorage",
    length: int | None = None,
) -> Call:
    """A tensor as torch pickles it."""
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    length = int(np.prod(shape)) if length is None else length
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    stored = Stored(kind, key, length)
    return Call(rebuild, stored, offset, shape, strides, False, {})


def parts(value: Any, storages: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The members of an archive that torch would write."""
    members = {f"x/data/{key}": array.tobytes() for key, array in storages.items()}
    return {"x/data.pkl": dumps(value), "x/byteorder": b"little", **members, "x/version": b"3\n"}


def zipped(path: Path, members: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def save(path: Path, arrays: Mapping[str, np.ndarray], /, **beside: Any) -> Path:
    """A checkpoint of float32 arrays under ``state_dict``."""
    storages = {str(index): array for index, array in enumerate(arrays.values())}
    named = {name: tensor(str(i), array.shape) for i, (name, array) in enumerate(arrays.items())}
    return zipped(path, parts({"state_dict": named, **beside}, storages))
