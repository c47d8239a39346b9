"""Looks at the image files of a set, in threads: their headers, and on demand bytes and pixels."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils.epath import Path

from solojax import progress
from solojax.data import annotations
from solojax.data.findings import Effect, Findings
from solojax.data.images import endings
from solojax.data.images import faults as image_faults
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import places as image_places
from solojax.data.images.values import Note, Range
from solojax.types import InputError

PART = 1024  # files that are handed to threads at once
LABEL_ENDINGS = (".txt", ".json", ".xml", ".csv")  # of files that hold the labels of one image
HEAD = 4096  # bytes by which those are known
CONSTANT = "images have the same value everywhere"


class Seen(NamedTuple):
    """An image file."""

    fault: str  # why it cannot be read, beginning with a verb; empty where it can
    size: tuple[int, int]  # (height, width) as it is stored, pixels
    orientation: int  # EXIF's
    digest: str  # SHA-256 of its bytes in hexadecimal, empty where it was not asked for
    notes: list[Note]  # what its pixels tell, where they were asked for


def look(
    paths: Sequence[Path],
    what: str,
    *,
    threads: int,
    digests: bool = False,
    decode: bool = False,
    value_range: Range | None = None,
) -> list[Seen]:
    """Looks at image files, with a progress bar that is called ``what``."""

    def look_at(path: Path) -> Seen:
        try:
            encoded = image_files.read_file(path)
        except InputError as fault:
            return Seen(str(fault).removeprefix(f"{path} "), (0, 0), 1, "", [])
        digest = hashlib.sha256(encoded).hexdigest() if digests else ""
        header = image_headers.read(encoded)
        if header is None:
            return Seen(image_faults.describe(encoded), (0, 0), 1, digest, [])
        about = (header.height, header.width), header.orientation, digest
        if not header.is_whole:
            return Seen(image_faults.describe_damaged(header), *about, [])
        if not decode:
            return Seen("", *about, [])
        try:
            pixels, notes = image_files.decode(encoded, as_stored=True, value_range=value_range)
        except InputError as fault:
            return Seen(str(fault), *about, [])
        if (pixels == pixels[0, 0]).all():
            notes = [*notes, Note("told", CONSTANT, "see whether they were written whole")]
        return Seen("", *about, notes)

    return run(look_at, paths, what, threads)


def run(do: Callable, items: Sequence, what: str, threads: int) -> list:
    """``do`` of each item, in threads, in order, with a progress bar."""
    done = []
    with (
        ThreadPoolExecutor(threads) as pool,
        progress.bar(total=len(items), desc=what, unit="image") as bar,
    ):
        # In parts, so that an interruption does not wait for all of them.
        for start in range(0, len(items), PART):
            for one in pool.map(do, items[start : start + PART]):
                done.append(one)
                bar.update()
    return done


def tell(images: Sequence[annotations.Image], seen: Sequence[Seen], findings: Findings) -> None:
    """Adds what is wrong with the files of images."""
    for image, file in zip(images, seen, strict=True):
        place = str(image.path)
        if file.fault:
            findings.add("lost", "image files cannot be read", f"{place} {file.fault}")
            continue
        height, width = file.size
        as_json = (image.height, image.width)
        turned = (width, height) if file.orientation > 4 else (height, width)
        if as_json not in (file.size, turned):
            what = "image files have other sides than the JSON says"
            sides = f"{turned[1]}x{turned[0]}, not {image.width}x{image.height}"
            cure = "give the images that were annotated, or scale points and sides"
            if as_json == (width, height):
                cure = "exchange width and height in the JSON if the points fit so"
            findings.add("lost", what, f"{place}: {sides}", cure=cure)
        for note in file.notes:
            findings.add(note.effect, note.what, place, cure=note.cure)


def tell_of_equals(
    digests: Mapping[str, Sequence[tuple[str, str]]], most: int, findings: Findings
) -> None:
    """Adds images that are there twice.

    Args:
      digests: of the bytes -> (split, path) of all images that have them.
      most: how many of one split are no reason to doubt the set.
      findings: what was found.
    """
    within, across = [], []
    effect: Effect = "told"
    for places in digests.values():
        first: dict[str, str] = {}
        for split, path in places:
            if split in first and path != first[split]:  # told of when the JSON is read
                within.append(f"{path} as {first[split]}")
            first.setdefault(split, path)
        if len(first) > 1:
            across.append(" as ".join(first.values()))
    what = "images are in train and in val: what is learned by heart is scored"
    findings.add_all("doubtful", what, across, cure="leave each in one of the two")
    what = "images are there twice, under other names"
    effect = "doubtful" if len(within) > most else "told"
    findings.add_all(effect, what, within, cure="delete one of each, with its annotations")


def tell_of_others(
    root: Path, read: Iterable[Path], left_out: Iterable[str], findings: Findings
) -> None:
    """Adds files beside the images of a folder which no JSON names.

    Args:
      root: the folder.
      read: the images, and the JSONs.
      left_out: names of images that a JSON names and that are not read, as it writes them.
      findings: what was found.
    """
    known = {str(path) for path in read}
    stems = {path.rpartition(".")[0] for path in known}
    names = {name.replace("\\", "/").rpartition("/")[2] for name in left_out}
    for path in _files_in(root):
        if str(path) in known or path.name in names:
            continue
        ending = path.suffix.lower()
        if ending in endings.IMAGE_ENDINGS:
            what = "images that no JSON names, and nothing reads"
            findings.add("told", what, str(path), cure="annotate them or move them away")
        elif ending in LABEL_ENDINGS and path.parent.name != "annotations":
            has_image = str(path).rpartition(".")[0] in stems
            what = "files of labels beside their images, which nothing reads"
            if not has_image:
                what = "files of labels without an image, which nothing reads"
            if has_image or _holds_labels(path, ending):
                findings.add("told", what, str(path), cure="data import reads labelme and YOLO")
        elif reason := image_files.why_left_out(path):
            if ending in image_faults.UNREAD:
                findings.add(
                    "told", f"files are {reason[0]} and not read", str(path), cure=reason[1]
                )


def _holds_labels(path: Path, ending: str) -> bool:
    """Whether a file holds the labels of an image, by its first bytes: YOLO's, labelme's, VOC's."""
    try:
        with path.open("rb") as file:
            start = file.read(HEAD)
    except OSError:
        return False
    if ending == ".txt":
        first = start.partition(b"\n")[0].split()
        return len(first) > 4 and not b"".join(first).translate(None, b"0123456789+-.eE")
    return b'"shapes"' in start if ending == ".json" else b"<annotation" in start


def _files_in(folder: Path) -> Iterator[Path]:
    """All files below a folder, but for what programs leave there."""
    for path in sorted(folder.iterdir()):
        if image_places.is_left_over(path.name):
            continue
        # Of what has an ending of an image it is not asked: that takes a call to a bucket each.
        if path.suffix.lower() not in endings.IMAGE_ENDINGS and path.is_dir():
            yield from _files_in(path)
        else:
            yield path
