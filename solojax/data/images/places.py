"""Where the image files of a set lie, each found by listing its folder: a bucket answers slowly."""

import collections
import os
import stat
from collections.abc import Iterable
from pathlib import Path as LocalPath
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from etils.epath import Path

MISSING = "image files missing"
PIPE = "images that are pipes or devices, not files"
LINK = "images that are links out of the folder of images"


class Stamp(NamedTuple):
    """By which it is seen that a file was changed."""

    size: int  # bytes
    time: int  # nanoseconds


class Place(NamedTuple):
    """What lies at a path: nothing of use where there is a fault."""

    fault: str
    stamp: Stamp | None  # None in a bucket, and where there is no file


def fault_of_name(name: object) -> str:
    """Why a file name cannot be one of a file in the folder of images; empty where it can."""
    if not isinstance(name, str) or not name:
        return "images without a file_name"
    path = PurePosixPath(name.replace("\\", "/"))
    if "://" in name:
        return "images whose file_name is an address; nothing is downloaded"
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        return "images whose file_name leads out of the folder of images"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "images whose file_name is no text that a file can have"
    return "" if path.parts else "images without a file_name"


def look(paths: Iterable[Path], root: Path, follow_links: bool) -> dict[Path, Place]:
    """What lies at each path below ``root``; nothing is opened.

    Args:
      paths: of image files.
      root: the folder of images, which may itself be a link.
      follow_links: whether links may lead out of it.
    """
    by_folder: dict[Path, list[Path]] = collections.defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    local = "://" not in os.fspath(root)
    home = os.path.realpath(root) if local else ""
    found: dict[Path, Place] = {}
    for folder, inside in by_folder.items():
        if not local:
            names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            for path in inside:
                found[path] = Place("" if path.name in names else MISSING, None)
            continue
        away = not (follow_links or _is_below(os.path.realpath(folder), home))
        entries = {} if away else list_folder(os.fspath(folder))
        for path in inside:
            entry = entries.get(path.name)
            if away:
                found[path] = Place(LINK, None)
            else:
                found[path] = _look_at(entry, home, follow_links) if entry else Place(MISSING, None)
    return found


def is_left_over(name: str) -> bool:
    """Whether a file or folder is called as those are which programs leave among data.

    Such as ``.ipynb_checkpoints`` with old copies of images, and what macOS packs beside a file.
    """
    return name.startswith(".") or name == "__MACOSX"


def below(root: Path) -> list[str]:
    """The paths of all files below a folder, from it on; none of a bucket."""
    found = []
    if "://" not in os.fspath(root):
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not is_left_over(name)]
            start = os.path.relpath(folder, root)
            found += [LocalPath(os.path.join(start, name)).as_posix() for name in names]
    return found


def list_folder(folder: str) -> dict[str, os.DirEntry]:
    """What is in a folder, by name; nothing where it is none."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError:
        return {}


def _look_at(entry: os.DirEntry, home: str, follow_links: bool) -> Place:
    try:
        about = entry.stat()
    except OSError:  # a link to nothing
        return Place(MISSING, None)
    if stat.S_ISDIR(about.st_mode):
        return Place(MISSING, None)
    if not stat.S_ISREG(about.st_mode):
        return Place(PIPE, None)
    if entry.is_symlink() and not (follow_links or _is_below(os.path.realpath(entry.path), home)):
        return Place(LINK, None)
    return Place("", Stamp(about.st_size, about.st_mtime_ns))


def _is_below(path: str, home: str) -> bool:
    return path == home or path.startswith(os.path.join(home, ""))
