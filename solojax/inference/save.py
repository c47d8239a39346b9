"""Predictions into files: pictures and films for people, JSON and id maps for programs.

Each file takes its name when it is whole; what an interruption leaves has all rows up to it.
"""

import collections
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import cv2
import numpy as np

from solojax.config import Category
from solojax.data import rle
from solojax.inference import sources
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.types import InputError

FORMS = ("json", "rle", "polygons", "png")
DETECTIONS, RESULTS, INSTANCES = "detections.json", "results.json", "instances.json"
ENDINGS = ("", ".png", ".ids.png", ".mp4")  # of what bears the name of an input; "" is a folder
LONGEST_NAME = 200  # bytes; file systems allow 255, and endings are added
# Pixels that a polygon's points may lie off the borders of the pixels of its mask. Up to half a
# pixel pycocotools fills the very pixels again.
SLACK = 0.5
CLOCK = 90_000  # ticks a second of our films: those of 24, 25, 30, 50 and 60 frames are whole
QUALITY = {"crf": "20", "preset": "veryfast"}  # of x264: hard to tell from the frames
BT709 = 1  # the number of its colours in H.264


class Origin(NamedTuple):
    """What a result belongs to."""

    file: str  # as the user gave it
    name: str  # of its own files, before their endings
    id: int  # of its image, in every JSON
    frame: int | None = None  # of a video, from 0
    time: float | None = None  # of that frame, seconds since the first


class Stream(NamedTuple):
    """Images that belong together: the files that were given, or the frames of a film."""

    title: str
    unit: Literal["image", "frame"]
    total: int | None  # images to come, where it is known
    endless: bool  # to be ended by whoever looks on
    pictures: Iterator[tuple[Origin, np.ndarray]]  # H W 3 uint8 RGB


def streams(inputs: Inputs, faults: list[str]) -> Iterator[Stream]:
    """All images first, then each video, then each webcam; what is wrong is added to ``faults``.

    What cannot be read is left out. Ids and names are those of ``image_ids`` and ``name_outputs``.
    """
    names = name_outputs(inputs)
    ids = itertools.count(len(inputs.images) + 1)

    def images() -> Iterator[tuple[Origin, np.ndarray]]:
        for path, name, image_id in zip(inputs.images, names, image_ids(inputs), strict=False):
            try:
                image = sources.read_image(path)
            except InputError as fault:
                faults.append(str(fault))
            else:
                yield Origin(str(path), name, image_id), image

    def frames(
        file: str, name: str, coming: Iterator[sources.Frame]
    ) -> Iterator[tuple[Origin, np.ndarray]]:
        for number, frame in enumerate(coming):
            yield Origin(file, name, next(ids), number, frame.time), frame.image

    if inputs.images:
        yield Stream("images", "image", len(inputs.images), False, images())
    others = iter(names[len(inputs.images) :])
    for path in inputs.videos:
        coming = frames(str(path), next(others), sources.read_video(path, faults))
        yield Stream(path.name, "frame", sources.count_frames(path), False, coming)
    for number in inputs.webcams:
        title = f"webcam:{number}"
        coming = frames(title, next(others), sources.read_webcam(number, faults))
        yield Stream(title, "frame", None, True, coming)


def check_forms(text: str) -> tuple[str, ...]:
    """``json,png`` -> their names, each once.

    Raises:
      InputError: one is none of ``FORMS``.
    """
    forms = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for form in forms:
        if form not in FORMS:
            raise InputError(f"--save {form} is none of {', '.join(FORMS)}")
    return forms


def name_outputs(inputs: Inputs) -> list[str]:
    """A name for the files of each image, video and webcam: that of its file, told apart.

    The second of two ``1`` is called ``1-2``. No two names of files that come of them differ in
    upper and lower case alone.
    """
    stems = [path.stem for path in (*inputs.images, *inputs.videos)]
    stems += [f"webcam{number}" for number in inputs.webcams]
    taken = {DETECTIONS, RESULTS, INSTANCES}
    next_number: collections.Counter[str] = collections.Counter()
    names = []
    for stem in stems:
        stem = _shorten(stem)
        for number in itertools.count(next_number[stem.casefold()] + 1):
            name = f"{stem}-{number}" if number > 1 else stem
            files = {(name + ending).casefold() for ending in ENDINGS}
            if not files & taken:
                break
        next_number[stem.casefold()] = number
        taken |= files
        names.append(name)
    return names


def image_ids(inputs: Inputs) -> list[int]:
    """The ids of the images: the numbers that their files are called by, as COCO's are.

    Where not every file is called by a number of its own, or where there are frames as well: 1, 2,
    3 in their order.
    """
    stems = [path.stem for path in inputs.images]
    if not (inputs.videos or inputs.webcams) and all(s.isascii() and s.isdigit() for s in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers) and max(numbers, default=0) < 2**63:
            return numbers
    return list(range(1, len(stems) + 1))


