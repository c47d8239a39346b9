"""Where images for a prediction come from: files, folders, patterns; always upright RGB."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from solojax.data.findings import Findings
from solojax.data.images import files as image_files
from solojax.data.images import pages as image_pages
from solojax.data.images.endings import IMAGE_ENDINGS, VIDEO_ENDINGS
from solojax.data.images.values import Range
from solojax.types import InputError


class Inputs(NamedTuple):
    """What to predict on, each once, in the order given."""

    images: list[Path]
    videos: list[Path]
    webcams: list[int]


def find(given: Sequence[str], findings: Findings | None = None) -> Inputs:
    """Sorts out what a user gave: files, folders, patterns such as ``a/**/*.jpg``, ``webcam:N``.

    A folder stands for the images in it, but for hidden ones, and not for its folders and videos; a
    pattern stands for the images and videos that match. Both are sorted as people count: ``2.jpg``
    before ``10.jpg``. A file that is named is taken whatever its ending: as a video where that is a
    video's, else as an image. ``webcam`` is number 0.

    Args:
      given: what a user gave.
      findings: takes the files of folders and patterns that are left out.

    Raises:
      InputError: nothing is there, or nothing that is an image or a video.
    """
    found = Inputs([], [], [])
    findings = Findings() if findings is None else findings
    for text in given:
        if webcam := re.fullmatch(r"webcam(?::(\d+))?", text):
            if len(webcam[1] or "") > 9:
                raise InputError(f"{text}: no webcam has such a number; give webcam:0 or near it")
            found.webcams.append(int(webcam[1] or 0))
            continue
        for path in _files(text, findings):
            (found.videos if _ends(path, VIDEO_ENDINGS) else found.images).append(path)
    if not any(found):
        raise InputError("nothing to predict on; give files, folders, patterns or webcam")
    return Inputs(
        _each_once(found.images), _each_once(found.videos), list(dict.fromkeys(found.webcams))
    )


def read_image(
    path: str | os.PathLike,
    findings: Findings | None = None,
    *,
    value_range: Range | None = None,
    most_pixels: int | None = None,
    page: int | None = None,
) -> np.ndarray:
    """An image file as ``H W 3`` uint8 RGB, decoded as for a training (``image_files.decode``).

    Args:
      path: of the file.
      findings: takes what is to be told of it.
      value_range: which values become black and white, where they have more than 8 bits.
      most_pixels: the most that it may have, where that is not to be what memory holds.
      page: of a TIFF or an animation, from 1 on; where none is given, the first, and it is told.

    Raises:
      InputError: it is missing, damaged or no image; the line says what it seems to be.
    """
    _check(os.fspath(path))
    # That of a bucket stays one.
    encoded = image_files.read_file(path if hasattr(path, "read_bytes") else Path(path))
    return decode_image(
        encoded, path, findings, value_range=value_range, most_pixels=most_pixels, page=page
    )


def decode_image(
    encoded: bytes,
    path: str | os.PathLike,
    findings: Findings | None = None,
    *,
    value_range: Range | None = None,
    most_pixels: int | None = None,
    page: int | None = None,
) -> np.ndarray:
    """``read_image`` of a file that was read: its bytes and what it is to be called."""
    try:
        encoded = image_pages.take(encoded, page or 1, most_pixels)
        decoded = image_files.decode(encoded, value_range=value_range, most_pixels=most_pixels)
    except InputError as fault:
        if _ends(Path(path), VIDEO_ENDINGS):
            raise InputError(
                f"{path} is a video; solojax.inference.videos.read_video gives its frames"
            ) from None
        raise InputError(f"{path} {fault}") from None
    findings = Findings() if findings is None else findings
    for note in decoded.notes:
        if note == image_files.PAGES and page is not None:
            continue
        findings.add(note.effect, note.what, str(path), cure=note.cure)
    return decoded.pixels


def _check(text: str) -> None:
    """Raises InputError where that cannot be the path of a file or folder."""
    if not text:
        raise InputError("the path of an input is empty; give a file")
    if re.match("(https?|ftp)://", text):
        raise InputError(f"{text} is an address of the web; download the file and give its path")


def _files(text: str, findings: Findings) -> list[Path]:
    _check(text)
    path = Path(text)
    if path.is_dir():
        inside = [one for one in path.iterdir() if not one.name.startswith(".")]
        found = _taken(inside, IMAGE_ENDINGS, findings)
        if not found:
            told = "".join(f"; {one}" for one in findings)
            raise InputError(
                f"{path} has no image in it{told}; for what is in its folders give a pattern "
                f"such as '{path / '**' / '*.jpg'}'"
            )
    elif path.exists():  # first: its name may look like a pattern
        return [path]
    elif glob.has_magic(text):
        matching = map(Path, glob.glob(text, recursive=True))
        found = _taken(matching, IMAGE_ENDINGS + VIDEO_ENDINGS, findings)
        if not found:
            raise InputError(
                f"{text} matches no image and no video; check the pattern, in which a [ that is "
                "meant as such is [[]"
            )
    else:
        raise InputError(f"{text}: no such file or folder; check the path")
    return sorted(found, key=_counted)


def _taken(paths: Iterable[Path], endings: Sequence[str], findings: Findings) -> list[Path]:
    """The files that have one of some endings; of the others it is told what they are."""
    found = []
    for path in sorted(paths):
        if path.is_file():
            if _ends(path, endings):
                found.append(path)
            elif why := image_files.why_left_out(path):
                findings.add("lost", f"files left out: {why[0]}", str(path), cure=why[1])
        elif _ends(path, endings) and not path.is_dir():
            findings.add(
                "lost", "names left out that are no files but pipes or lead nowhere", str(path)
            )
    return found


def _each_once(paths: Sequence[Path]) -> list[Path]:
    """Without those that are named twice, however they are written."""
    firsts: dict[str, Path] = {}
    for path in paths:
        firsts.setdefault(os.path.abspath(path), path)
    return list(firsts.values())


def _ends(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes


def _counted(path: Path) -> tuple[list[Any], str]:
    """A key that sorts numbers in names by their value."""
    pieces = re.split(r"(\d+)", str(path))
    return [int(one) if i % 2 else one.lower() for i, one in enumerate(pieces)], str(path)
