"""Files and folders of a set, as users have them: what is wrong with one is told by its name."""

import base64
import collections
import itertools
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from solojax.data.annotations.image_entries import is_scaled
from solojax.data.findings import Findings
from solojax.data.foreign.contents import SPLITS, Size
from solojax.data.images import chunks as image_chunks
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import places as image_places
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.data.images.files import why_left_out
from solojax.data.images.names import folded
from solojax.types import InputError

BESIDE_IMAGES = (
    ".txt", ".json", ".xml", ".yaml", ".yml", ".csv", ".md", ".cache", ".db", ".ini",
)  # fmt: skip
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")
SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def described_by(source: Path, ending: str) -> tuple[Path, list[Path]]:
    """The folder of a set and the files of that ending that describe it, or the one given."""
    if source.is_file() and source.name.lower().endswith(ending):
        path = Path(os.path.abspath(source))
        return path.parent, [path]
    folder = folder_of(source)
    return folder, files_in(folder, (ending,))


def folder_of(path: Path) -> Path:
    """The absolute path of a folder; raises InputError where there is none."""
    if path.is_file():
        cure = "unpack it" if path.suffix.lower() in ARCHIVES else "give the folder it is in"
        raise InputError(f"{path} is no folder; {cure}")
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a source of the form's layout")
    return Path(os.path.abspath(path))  # not resolved: a set may be made of links


def files_in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """All files below a folder with one of some endings, given in lower case, sorted."""
    paths = (path for path in folder.rglob("*") if path.name.lower().endswith(endings))
    return sorted(path for path in paths if not is_left_over(path, folder) and path.is_file())


def is_left_over(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is what programs leave there, or in a folder of such."""
    return any(map(image_places.is_left_over, path.relative_to(folder).parts))


def images_in(folder: Path, root: Path, findings: Findings) -> list[Path]:
    """All image files below a folder; counts what is neither such nor usual beside images."""
    for path in files_in(folder, ("",)):
        why = why_left_out(path)
        if why and not path.name.lower().endswith(BESIDE_IMAGES):
            findings.add(
                "lost", f"files left out: {why[0]}", os.path.relpath(path, root), cure=why[1]
            )
    return files_in(folder, IMAGE_ENDINGS)


def split_folders(source: Path) -> dict[str, Path]:
    """The folders of train and val in ``source``, however they are spelt.

    None unless both are, or a folder of train and one of test, which is left out.
    """
    found = {split: folder_called(source, names) for split, names in SPELLINGS.items()}
    if not found["train"] or not (found["val"] or found["test"]):
        return {}
    return {split: folder for split in SPLITS if (folder := found[split])}


def folder_called(source: Path, names: Iterable[str]) -> Path | None:
    """The folder in ``source`` of the first of some lower-case names, whatever its case."""
    if not source.is_dir():
        return None
    folders = {path.name.lower(): path for path in sorted(source.iterdir()) if path.is_dir()}
    return next((folders[name] for name in names if name in folders), None)


def file_called(path: Path) -> Path | None:
    """The file of that path, or the only one whose name differs from it by case alone."""
    if os.path.isfile(path):  # unlike Path's, it is false of names that no file can have
        return path
    if not os.path.isdir(path.parent):
        return None
    name = path.name.lower()
    alike = [other for other in os.listdir(path.parent) if other.lower() == name]
    return path.with_name(alike[0]) if len(alike) == 1 else None


def check_name(name: str, where: Path) -> str:
    """A path below the folder of images; raises InputError where it leads out of it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{where}: the file name {name!r} leads out of the folder of images")
    return path.as_posix()


def size_of(encoded: bytes, where: Any, as_stored: bool = False) -> Size:
    """Of an image as it is displayed, or as it is stored; raises InputError where it is none."""
    try:
        pixels, _ = image_files.decode(encoded, as_stored=as_stored)
    except InputError as fault:
        raise InputError(f"{where} {fault}") from None
    return pixels.shape[0], pixels.shape[1]


def size_in_frame(
    encoded: bytes,
    where: Any,
    stated: tuple[Any, Any],
    findings: Findings | None = None,
    may_be_scaled: bool = False,
) -> Size:
    """The size (height, width) of an image in the frame of what was drawn on it.

    It is that of the image as it is displayed; or as stored where that is the one that is stated,
    for readers of COCO take pixels as they are stored where the sides are exchanged. Another size
    is told of where there are ``findings``, unless it is of the same shape and that may be.
    """
    size = size_of(encoded, where)
    if stated == size or not all(type(side) is int and side > 0 for side in stated):
        return size
    if stated == size[::-1] and size_of(encoded, where, as_stored=True) == stated:
        return stated
    if findings is None or (may_be_scaled and is_scaled(stated, size)):
        return size
    findings.add(
        "doubtful",
        "images of another size than is stated for them; what is drawn is taken for drawn on the "
        "image as it is",
        f"{str(where).rpartition('/')[2]} is {size[1]}x{size[0]}, not {stated[1]}x{stated[0]}",
        cure="put the images back that were drawn on if they were resized since",
    )
    return size


def from_base64(text: Any, where: str) -> bytes:
    """The bytes that a text stands for, which may begin as the URL of an image in a page does."""
    try:
        head, comma, tail = text.partition(",")
        return base64.b64decode(tail if comma and head.startswith("data:") else text)
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{where} is not base64; export it again or delete it") from None


def decode(encoded: bytes, flags: int) -> np.ndarray | None:
    """The pixels of an image file, None where it is damaged, and where it is too large."""
    try:
        if header := image_headers.read(encoded):
            image_files.check_size(header)
        silent = image_chunks.without_remarks(encoded, keep=(b"tRNS", b"eXIf"))
        return cv2.imdecode(np.frombuffer(silent, np.uint8), flags)
    except (cv2.error, InputError):
        return None


class Finder:
    """Finds the images of a set by names that were given to them on other machines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = collections.defaultdict(list)
        for path in files_in(folder, IMAGE_ENDINGS):
            self._files[folded(path.name)].append(path)

    def find(self, name: str, where: str, beside: Path) -> Path | None:
        """The file of that name in a folder or its ``images``, or whose path ends most like it.

        The case of letters does not matter.

        Raises:
          InputError: several do so equally.
        """
        name = name.replace("\\", "/")
        for folder in (beside / "images", beside) if name and "\0" not in name else ():
            near = Path(os.path.abspath(folder / name))
            if near.is_relative_to(self._folder) and (found := file_called(near)):
                return found
        parts = [folded(part) for part in name.split("/") if part]
        best: list[Path] = []
        longest = 0
        for path in self._files.get(parts[-1], []) if parts else ():
            own = [folded(part) for part in path.parts]
            pairs = zip(reversed(parts), reversed(own), strict=False)
            alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            if alike > longest:
                best, longest = [], alike
            if alike == longest:
                best.append(path)
        exact = [path for path in best if path.name == PurePosixPath(name).name]
        best = exact if len(exact) == 1 else best
        if len(best) > 1:
            raise InputError(f"{where}: {name!r} may be {best[0]} or {best[1]}; rename one")
        return best[0] if best else None