def polygons(counts: bytes, height: int) -> list[list[int]]:
    """The outlines of a mask in COCO's form: x, y, x, y, ... of each of its parts, in pixels.

    Their points are corners of pixels. A hole is joined to its outline by a cut of no width, for
    COCO's polygons have no holes; filled by pycocotools or OpenCV it stays one.

    Args:
      counts: the mask, with at least one pixel, as compressed run lengths.
      height: of its image, pixels.
    """
    (patch,), ((top, left),) = rle.decode_patches([counts], height)
    # Doubled, each pixel has a first and a last row: outlines tell its upper border from its lower.
    doubled = np.repeat(np.repeat(patch, 2, 0), 2, 1)
    outlines, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP((one + 1) // 2, SLACK, True)[:, 0] for one in outlines]
    shapes = []
    for part, (_, _, hole, outside) in enumerate(tree[0]):
        if outside >= 0:
            continue
        shape = corners[part]
        while hole >= 0:
            ring = corners[hole]
            near = int(((shape - ring[0]) ** 2).sum(1).argmin())
            shape = np.concatenate([shape[: near + 1], ring, ring[:1], shape[near:]])
            hole = tree[0][hole][0]
        shapes.append((shape + (left, top)).reshape(-1).tolist())
    return shapes


def id_map(result: Result) -> np.ndarray:
    """``H W`` uint16: 0 where nothing is, ``k`` on the ``k``-th detection, better ones on top."""
    ids = np.zeros(result.size, np.uint16)
    for number in range(min(len(result), np.iinfo(np.uint16).max), 0, -1):
        (patch,), ((top, left),) = rle.decode_patches([result.rles[number - 1]], len(ids))
        ids[top : top + patch.shape[0], left : left + patch.shape[1]][patch > 0] = number
    return ids


class Film:
    """An MP4 in H.264 that browsers play; the file is there after ``close``, if it has a frame."""

    def __init__(self, path: Path):
        self._path, self._part = path, _part(path)
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Adds ``H W 3`` uint8 RGB, to be shown from that time on.

        Odd sides are made even, and pictures of another size than the first are made as large.

        Raises:
          InputError: PyAV has no encoder for H.264.
        """
        if self._container is None:
            self._open(*picture.shape[:2])
        width, height = self._stream.width, self._stream.height
        bottom, right = height - picture.shape[0], width - picture.shape[1]
        if bottom in (0, 1) and right in (0, 1):
            border = cv2.BORDER_REPLICATE
            even = cv2.copyMakeBorder(picture, 0, bottom, 0, right, border)
        else:
            even = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        # Time has to go on, whatever a video says.
        self._last = max(round(seconds * CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._container is None:
            return
        try:
            with self._container:
                if self._stream:
                    self._container.mux(self._stream.encode())
            if self._stream:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(
            str(self._part.absolute()), "w", format="mp4", options={"movflags": "faststart"}
        )
        try:
            # Without B-frames: the duration that is written is right for a variable rate, too.
            self._stream = self._container.add_stream("libx264", options={**QUALITY, "bf": "0"})
        except (av.codec.codec.UnknownCodecError, ValueError) as error:
            raise InputError(
                "this PyAV has no encoder for H.264; reinstall it with pip install "
                "--force-reinstall av, or give --no-overlays"
            ) from error
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = BT709


class Files:
    """The files of a prediction in one folder, made when there are none.

    ``detections.json`` (form ``json``) lists the images with what is in them, ``results.json``
    (``rle``) the detections as COCO's results do, ``instances.json`` (``polygons``) is a COCO set
    of them, and ``<name>.ids.png`` (``png``) are the ``id_map``s. The image ids are the same in
    all. Of a video every frame is an image; since a COCO set needs files of its images,
    ``polygons`` writes them as ``<name>/<frame>.jpg``.

    Args:
      out: the folder.
      inputs: all that there is to come.
      forms: those of ``FORMS`` to write.
      categories: that the network knows.
      overlays: whether to write pictures with the masks drawn, ``<name>.png`` and ``<name>.mp4``.
    """

    def __init__(
        self,
        out: Path,
        inputs: Inputs,
        forms: Sequence[str],
        categories: Sequence[Category],
        *,
        overlays: bool = True,
    ):
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._forms, self._overlays = out, forms, overlays
        self._film: tuple[str, Film] | None = None
        self._begun = False
        self._detections = 0
        self._images: list[dict[str, Any]] = []
        films = bool(inputs.videos or inputs.webcams)
        self._root = _root_of(inputs.images, [out] if films else [])
        classes = [{"id": one.id, "name": one.name} for one in categories]
        info = {"description": "solojax predict", "images": str(self._root)}
        about = f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(classes)},\n'
        heads = {
            "json": (DETECTIONS, "["),
            "rle": (RESULTS, "["),
            "polygons": (INSTANCES, f'{about}"annotations": ['),
        }
        self._rows = {
            form: _Rows(out / name, head) for form, (name, head) in heads.items() if form in forms
        }

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end_film()
        finally:
            for form, rows in self._rows.items():
                if not self._begun:  # what an earlier prediction left is worth more
                    rows.discard()
                    continue
                images = ",\n".join(map(json.dumps, self._images))
                rows.close(f'],\n"images": [\n{images}\n]}}' if form == "polygons" else "]")

    def add(self, origin: Origin, result: Result) -> None:
        """Writes all of one image or frame; those of a video come one after the other."""
        self._begun = True
        name = origin.name if origin.frame is None else f"{origin.name}/{origin.frame:06}"
        if "json" in self._rows:
            self._rows["json"].add(_describe(origin, result))
        if "rle" in self._rows:
            for one in result.to_coco(origin.id):
                self._rows["rle"].add(one)
        if "polygons" in self._rows:
            self._add_polygons(origin, result, name)
        if "png" in self._forms:
            _put(self._out / f"{name}.ids.png", _encode(".png", id_map(result)))
        if not self._overlays:
            return
        picture = result.plot()
        if origin.time is None:
            encoded = _encode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            _put(self._out / f"{name}.png", encoded)
            return
        if self._film is None or self._film[0] != origin.name:
            self._end_film()
            self._film = origin.name, Film(self._out / f"{origin.name}.mp4")
        self._film[1].add(picture, origin.time)

    def describe(self) -> str:
        """What lies in the folder, in words."""
        kinds = ["overlays"] if self._overlays else []
        kinds += [rows.name for rows in self._rows.values()]
        if "polygons" in self._rows:
            kinds[-1] += f" (of images in {self._root})"
        return ", ".join(kinds + (["*.ids.png"] if "png" in self._forms else []))

    def _add_polygons(self, origin: Origin, result: Result, name: str) -> None:
        path = Path(origin.file)
        if origin.frame is not None:
            path = self._out / f"{name}.jpg"
            _put(path, _encode(".jpg", cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR)))
        height, width = result.size
        file_name = Path(os.path.relpath(path, self._root)).as_posix()
        self._images.append(
            {"id": origin.id, "file_name": file_name, "height": height, "width": width}
        )
        for one, counts, area in zip(
            result.to_coco(origin.id), result.rles, result.areas.tolist(), strict=True
        ):
            self._detections += 1
            outlines = {"segmentation": polygons(counts, height), "area": area, "iscrowd": 0}
            self._rows["polygons"].add({"id": self._detections, **one, **outlines})

    def _end_film(self) -> None:
        film, self._film = self._film, None
        if film:
            film[1].close()


def check_folder(out: Path, inputs: Inputs) -> None:
    """Raises InputError where ``out`` is a file, or an overlay could replace what it is of."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    for folder in {path.parent for path in (*inputs.images, *inputs.videos)}:
        if folder.resolve() == out.resolve():
            raise InputError(f"--out {out} is the folder of an input; choose another one")


class _Rows:
    """A JSON file with a list that is written row by row."""

    def __init__(self, path: Path, head: str):
        self.name = path.name
        self._path, self._part = path, _part(path)
        self._file = self._part.open("w")
        self._file.write(head)
        self._before = "\n"

    def add(self, row: dict[str, Any]) -> None:
        self._file.write(self._before + json.dumps(row, allow_nan=False))
        self._before = ",\n"

    def close(self, tail: str) -> None:
        try:
            with self._file:
                self._file.write(f"\n{tail}\n")
            self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _describe(origin: Origin, result: Result) -> dict[str, Any]:
    """A row of ``detections.json``."""
    height, width = result.size
    row: dict[str, Any] = {"file": origin.file, "id": origin.id, "name": origin.name}
    if origin.frame is not None:
        row |= {"frame": origin.frame, "time": round(origin.time or 0.0, 6)}
    found = [
        {
            "class": name,
            "category_id": result.categories[label].id,
            "score": score,
            "box": box,
            "area": area,
        }
        for name, label, score, box, area in zip(
            result.names,
            result.labels.tolist(),
            result.scores.tolist(),
            result.boxes.tolist(),
            result.areas.tolist(),
            strict=True,
        )
    ]
    return {**row, "height": height, "width": width, "detections": found}


def _root_of(images: Iterable[Path], others: Iterable[Path]) -> Path:
    """The folder that file names in a COCO set of all of them start from."""
    folders = {os.path.abspath(path.parent) for path in images}
    folders |= {os.path.abspath(path) for path in others}
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def _shorten(stem: str) -> str:
    encoded = os.fsencode(stem)
    if len(encoded) <= LONGEST_NAME:
        return stem
    return encoded[:LONGEST_NAME].decode(errors="ignore")


def _encode(ending: str, picture: np.ndarray) -> bytes:
    """Grey or BGR, as OpenCV has it."""
    return cv2.imencode(ending, picture)[1].tobytes()


def _put(path: Path, encoded: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    part = _part(path)
    try:
        part.write_bytes(encoded)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """What a file is called while it is being written."""
    return path.with_name(f".{path.name}.part")
