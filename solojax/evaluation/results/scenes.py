"""Reads whole scenes: panoptic JSONs with their PNGs, and folders of label maps, of any program."""

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from solojax import config
from solojax.config import Category
from solojax.data import panoptic_ids
from solojax.data.annotations import categories, ids, json_lists, label_pngs, panoptic
from solojax.data.annotations.instances import is_crowd
from solojax.data.annotations.left_out import OF_FILE, Faults
from solojax.data.annotations.mask_forms import NoMaskError
from solojax.data.findings import Findings, shorten
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import places as image_places
from solojax.data.panoptic_ids import VOID, Segment
from solojax.types import IGNORED, InputError

Key = int | str
"""Of an image, as its JSON has it."""

MARK = b'"segments_info"'  # without which no JSON is panoptic
HEAD = 2**26  # bytes of a JSON in which it is, behind the list of images
ENDINGS = (".labels.png", ".png")  # of the label map of an image, behind its name
GRAY, PALETTE = 0, 3  # colours of PNGs


class Map(NamedTuple):
    """Where the segments of an image are."""

    name: str  # of the PNG in its folder
    png: Path
    segments: list[Segment]


class Truth(NamedTuple):
    """What scenes are scored against."""

    path: Path
    labels: tuple[Category, ...]  # things, then stuff, each sorted by id
    things: int  # how many are things
    label_of: dict[Key, int]  # by the id of the category
    sizes: dict[Key, tuple[int, int]]  # (height, width) of all images
    names: dict[Key, str]  # of their files; empty where the JSON has none
    maps: dict[Key, Map]  # of those that have one


def is_panoptic(path: Path) -> bool:
    """Whether a file is a panoptic JSON, of a truth or of results."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return MARK in file.read(HEAD)
    except OSError:  # which who reads it tells
        return False


def read_truth(path: Path, findings: Findings) -> Truth:
    """Reads a panoptic JSON; its PNGs are read when they are needed.

    Args:
      path: of the JSON.
      findings: what is told of it.

    Raises:
      InputError: it is not what it should be; what is at fault is named.
    """
    lists: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    for name, _, one in json_lists.elements(
        epath.Path(path), tuple(lists), "reading truth", json_lists.PANOPTIC
    ):
        lists[name].append(one)
    faults = []
    sizes: dict[Key, tuple[int, int]] = {}
    names: dict[Key, str] = {}
    for number, image in enumerate(lists["images"]):
        entry = image if isinstance(image, dict) else {}
        key, size = ids.read(entry.get("id")), [entry.get(side) for side in ("height", "width")]
        height, width = (side if type(side) is int else 0 for side in size)
        if key is None or key in sizes or min(height, width) <= 0:
            faults.append(f"images[{number}] has no id of its own, height and width")
        else:
            sizes[key], names[key] = (height, width), str(entry.get("file_name") or "")
    entries = [one for one in lists["categories"] if isinstance(one, dict)]
    faults += [
        f"category {one.get('id')!r:.40} has the isthing {one.get('isthing')!r:.40}, where things "
        "have 1 and stuff has 0"
        for one in entries
        if one.get("isthing") not in (0, 1)
    ]
    if faults:
        raise InputError(f"{path}: {shorten(faults, len(faults))}")
    checked = Faults(config.Data(), OF_FILE)
    labels: tuple[Category, ...] = ()
    label_of: dict[Key, int] = {}
    counts = []
    for is_thing in (1, 0):
        some = [one for one in entries if one["isthing"] == is_thing]
        if some:
            read = categories.read(some, set(), epath.Path(path), findings, checked)
            label_of |= {key: len(labels) + place for key, place in read.labels.items()}
            labels += read.all
        counts.append(len(labels))
    if not 0 < len(labels) < IGNORED:
        raise InputError(f"{path} has {len(labels)} categories; 1 to {IGNORED - 1} can be scored")
    maps = _read_maps(path, lists["annotations"], sizes, label_of)
    if not maps:
        raise InputError(f"{path} has no annotation to score against")
    bare = [f"image {key}" for key in sizes if key not in maps]
    findings.add_all("told", f"images are not scored: {path} has no annotation of them", bare)
    return Truth(path, labels, counts[0], label_of, sizes, names, maps)


def read_results(path: Path, truth: Truth) -> dict[Key, Map]:
    """Reads panoptic results: by image what was found, of all images of the truth.

    Raises:
      InputError: the file is not what it should be; what is at fault is named.
    """
    lists = json_lists.elements(
        epath.Path(path), ("annotations",), "reading results", json_lists.PANOPTIC
    )
    maps = _read_maps(path, [one for *_, one in lists], truth.sizes, truth.label_of)
    bare = [f"image {key}" for key in truth.maps if key not in maps]
    if bare:
        raise InputError(
            f"{path} has no annotation of {shorten(bare, len(bare), ', ')}; where nothing was "
            "found give one without segments and a black PNG"
        )
    return maps


def read(one: Map, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The segments of an image of that (height, width), and the labels of its pixels.

    Returns:
      ``H W`` int32, ids, 0 where it is void; ``H W`` uint8, also of crowds.

    Raises:
      InputError: its PNG is not what it should be, or has other ids than its segments.
    """
    known = sorted(one.segments)
    numbers, labels = [segment.id for segment in known], [segment.label for segment in known]
    pixels, drawn, unseen = label_pngs.read_segments(epath.Path(one.png), size, numbers, labels)
    if unseen:
        named = shorten([*map(str, unseen)], len(unseen), ", ")
        raise InputError(
            f"{one.png} has no pixel of the id {named}, which segments_info lists; let both say "
            "the same"
        )
    return pixels, drawn


