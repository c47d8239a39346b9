"""Files and folders of a set, as users have them: what is wrong with one is told by its name."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import yaml

from solojax.data.foreign.contents import Size
from solojax.types import InputError


def folder_of(path: Path) -> Path:
    """The absolute path of a folder; raises InputError where there is none."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a source of the form's layout")
    return Path(os.path.abspath(path))  # not resolved: a set may be made of links


def files_in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """All files below a folder with one of some endings, given in lower case, sorted."""
    paths = (path for path in folder.rglob("*") if path.name.lower().endswith(endings))
    # Names that start with a dot are leftovers of file managers.
    return sorted(path for path in paths if path.name[0] != "." and path.is_file())


def lines_of(path: Path) -> list[str]:
    """The lines of a text file; none where there is no file."""
    return path.read_text("utf-8-sig", "replace").splitlines() if path.is_file() else []


def load(path: Path, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    """What ``parse`` makes of a file, where that is an object; else an empty one.

    Raises:
      InputError: there is no such file, or it cannot be parsed.
    """
    try:
        content = parse(path.read_bytes())
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be parsed: {why}; correct it or move it away") from error
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give it or the folder that holds it") from None
    return content if isinstance(content, dict) else {}


def check_name(name: str, where: Path) -> str:
    """A path below the folder of images; raises InputError where it leads out of it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{where}: the file name {name!r} leads out of the folder of images")
    return path.as_posix()


def size_of(encoded: bytes, where: Any) -> Size:
    """Of an image as it is displayed; raises InputError where it is none."""
    pixels = decode(encoded, cv2.IMREAD_GRAYSCALE)  # the fastest that still heeds EXIF
    if pixels is None:
        raise InputError(f"{where} is damaged or no image; replace it")
    return pixels.shape[0], pixels.shape[1]


def decode(encoded: bytes, flags: int) -> np.ndarray | None:
    """The pixels of an image file, None where it is damaged."""
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # no bytes, or a header that promises more pixels than OpenCV would hold
        return None
