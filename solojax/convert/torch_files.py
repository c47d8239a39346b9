"""Torch's checkpoints, of zip archives and of before them: a pickle, and storages beside it."""

import io
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solojax.convert import inert, pickles
from solojax.convert.archives import Archive
from solojax.convert.inert import Array, Dtype, Opaque, Storage, Tensor, Unreadable
from solojax.fields import shown

LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of files of before torch 1.6
MOST_DEPTH = 64  # of containers in one another; a config has some 15
MOST_NODES = 100_000  # of all containers, each as often as it is referred to
MOST_RATIO, FREE = 4, 2**20  # of all tensors to their file: some share a storage

# Types that NumPy does not have; they become float32, which has all their values.
_SMALL = {
    name: np.dtype(getattr(jnp, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
}
_TYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64 "
    "complex128"
).split()


class Raw(NamedTuple):
    """Where the numbers of storages lie."""

    read: Callable[[Storage], memoryview | bytes]
    is_big: bool = False  # whether a number's first byte is its greatest


def read_zip(archive: Archive, size: int) -> Any:
    """The content of an archive that ``torch.save`` wrote."""
    (pickle,) = (name for name in archive.names if name.rpartition("/")[2] == "data.pkl")
    folder = pickle.removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.names:
        raise Unreadable("it is a TorchScript program; save the state_dict() of its model")
    order = f"{folder}byteorder"
    is_big = order in archive.names and archive.read(order) == b"big"
    kept: dict[str, bytes] = {}

    def storage(one: Storage) -> bytes:
        name = f"{folder}data/{one.key}"
        if name not in archive:
            raise Unreadable(f"it has no storage {shown(one.key)}")
        if one.key not in kept:
            kept[one.key] = archive.read(name)
        return kept[one.key]

    found, _ = pickles.load(io.BytesIO(archive.read(pickle)))
    return plain(found, size, Raw(storage, is_big))


def read_pickle(content: bytes) -> tuple[str, Any]:
    """The content of a bare pickle, or of a checkpoint of before torch 1.6; its form first."""
    stream = io.BytesIO(content)
    found, _ = pickles.load(stream)
    if found != LEGACY:
        return "pickle", plain(found, len(content), None)
    pickles.load(stream)  # the version of the protocol
    system, _ = pickles.load(stream)
    little = not isinstance(system, dict) or system.get("little_endian") is not False
    found, referred = pickles.load(stream)
    keys, _ = pickles.load(stream)
    if not isinstance(keys, list):
        raise Unreadable("its list of storages is none")
    storages: dict[str, memoryview] = {}
    widths = {one.key: _dtype(one.dtype or "uint8").itemsize for one in referred}
    place = stream.tell()
    for key in keys:
        count = int.from_bytes(content[place : place + 8], "little" if little else "big")
        if key not in widths:
            raise Unreadable(f"it has a storage {shown(key)} of no tensor")
        end = place + 8 + count * widths[key]
        if end > len(content) or place + 8 > len(content):
            raise Unreadable(f"it is cut: storage {shown(key)} is not all there")
        storages[key] = memoryview(content)[place + 8 : end]
        place = end
    if storages.keys() != widths.keys():
        raise Unreadable("it is cut: it has not all storages")
    raw = Raw(lambda one: storages[one.key], not little)
    return "torch", plain(found, len(content), raw)


def plain(found: Any, size: int, raw: Raw | None) -> Any:
    """Dictionaries, lists, tuples, numbers, text, arrays; and an ``Opaque`` for all else.

    Args:
      found: what a pickle held.
      size: bytes of the file, which the arrays must not exceed by much.
      raw: where tensors have their numbers; None where there can be none.
    """
    made: dict[int, Any] = {}
    left = MOST_RATIO * size + FREE

    def leaf(node: Any) -> Any:
        nonlocal left
        if id(node) in made:
            return made[id(node)]
        result = node
        if isinstance(node, Tensor):
            left -= math.prod(node.shape) * _dtype(node.dtype or "uint8").itemsize
            if left < 0:
                raise Unreadable(f"its tensors claim more than {MOST_RATIO} times its size")
            result = _tensor(node, raw)
        elif isinstance(node, Array):
            result = _array(node)
        elif isinstance(node, Storage):
            result = Opaque("torch.Storage")
        elif isinstance(node, inert.Global):
            result = Opaque(node.full)
        elif isinstance(node, Dtype):
            result = Opaque("numpy.dtype")
        made[id(node)] = result
        return result

    return _walk(found, leaf)


def _walk(found: Any, leaf: Callable[[Any], Any]) -> Any:
    """A copy of containers, with something else for each of their leaves."""
    nodes = 0

    def copied(node: Any, depth: int) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MOST_NODES or depth > MOST_DEPTH:
            raise Unreadable("its lists hold one another more often than any weights need")
        if isinstance(node, dict):
            return {key: copied(value, depth + 1) for key, value in node.items()}
        if type(node) in (list, tuple):
            return type(node)(copied(value, depth + 1) for value in node)
        return leaf(node)

    return copied(found, 0)


def _dtype(name: str) -> np.dtype:
    if name in _SMALL:
        return _SMALL[name]
    if name not in _TYPES:
        raise Unreadable(f"it has tensors of type {shown(name)}, which is not known")
    return np.dtype(name)


def _tensor(tensor: Tensor, raw: Raw | None) -> np.ndarray:
    storage, dtype = tensor.storage, _dtype(tensor.dtype)
    if raw is None:
        raise Unreadable("it has tensors without storages")
    content = raw.read(storage)
    width = _dtype(storage.dtype or "uint8").itemsize
    where = f"a tensor of shape {shown(tensor.shape)} in storage {shown(storage.key)}"
    if (storage.start + storage.length) * width > len(content):
        raise Unreadable(f"{where}: the storage is shorter than it claims")
    count = storage.length * width // dtype.itemsize
    reach = tensor.offset + 1
    for side, stride in zip(tensor.shape, tensor.strides, strict=True):
        reach += (side - 1) * stride
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype if dtype not in _SMALL.values() else np.float32)
    if reach > count:
        raise Unreadable(f"{where}: it reaches number {reach:,} of {count:,}")
    stored = dtype.newbyteorder(">") if raw.is_big else dtype
    flat = np.frombuffer(content, stored, count, storage.start * width)
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :],
        tensor.shape,
        [stride * dtype.itemsize for stride in tensor.strides],
        writeable=False,
    )
    native = np.float32 if dtype in _SMALL.values() else dtype
    return np.ascontiguousarray(view, native).reshape(tensor.shape)


def _array(array: Array) -> Any:
    code = array.dtype.text if isinstance(array.dtype.text, str) else ""
    kind, width = code.lstrip("<>|=")[:1], code.lstrip("<>|=")[1:]
    if kind not in "fiubc" or width not in ("1", "2", "4", "8", "16") or array.raw is None:
        return Opaque(f"numpy array of {code[:20] or 'something'}")
    dtype = np.dtype(f"{kind}{width}")
    stored = dtype.newbyteorder(">") if array.dtype.order == ">" else dtype
    if math.prod(array.shape) * dtype.itemsize != len(array.raw):
        raise Unreadable(f"an array of shape {shown(array.shape)} has {len(array.raw):,} bytes")
    flat = np.frombuffer(array.raw, stored).astype(dtype, copy=False)
    found = flat.reshape(array.shape, order="F" if array.fortran else "C")
    return found[()].item() if array.scalar else found
