"""Safetensors: the length of a header, JSON of names to types, shapes and places, then bytes.

The package of that name would bring a compiled library for thirty lines, and checks less: here
names of the header are bounded before they are read, and no byte belongs to two tensors.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solojax.convert.inert import MOST_AXES, Unreadable
from solojax.fields import shown

MOST_HEADER = 4 * 2**20
MOST_HEAD = 8 + MOST_HEADER

TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
_SMALL = {"BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2}


def is_one(head: bytes) -> bool:
    """Whether bytes begin as such a file does."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


class Entry(NamedTuple):
    """Where an array lies, and what it is."""

    shape: tuple[int, ...]
    kind: str  # as the format calls its type
    start: int  # bytes of the file
    stop: int


def read(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, and the texts that stand beside them; small floats become float32.

    Raises:
      Unreadable: it is cut, or arrays lie where they cannot.
    """
    entries, about = entries_of(content, len(content))
    body = memoryview(content)
    return {name: array_of(one, body[one.start : one.stop]) for name, one in entries.items()}, about


def entries_of(head: bytes, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """What arrays there are, and the texts that stand beside them.

    Args:
      head: the first ``MOST_HEAD`` bytes of a file, or all.
      size: of the file.

    Raises:
      Unreadable: it is cut, or arrays lie where they cannot.
    """
    length = int.from_bytes(head[:8], "little")
    if length > MOST_HEADER or length > size - 8:
        raise Unreadable(
            f"it is a safetensors file that is cut: its header claims {length:,} bytes"
        )
    try:
        header = json.loads(head[8 : 8 + length], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the header of its safetensors is no JSON") from error
    if not isinstance(header, dict):
        raise Unreadable("the header of its safetensors is no JSON object")
    about = header.pop("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(x, str) for x in about.values()):
        raise Unreadable("__metadata__ of its safetensors is no object of texts")
    entries = {name: _entry(name, entry, 8 + length) for name, entry in header.items()}
    end = 8 + length
    for name, entry in sorted(entries.items(), key=lambda one: one[1][2:]):
        if entry.start != end:
            raise Unreadable(
                f"{shown(name)} in it begins at byte {entry.start - 8 - length:,}, "
                f"not {end - 8 - length:,}"
            )
        end = entry.stop
    if end != size:
        raise Unreadable(
            f"it is cut or has more: {size - 8 - length:,} bytes of arrays, not "
            f"{end - 8 - length:,}"
        )
    return entries, about


def type_of(entry: Entry) -> np.dtype:
    """NumPy's type of an array as it is read."""
    return np.dtype(np.float32 if entry.kind in _SMALL else TYPES[entry.kind])


def array_of(entry: Entry, raw: bytes | memoryview) -> np.ndarray:
    """An array of its bytes."""
    dtype = np.dtype(_SMALL.get(entry.kind) or TYPES[entry.kind]).newbyteorder("<")
    return np.frombuffer(raw, dtype).reshape(entry.shape).astype(type_of(entry), copy=False)


def written(arrays: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file of arrays, the widest numbers first, so that all are aligned."""
    codes = {np.dtype(name): code for code, name in TYPES.items()}
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    parts, end = [], 0
    for name in names:
        array = arrays[name]
        parts.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {
            "dtype": codes[array.dtype.newbyteorder("=")],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _entry(name: str, entry: Any, first: int) -> Entry:
    """What a header says of an array; ``first`` is the byte of the file at which they begin."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Unreadable(f"{shown(name)} in it says not what its array is")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or not (kind in TYPES or kind in _SMALL):
        raise Unreadable(f"{shown(name)} in it is of type {shown(kind)}, which is not known")
    numbers = [*shape, *place] if isinstance(shape, list) and isinstance(place, list) else [-1]
    if len(numbers) != len(shape) + 2 or len(shape) > MOST_AXES:
        raise Unreadable(f"{shown(name)} in it has a shape or place that is none")
    if not all(type(x) is int and 0 <= x < 2**48 for x in numbers):
        raise Unreadable(f"{shown(name)} in it has a shape or place that is none")
    width = np.dtype(_SMALL.get(kind) or TYPES[kind]).itemsize
    if place[1] - place[0] != math.prod(shape) * width:
        raise Unreadable(f"{shown(name)} in it has not as many bytes as its shape needs")
    return Entry(tuple(shape), kind, first + place[0], first + place[1])
