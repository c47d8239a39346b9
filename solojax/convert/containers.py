"""Files of weights, told by what they hold and not by their ending, into plain data.

Nothing of a file is run, imported or written anywhere; docs/weights.md says what is read.
"""

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from solojax.convert import archives, safetensors, torch_files
from solojax.convert.inert import Opaque, Unreadable
from solojax.convert.unwrap import StateDict, unwrapped
from solojax.data.images import faults as image_faults
from solojax.fields import shown
from solojax.types import InputError

__all__ = ["Container", "Opaque", "StateDict", "read", "state_dict_of"]

MOST_FILE = 16 * 2**30
ENDINGS = (".pth", ".pt", ".pkl", ".npz", ".pdparams", ".safetensors")  # as they mostly have

_TAKEN = "take torch's .pth, a .pkl or .pdparams, an .npz of arrays or .safetensors"


class Container(NamedTuple):
    """A file of weights as plain data."""

    path: Path
    form: str  # torch, pickle, npz, safetensors
    # Dictionaries, lists (of sets as well), tuples, numbers, text, bytes, None, NumPy arrays, which
    # must not be written into; bfloat16 and float8 are float32. Objects of other classes are
    # Opaque: a name.
    content: Any
    about: dict[str, str] = {}  # texts beside the arrays of safetensors


def read(path: str | os.PathLike[str]) -> Container:
    """Reads a file of weights.

    Raises:
      InputError: there is none, it is cut, or has what no weights need, which is named.
    """
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path} is no file of weights, but a folder or device")
        if about.st_size > MOST_FILE:
            raise InputError(f"{path} has more than {MOST_FILE:,} bytes")
        return Container(path, *_read(path, about.st_size))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: {error}") from error
    except Unreadable as error:
        raise InputError(f"{path} is not read as weights: {error}") from error


def state_dict_of(container: Container, ema: bool = False) -> StateDict:
    """The arrays of a file by the names of their layers, and what else it holds.

    Args:
      container: what was read.
      ema: take the other set of weights, that which training by averages keeps beside the first.

    Raises:
      InputError: it has no weights, or no such set.
    """
    try:
        return unwrapped(container.content, ema)
    except Unreadable as error:
        raise InputError(f"{container.path} {error}") from error


def _read(path: Path, size: int) -> tuple[Any, ...]:
    """The form, the content and, of some forms, the texts beside it."""
    with path.open("rb") as file:
        head = file.read(512)
        if head[:4] in (b"PK\3\4", b"PK\5\6"):
            return _archive(archives.Archive(file, size), size)
        file.seek(0)
        if safetensors.is_one(head):
            return "safetensors", *safetensors.read(file.read(size))
        if head[:1] == b"\x80" or head[:1] in (b"(", b"}", b"]", b"c", b"d", b"l"):
            return torch_files.read_pickle(file.read(size))
    if not head:
        raise Unreadable("it is empty")
    if head[257:262] == b"ustar":
        raise Unreadable(
            "it is a tar archive; files of before torch 0.2 are not read, others unpack"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        raise Unreadable("it is JSON")
    if stranger := image_faults.describe_stranger(head, _TAKEN):
        raise Unreadable(stranger)
    raise Unreadable(f"it begins with {shown(head[:8])}; {_TAKEN}")


def _archive(archive: archives.Archive, size: int) -> tuple[str, Any]:
    pickles = [name for name in archive.names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) == 1:
        return "torch", torch_files.read_zip(archive, size)
    if archive.names and all(name.endswith(".npy") for name in archive.names):
        return "npz", archives.arrays_of(archive)
    raise Unreadable(f"it is a zip file of {shown(archive.names[:3])}; {_TAKEN}")
