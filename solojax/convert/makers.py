"""What tensors, arrays and plain data are made of in a pickle: functions of ours, by its names."""

from collections.abc import Callable
from typing import Any

from solojax.convert.inert import (
    MOST_AXES,
    Array,
    Dtype,
    Global,
    Opaque,
    Storage,
    Tensor,
    Unreadable,
)
from solojax.fields import shown

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Byte": "uint8",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Untyped": "",
}


def storage(pid: Any) -> Storage | Opaque:
    """Of a persistent id, as torch writes them; of a module, which it names with its source."""
    if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
        return Opaque(getattr(pid[1], "full", "a module"))
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise Unreadable(f"it refers to {shown(pid) if isinstance(pid, str) else 'something'}")
    kind, key, count = pid[1], pid[2], pid[4]
    if isinstance(kind, Opaque):
        kind = Global(*kind.name.rpartition(".")[::2])
    name = kind.name.removesuffix("Storage") if isinstance(kind, Global) else ""
    if name not in _STORAGES or kind.module not in ("torch", "torch.storage"):
        raise Unreadable(f"it has a storage of {shown(getattr(kind, 'full', ''))}, not known here")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise Unreadable("it has a storage without a name or length")
    view = pid[5] if len(pid) == 6 else None
    if view is None:
        return Storage(_STORAGES[name], key, count)
    if not isinstance(view, tuple) or len(view) != 3 or not _are_counts(view[1:]):
        raise Unreadable(f"storage {shown(key)} is a view of something that is not known")
    return Storage(_STORAGES[name], key, view[2], view[1])


def fill(array: Array, raw: Any) -> None:
    """Gives an array its bytes, where its type and shape are such.

    Raises:
      Unreadable: they are not.
    """
    if isinstance(raw, str):  # of Python 2
        raw = raw.encode("latin-1")
    if not isinstance(array.dtype, Dtype):
        raise Unreadable("an array of it has a type that is not known")
    if not isinstance(array.shape, tuple) or not _are_counts(array.shape):
        raise Unreadable("an array of it has a shape that is none")
    if len(array.shape) > MOST_AXES:
        raise Unreadable(f"an array of it has {len(array.shape)} axes")
    array.raw = bytes(raw) if isinstance(raw, bytes | bytearray) else None


def _are_counts(values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**48 for value in values)


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any, dtype: str = ""
) -> Tensor:
    if not isinstance(storage, Storage):
        where = f"lies in {storage.name}" if isinstance(storage, Opaque) else "has no storage"
        raise Unreadable(f"a tensor of it {where}, which is not read; write it with torch.save")
    shape, strides = tuple(shape), tuple(strides)
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise Unreadable(f"a tensor of it has {len(shape)} sides and {len(strides)} strides")
    if not _are_counts((offset, *shape, *strides)):
        raise Unreadable("a tensor of it has a side, stride or offset that is none")
    return Tensor(storage, dtype or storage.dtype, offset, shape, strides)


def _tensor_of_type(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    return _tensor(storage, offset, shape, strides, dtype=dtype.name)


def _of_type(make: Any, kind: Any, arguments: Any, state: Any) -> Any:
    if not isinstance(make, Global) or not make.name.startswith("_rebuild_tensor"):
        return Opaque(getattr(kind, "full", "a tensor of another kind"))
    return KNOWN[make.full](*arguments)


def _pairs(*arguments: Any) -> dict[Any, Any]:
    pairs = arguments[0] if arguments else ()
    if isinstance(pairs, dict):
        return dict(pairs)
    return {key_of(key): value for key, value in pairs}


def key_of(key: Any) -> Any:
    """A key that is hashed at once: tuples may be deep, and great numbers collide on purpose."""
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**32):
        return key
    return Opaque(f"a key, {type(key).__name__}")


def _array(kind: Any, shape: Any, code: Any) -> Any:
    return Array()


def _scalar(dtype: Any, raw: Any = b"") -> Array:
    array = Array()
    array.dtype, array.scalar = dtype, True
    fill(array, raw)
    return array


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    array = Array()
    array.dtype, array.shape, array.fortran = dtype, tuple(shape), order == "F"
    fill(array, raw)
    return array


def _encoded(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError
    return text.encode(encoding)


def _listed(values: Any = ()) -> list[Any]:
    return list(values)


def _bytes(*values: Any) -> bytes:
    if values and isinstance(values[0], str):
        return _encoded(*values)
    if values and not isinstance(values[0], bytes | list | tuple):
        raise ValueError  # bytes(10**12)
    return bytes(*values)


KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": _pairs,
    "builtins.dict": _pairs,
    "builtins.list": _listed,
    "builtins.set": _listed,
    "builtins.frozenset": _listed,
    "builtins.tuple": lambda values=(): tuple(values),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encoded,
    "torch.Size": lambda values=(): tuple(values),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._utils._rebuild_device_tensor_from_numpy": lambda data, *_: data,  # of a TPU
    "torch._utils._rebuild_xla_tensor": lambda data, *_: data,
    "torch._tensor._rebuild_from_type": _of_type,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "numpy.dtype": lambda text, *_: Dtype(text),
    "numpy._core.multiarray._reconstruct": _array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
