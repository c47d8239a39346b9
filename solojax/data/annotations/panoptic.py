"""COCO's panoptic annotations: for each image its segments, and a PNG of their ids.

A label map has one number for each pixel: the label of a thing (the place of its category among
those with instances), of stuff (its place behind them), or ``IGNORED``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from etils.epath import Path

from solojax.config import Category
from solojax.data import panoptic_ids, rle
from solojax.data.annotations import categories, ids, json_lists, label_pngs
from solojax.data.annotations.categories import Categories
from solojax.data.annotations.instances import Image, is_crowd
from solojax.data.annotations.left_out import Faults
from solojax.data.annotations.mask_forms import NoMaskError
from solojax.data.findings import Findings
from solojax.data.images import places as image_places
from solojax.types import IGNORED, InputError

MOST_LABELS = IGNORED - 1  # that a byte tells apart, and 0 is one of them
UNREADABLE = "label maps that cannot be read"
UNSEEN = "label maps that lack a pixel of a segment that segments_info lists"


class LabelMap(NamedTuple):
    """Where the labels of an image are."""

    path: Path  # of the PNG
    ids: np.ndarray  # n int32, of its segments, ascending
    labels: np.ndarray  # n uint8
    crowd: np.ndarray  # n bool


def beside(json_path: Path) -> Path | None:
    """The panoptic JSON of an instances JSON: the one called so where that is called instances."""
    name = json_path.name.replace("instances", "panoptic")
    path = json_path.with_name(name)
    return path if name != json_path.name and path.exists() else None


def folder_of(json_path: Path) -> Path | None:
    """The folder of the PNGs: called as the JSON, beside it or beside its folder."""
    stem = json_path.name.removesuffix(json_path.suffix)
    places = json_path.with_name(stem), json_path.parent.parent / stem
    return next((one for one in places if one.is_dir()), None)


def read_with(json_path: Path) -> Path | None:
    """``beside``, where its PNGs are there."""
    path = beside(json_path)
    return path if path is not None and folder_of(path) is not None else None


def pngs_of(json_path: Path) -> Path:
    """``folder_of``.

    Raises:
      InputError: there is none.
    """
    if folder := folder_of(json_path):
        return folder
    stem = json_path.name.removesuffix(json_path.suffix)
    raise InputError(
        f"{json_path}: its PNGs are missing; put them into {json_path.with_name(stem)}"
    )


def is_meant(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is of the segments of a PNG, not of an instance, sound or not."""
    of_instance = "segmentation" in annotation or "bbox" in annotation
    return "segments_info" in annotation or ("file_name" in annotation and not of_instance)


