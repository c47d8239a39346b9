"""What a pickle may name, as records that do nothing: no class of it is ever looked up or called.

A name is one of three things. *Known*: what tensors, arrays and plain data are made of; functions
here stand for them. *Left as a name*: a class of some package, a private function by which one
makes its objects anew, or one of the few of the standard library that hold data; an ``Opaque``
remembers what it was called, and what it held is dropped. *Refused*: all else of the standard
library, and any other function that is called. Neither would run, but a file that asks for them is
a program rather than weights, and whoever opens it elsewhere should know.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from solojax.fields import shown

MOST_AXES = 32


class Unreadable(Exception):
    """Why a file of weights is not read, in a line without its name."""


class Opaque:
    """An object of a class that is not known here."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Global(NamedTuple):
    """A class or function by its name."""

    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


class Storage(NamedTuple):
    """Numbers that tensors are views of."""

    dtype: str  # as torch calls it; empty where the tensor says so
    key: str
    length: int  # in numbers; in bytes where dtype is empty
    start: int = 0  # the first number, in a view of another


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Dtype:
    """NumPy's, by a text such as f4."""

    def __init__(self, text: str):
        self.text, self.order = text, "<"


class Array:
    """NumPy's, filled when its state is read."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = Dtype("")
        self.fortran = False
        self.raw: bytes | None = None
        self.scalar = False


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

# Modules of the standard library of which data is made. What they hold is dropped.
_DATA = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|datetime\.\w+|_?pathlib\..*|collections\.\w+"
    r"|typing\..*|enum\..*|uuid\.UUID|decimal\.Decimal|fractions\.Fraction|functools\.partial"
    r"|copyreg\._reconstructor|zoneinfo\..*|logging\.(getLogger|\w*Level\w*)|re\._compile"
    r"|time\.struct_time|random\.Random|array\.\w+|numbers\.\w+|abc\.\w+|collections\.abc\.\w+"
    r"|builtins\.(object|type|int|float|str|bool|bytes|bytearray|list|dict|tuple|set|frozenset"
    r"|complex|range|slice|NoneType|Ellipsis)"
)
# Functions of packages that make something beside the weights.
_MAKERS = re.compile(r"numpy\.random\..*|torch\.(device|Generator|dtype)|torch\.random\..*")


def found(module: str, name: str) -> Global:
    """A name of a pickle, by its newest spelling.

    Raises:
      Unreadable: nothing of a file of weights is called so.
    """
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    module = re.sub(r"^numpy\.core\b", "numpy._core", module)
    module = re.sub(r"^torch\.cuda$", "torch", module)
    one = Global(module, name)
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and one.full not in KNOWN and not _DATA.fullmatch(one.full):
        raise Unreadable(f"it would call {shown(one.full)}, which no weights need; nothing was run")
    return one


def made(what: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call is taken for."""
    if isinstance(what, Opaque):
        return what
    if not isinstance(what, Global):
        raise Unreadable(f"it would call {type(what).__name__}")
    if make := KNOWN.get(what.full):
        try:
            return make(*arguments)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise Unreadable(f"{what.full} has other arguments than are known") from error
    last = what.name.rpartition(".")[2][:1]
    if _DATA.fullmatch(what.full) or _MAKERS.fullmatch(what.full) or last.isupper() or last == "_":
        return Opaque(what.full)
    raise Unreadable(f"it would call {shown(what.full)}, which is not known; nothing was run")


def build(what: Any, state: Any) -> None:
    """Gives arrays and their types what they are made of; all else keeps no state."""
    if isinstance(what, Dtype):
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            what.order = state[1]
    elif isinstance(what, Array):
        if not isinstance(state, tuple) or len(state) != 5:
            raise Unreadable("an array of it has another state than is known")
        _, what.shape, what.dtype, what.fortran, raw = state
        _check_array(what, raw)


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


def _check_array(array: Array, raw: Any) -> None:
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
    return made(make, tuple(arguments))


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
    _check_array(array, raw)
    return array


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    array = Array()
    array.dtype, array.shape, array.fortran = dtype, tuple(shape), order == "F"
    _check_array(array, raw)
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
