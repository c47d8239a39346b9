"""By which it is seen that images were changed after their records were written.

Kept beside the records: the size and time of each image file. Those in buckets, which answer slowly
one by one, are taken to be as they were, and so are images that are gone: records hold their bytes.
"""

import json
import os
import uuid
from collections.abc import Sequence
from typing import Any

from etils.epath import Path

from solojax.data.images import places as image_places

STAMPS = "images.json"  # the root, and [path from it on, size, nanoseconds] of each image


def renew(
    folder: Path,
    staging: Path,
    root: Path,
    shards: Sequence[Sequence[Path]],
    files: Sequence[Path],
    absent: Sequence[Path],
) -> None:
    """Removes files of records whose images are others or may have changed; notes what is true.

    Args:
      folder: of the records.
      staging: for what is being written.
      root: of the images.
      shards: the images of each file of records.
      files: of records, as many.
      absent: images that are left out of them.
    """
    now = _look(_names([path for shard in shards for path in shard], root), os.fspath(root))
    before = _read(folder) or {"root": "", "images": []}
    place = 0
    for shard, file in zip(shards, files, strict=True):
        same = before["images"][place : place + len(shard)] == now[place : place + len(shard)]
        if not same or before["root"] != os.fspath(root):
            file.unlink(missing_ok=True)
        place += len(shard)
    noted = {
        "root": os.fspath(root),
        "images": now,
        "absent": _look(_names(absent, root), os.fspath(root)),
    }
    written = staging / f"{uuid.uuid4().hex}-{STAMPS}"
    written.write_text(json.dumps(noted))
    written.replace(folder / STAMPS)  # whole, or as it was


def are_changed(folder: Path) -> bool:
    """Whether images that are there were changed since their records were written."""
    noted = _read(folder)
    if not noted:
        return True
    both = [*noted["images"], *noted["absent"]]
    now = _look([name for name, *_ in both], noted["root"])
    return any(one[1:] != [-1, -1] and one != other for one, other in zip(now, both, strict=True))


def sizes(folder: Path) -> list[int]:
    """The bytes of each image file, -1 of those in a bucket."""
    return [size for _, size, _ in _read(folder)["images"]]


def _names(paths: Sequence[Path], root: Path) -> list[str]:
    start = len(os.fspath(root / "x")) - 1  # of "." it has nothing
    return [os.fspath(path)[start:] for path in paths]


def _look(names: Sequence[str], root: str) -> list[list[Any]]:
    """[path from the root on, size, nanoseconds] of each; -1 where there is none to be known."""
    if "://" in root:
        return [[name, -1, -1] for name in names]
    inside: dict[str, dict[str, os.DirEntry]] = {}
    found: list[list[Any]] = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in inside:
            inside[folder] = image_places.list_folder(os.path.join(root, folder))
        try:
            about = inside[folder][base].stat()
            found.append([name, about.st_size, about.st_mtime_ns])
        except (KeyError, OSError):
            found.append([name, -1, -1])
    return found


def _read(folder: Path) -> dict[str, Any]:
    """What was noted; nothing where it was cut."""
    try:
        noted = json.loads((folder / STAMPS).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) and {"root", "images", "absent"} <= set(noted) else {}
