"""What is read of a pickle, as records that do nothing: no class is ever looked up or called."""

from typing import NamedTuple

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
