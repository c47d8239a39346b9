"""Zip archives of arrays, torch's and NumPy's, held to what their file can hold."""

import io
import math
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from solojax.convert.inert import MOST_AXES, Unreadable
from solojax.fields import shown

MOST_DIRECTORY = 4 * 2**20  # bytes of the list of members: some 50,000
# What unpacking may make of a file. Weights hardly shrink, and torch does not try.
MOST_RATIO, FREE = 8, 64 * 2**20


class Archive:
    """A zip file whose members are read by name, and never written anywhere."""

    def __init__(self, file: BinaryIO, size: int):
        held = _Held(file)
        try:
            self._zip = zipfile.ZipFile(held)
        except _ERRORS as error:
            raise Unreadable(f"it is a zip file that is cut or damaged ({_line(error)})") from error
        held.is_open = True
        members = self._zip.infolist()
        self._members = {one.filename: one for one in members}
        for one in members:
            parts = one.filename.replace("\\", "/").split("/")
            if ".." in parts or not parts[0] or ":" in parts[0]:
                raise Unreadable(f"its member {shown(one.filename)} leads out of it")
            if one.flag_bits & 1 or one.compress_type not in _METHODS:
                raise Unreadable(f"its member {shown(one.filename)} is encrypted, or not deflated")
        if len(self._members) != len(members):
            raise Unreadable("it has two members of one name")
        if sum(one.file_size for one in members) > MOST_RATIO * size + FREE:
            raise Unreadable(f"its members claim more than {MOST_RATIO} times its size")
        self.names = list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """The bytes of a member, whose check sum must be right."""
        try:
            return self._zip.read(self._members[name])
        except _ERRORS as error:
            raise Unreadable(
                f"its member {shown(name)} is cut or damaged ({_line(error)})"
            ) from error


_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA's header asks for any memory
_ERRORS = (
    struct.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class _Held:
    """A file that gives no more at once than a list of members may have, until that is read."""

    def __init__(self, file: BinaryIO):
        self._file, self.seekable, self.tell = file, file.seekable, file.tell
        self.is_open = False

    def seek(self, *where: int) -> int:
        return self._file.seek(*where)

    def read(self, count: int = -1) -> bytes:
        if not self.is_open and count > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its list of members claims {count:,} bytes")
        return self._file.read(count)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def arrays_of(archive: Archive) -> dict[str, np.ndarray]:
    """Of an ``.npz``: the members, which are all arrays."""
    return {
        name.removesuffix(".npy"): _array(archive.read(name), name)
        for name in archive.names
        if not name.endswith("/")
    }


def _array(content: bytes, name: str) -> np.ndarray:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = header(stream)
    except Exception as error:  # literals of any kind are read as one
        raise Unreadable(f"{shown(name)} in it is no array of numbers") from error
    if dtype.hasobject or dtype.names or dtype.kind not in "fiubc":
        raise Unreadable(f"{shown(name)} in it has objects that are no numbers")
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise Unreadable(f"{shown(name)} in it has a shape that is none")
    count, start = math.prod(shape), stream.tell()
    if count * dtype.itemsize != len(content) - start:
        raise Unreadable(f"{shown(name)} in it has not as many bytes as its shape needs")
    flat = np.frombuffer(content, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran else "C")