def find_label_files(folder: Path, truth: Truth) -> dict[Key, Path]:
    """The PNG of each image that is scored: called as its file, or as its PNG in the truth.

    Raises:
      InputError: some are missing; they are named.
    """
    owners: dict[Path, Key] = {}
    missing = []
    for key, one in truth.maps.items():
        names = [
            PurePosixPath(name).with_suffix("") for name in (truth.names[key], one.name) if name
        ]
        parts = [[part for part in name.parts if part not in ("/", "..")] for name in names]
        stems = ["/".join(some[first:]) for some in parts for first in range(len(some))]
        wanted = [folder / f"{stem}{ending}" for stem in stems for ending in ENDINGS]
        path = next((path for path in wanted if path.is_file()), None)
        if path is None:
            missing.append(f"{names[0].name}{ENDINGS[1]} (image {key})")
        elif owners.setdefault(path, key) != key:
            raise InputError(
                f"{path} is called as image {owners[path]} and as image {key}; put label maps into "
                "folders as the truth has them"
            )
    if missing:
        raise InputError(
            f"{folder} has no label map {shorten(missing, len(missing), ', ')}; give a PNG of the "
            "name of each image"
        )
    return {key: path for path, key in owners.items()}


def read_labels(path: Path, size: tuple[int, int], labels: int) -> np.ndarray:
    """``H W`` uint8, the label map of an image of that (height, width).

    Args:
      path: of a PNG of one channel; of one with a palette the places in it are the labels.
      size: that it must have.
      labels: how many there are.

    Raises:
      InputError: it is none, of another size, or has other values.
    """
    encoded = image_files.read_file(path)
    header = image_headers.read(encoded)
    depth, colour = encoded[24:26] if header and header.form == "PNG" else (0, -1)
    if colour != PALETTE and (depth, colour) != (8, GRAY):
        raise InputError(
            f"{path} is no PNG of one channel of 8 bits; write the label of each pixel into one, "
            f"{IGNORED} where there is none"
        )
    assert header
    label_pngs.check_size(path, (header.height, header.width), size)
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            pixels = np.array(image)
    except Exception:  # whatever a damaged file brings about
        raise InputError(f"{path} {image_files.describe_fault(encoded)}") from None
    odd = np.setdiff1d(pixels, [*range(labels), IGNORED]).tolist()
    if odd:
        raise InputError(
            f"{path} has the value {shorten([*map(str, odd)], len(odd), ', ')}; labels are 0 to "
            f"{labels - 1}, the things by their ids and then the stuff by theirs, and {IGNORED}"
        )
    return pixels


def _read_maps(
    path: Path,
    annotations: list[Any],
    sizes: Mapping[Key, tuple[int, int]],
    label_of: Mapping[Key, int],
) -> dict[Key, Map]:
    folder = panoptic.pngs_of(epath.Path(path))
    maps: dict[Key, Map] = {}
    faults = []
    for number, annotation in enumerate(annotations):
        entry = annotation if isinstance(annotation, dict) else {}
        try:
            key, name = ids.read(entry.get("image_id")), entry.get("file_name")
            if key is None or key not in sizes:
                raise ValueError(f"is of the unknown image {entry.get('image_id')!r:.40}")
            if key in maps:
                raise ValueError(f"is of image {key}, which another one is of")
            if fault := image_places.fault_of_name(name):
                raise ValueError(f"has no file_name of a PNG in {folder}: {fault}")
            png = Path(folder / str(name))
            if not png.is_file():
                raise ValueError(f"is of image {key}, whose PNG {png} is missing")
            maps[key] = Map(str(name), png, _segments(entry.get("segments_info"), label_of))
        except ValueError as error:
            faults.append(f"annotations[{number}] {error}")
    if faults:
        raise InputError(f"{path}: {shorten(faults, len(faults))}")
    return maps


def _segments(entries: Any, label_of: Mapping[Key, int]) -> list[Segment]:
    """Raises ValueError: what is wrong with them."""
    if not isinstance(entries, list):
        raise ValueError("has no list segments_info")
    segments: dict[int, Segment] = {}
    for segment in entries:
        entry = segment if isinstance(segment, dict) else {}
        id_, category = ids.read(entry.get("id")), ids.read(entry.get("category_id"))
        if not isinstance(id_, int) or not VOID < id_ <= panoptic_ids.MOST or id_ in segments:
            raise ValueError(
                f"has a segment {entry.get('id')!r:.40}, which is no id of its own in 1 to "
                f"{panoptic_ids.MOST}"
            )
        if category is None or category not in label_of:
            unknown = entry.get("category_id")
            raise ValueError(
                f"has segment {id_} of the category {unknown!r:.40}, which the truth does not list"
            )
        try:
            crowd = is_crowd(entry.get("iscrowd"))
        except NoMaskError as error:
            raise ValueError(f"has segment {id_}, of which {error}") from None
        segments[id_] = Segment(id_, label_of[category], crowd)
    return list(segments.values())
