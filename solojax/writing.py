"""Files that are there whole or not at all, whatever ends their writing."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from solojax.types import InputError

LONGEST_NAME = 255  # bytes, of all usual file systems


def put(path: Path, content: bytes | memoryview) -> None:
    """Writes a file whole or not at all, and makes its folder; what was there is replaced.

    Raises:
      InputError: it cannot be written.
    """
    part = part_of(path)
    try:
        with told(path):
            if path.exists() and not path.is_file():  # nothing takes the place of a device
                raise FileExistsError(errno.EEXIST, "it is no file", str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Raises InputError, which names the file, where a disk is full or a folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; see that there is space and "
            "leave to write, or choose another folder"
        ) from error


def part_of(path: Path) -> Path:
    """What a file is called while it is being written, beside where it will be."""
    part = f".{path.name}.part"
    if len(os.fsencode(part)) > LONGEST_NAME:
        part = f".{path.name[-LONGEST_NAME // 5 :]}.part"  # a character has up to four bytes
    return path.with_name(part)