class Reader:
    """Gathers the segments of a panoptic JSON."""

    def __init__(self, json_path: Path, faults: Faults):
        """Reads its categories.

        Raises:
          InputError: its PNGs are not there, or a category does not say whether it is a thing.
        """
        self._path, self._folder, self._faults = json_path, pngs_of(json_path), faults
        lists = json_lists.elements(json_path, ("categories",), "reading categories")
        self._categories = [one for *_, one in lists]
        self.things: set[int | str | None] = set()
        for one in filter(_is_object, self._categories):
            if one.get("isthing") not in (0, 1):
                raise InputError(
                    f"{json_path}: category {one.get('id')!r} has the isthing "
                    f"{one.get('isthing')!r:.20}; give 1 to things, 0 to stuff"
                )
            if one["isthing"]:
                self.things.add(ids.read(one.get("id")))
        self._keys: dict[int | str, int] = {}  # of categories that are used: their places here
        # By image id: the PNG, and of its segments the ids, places of categories, crowds.
        self._found: dict[int, tuple[Path, np.ndarray, np.ndarray, np.ndarray]] = {}
        self._told = 0  # instances that were made

    def add(
        self, number: int, annotation: Any, images: Mapping[int | str, Image | None]
    ) -> Image | None:
        """Takes one annotation, ``number`` is its place; the image it is of, if it is sound.

        None among the images stands for one that is left out.
        """
        entry = annotation if isinstance(annotation, dict) else {}
        key, name = ids.read(entry.get("image_id")), entry.get("file_name")
        image = images.get(key) if key is not None else None
        if key is not None and key in images and image is None:
            return None
        place, shown = f"[{number}] of {self._path.name}", f"{entry.get('image_id')!r:.40}"
        if image is None:
            self._faults.add_annotation("label maps of unknown images", place, shown)
            return None
        if image.id in self._found:
            self._faults.add_annotation("label maps of images that have one", place, shown)
            return None
        segments = entry.get("segments_info")
        if not isinstance(segments, list) or not isinstance(name, str):
            what = "label maps without a file_name or segments_info"
            self._faults.add_annotation(what, place, shown)
            return None
        if fault := image_places.fault_of_name(name):
            self._faults.add_annotation(f"label maps whose file name {fault}", place, repr(name))
            return None
        numbers: dict[int, tuple[int, bool]] = {}
        for segment in segments:
            if not _is_object(segment):
                what = "segments that are no objects"
                self._faults.add_annotation(what, f"{segment!r:.40} of {name}", image.id)
                continue
            one, category = ids.read(segment.get("id")), ids.read(segment.get("category_id"))
            if not isinstance(one, int) or not 0 < one <= panoptic_ids.MOST or one in numbers:
                what = f"segments without an id of their own in 1..{panoptic_ids.MOST}"
                self._faults.add_annotation(what, f"{segment.get('id')!r:.40} of {name}", image.id)
            elif category is None:
                self._add_unknown(one, name, segment.get("category_id"))
            else:
                place_of = self._keys.setdefault(category, len(self._keys))
                try:
                    numbers[one] = place_of, is_crowd(segment.get("iscrowd"))
                except NoMaskError as fault:
                    what = "segments that are neither crowds nor not"
                    self._faults.add_annotation(what, f"{one} of {name}", image.id, str(fault))
        order = sorted(numbers)
        known, crowd = np.array([numbers[one] for one in order], np.int32).reshape(-1, 2).T
        path = self._folder / name
        self._found[image.id] = path, np.array(order, np.int32), known, crowd.astype(bool)
        return image

    def _add_unknown(self, segment: int, name: str, category: Any) -> None:
        what = "segments of categories that the JSON does not list"
        place = f"{segment} of {name}"
        self._faults.add_annotation(what, place, None, f"category_id {category!r:.40}")

    def instances(self, image: Image, segments: list[Any]) -> Iterator[dict[str, Any]]:
        """COCO's annotations for the things among the segments of an image that was added.

        Raises:
          InputError: the PNG is not what it should be.
        """
        path, known, *_ = self._found[image.id]
        pixels = label_pngs.read_ids(path, (image.height, image.width))
        masks: dict[Any, dict[str, Any]] = dict(rle.rles_of(pixels))
        for segment in filter(_is_object, segments):
            number = ids.read(segment.get("id"))
            if number in known and ids.read(segment.get("category_id")) in self.things:
                self._told += 1
                mask: dict[str, Any] = {"size": list(pixels.shape), "counts": [pixels.size]}
                if found := masks.get(number):
                    mask["counts"] = found["counts"].decode()
                ours = {"id": self._told, "image_id": image.id, "segmentation": mask}
                yield {**segment, **ours}

    def forget(self, image: Image) -> None:
        """Drops what was added of an image."""
        del self._found[image.id]

    def split(self) -> tuple[list[Any], list[Any]]:
        """Entries of the categories of things, and of stuff."""
        things = [one for one in self._categories if _is_object(one) and self._is_thing(one)]
        return things, [one for one in self._categories if one not in things]

    def _is_thing(self, entry: dict[str, Any]) -> bool:
        return ids.read(entry.get("id")) in self.things

    def finish(
        self, images: list[Image], things: Categories, findings: Findings
    ) -> tuple[list[Image], tuple[Category, ...] | None]:
        """The images with their label maps, and the stuff; None where things do not fit.

        Args:
          images: of the set.
          things: categories of the instances, which are those of the things by id or name.
          findings: what is told.

        Raises:
          InputError: there are too many labels.
        """
        used = set(self._keys)
        none = Categories((), {})
        own, stuff = (
            categories.read(one, used, self._path, findings, self._faults) if one else none
            for one in self.split()
        )
        labels = {key: len(things.all) + place for key, place in stuff.labels.items()}
        by_name = {one.name: place for place, one in enumerate(things.all)}
        strange = []
        for key, place in own.labels.items():
            one = own.all[place]
            label = things.all.index(one) if one in things.all else by_name.get(one.name)
            if label is not None:
                labels[key] = label
            elif key in used:
                strange.append(f"{one.name!r} is category {one.id}")
        if strange:
            what = "things of the panoptic JSON are no categories of the instances: label maps are "
            cure = "list them in both, or set isthing to 0"
            findings.add_all("doubtful", f"{what}not read", strange, cure=cure)
            return images, None
        if len(things.all) + len(stuff.all) > MOST_LABELS:
            raise InputError(
                f"{self._path}: {len(things.all)} things and {len(stuff.all)} kinds of stuff are "
                f"more than {MOST_LABELS} labels; leave out those that are rare"
            )
        keys = list(self._keys)
        table = np.array([labels.get(key, IGNORED) for key in keys] or [IGNORED], np.uint8)
        for path, numbers, places, _ in self._found.values():
            for place in np.flatnonzero(table[places] == IGNORED).tolist():
                self._add_unknown(numbers[place], path.name, keys[places[place]])
        labelled, bare, crowds = [], [], []
        for image in images:
            if found := self._found.get(image.id):
                path, numbers, places, crowd = found
                known = LabelMap(path, numbers, table[places], crowd)
                image = image._replace(label_map=known)
                vague = crowd & (known.labels >= len(things.all)) & (known.labels != IGNORED)
                crowds += [f"{one} of {path.name}" for one in numbers[vague].tolist()]
            else:
                bare.append(f"image {image.id}")
            labelled.append(image)
        what = "images without a label map, whose pixels are ignored"
        findings.add_all("told", what, bare)
        findings.add_all("told", "crowds of stuff, which count as stuff like any other", crowds)
        return labelled, stuff.all


def _is_object(entry: Any) -> bool:
    return isinstance(entry, dict)


def read_labels(image: Image) -> tuple[np.ndarray, list[int]]:
    """The label map of an image that has one, ``H W`` uint8, and segments without a pixel.

    Raises:
      InputError: as of ``label_pngs.read_segments``.
    """
    assert image.label_map is not None
    path, known, labels, _ = image.label_map
    _, drawn, unseen = label_pngs.read_segments(path, (image.height, image.width), known, labels)
    return drawn, unseen
