"""By which it is seen that images were changed after their records were written.

Kept beside the records: the size and time of each image file. Those in buckets, which answer slowly
one by one, are taken to be as they were, and so are images that are gone: records hold their bytes.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from etils.epath import Path

from solojax.data import image_places

STAMPS = "images.json"  # the root, and [path from it on, size, nanoseconds] of each image


def renew(
    folder: Path,
    root: Path,
    shards: Sequence[Sequence[Path]],
    files: Sequence[Path],
    absent: Sequence[Path],
) -> None:
    """Removes files of records whose images are other ones or were changed; notes what is true.

    Args:
      folder: of the records.
      root: of the images.
      shards: the images of each file of records.
      files: of records, as many.
      absent: images that are left out of them.
    """
    now = _look([path for shard in shards for path in shard], root)
    before = _read(folder)
    if before:
        place = 0
        for shard, file in zip(shards, files, strict=True):
            same = before["images"][place : place + len(shard)] == now[place : place + len(shard)]
            if not same or before["root"] != os.fspath(root):
                file.unlink(missing_ok=True)
            place += len(shard)
    noted = {"root": os.fspath(root), "images": now, "absent": _look(absent, root)}
    (folder / STAMPS).write_text(json.dumps(noted))


def are_changed(folder: Path) -> bool:
    """Whether images that are there were changed since their records were written."""
    noted = _read(folder)
    if not noted:
        return True
    root = Path(noted["root"])
    if "://" in noted["root"]:
        return False
    both = [*noted["images"], *noted["absent"]]
    now = _look([root / name for name, *_ in both], root)
    return any(one[1:] != [-1, -1] and one != other for one, other in zip(now, both, strict=True))


def sizes(folder: Path) -> list[int]:
    """The bytes of each image file, -1 of those in a bucket."""
    return [size for _, size, _ in _read(folder)["images"]]


def _look(paths: Sequence[Path], root: Path) -> list[list[Any]]:
    """[path from the root on, size, nanoseconds] of each; -1 where there is none to be known."""
    start = len(os.fspath(root)) + 1
    if "://" in os.fspath(root):
        return [[os.fspath(path)[start:], -1, -1] for path in paths]
    found = image_places.look(paths, root, follow_links=True)
    stamps = [found[path].stamp or (-1, -1) for path in paths]
    return [[os.fspath(path)[start:], *stamp] for path, stamp in zip(paths, stamps, strict=True)]


def _read(folder: Path) -> dict[str, Any]:
    """What was noted; nothing where it was cut."""
    try:
        noted = json.loads((folder / STAMPS).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) and {"root", "images", "absent"} <= set(noted) else {}
