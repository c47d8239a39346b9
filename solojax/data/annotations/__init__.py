"""Reads a COCO JSON and checks it before anything else trusts it.

What makes the whole file doubtful is an error; single instances without a usable mask are skipped
and counted. Nothing unchecked reaches pycocotools, whose C code crashes on NaN coordinates and
hangs on run lengths that do not add up.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from etils.epath import Path

from solojax import config
from solojax.config import Category
from solojax.data.annotations import (
    categories,
    ids,
    image_entries,
    json_lists,
    panoptic,
    rescale,
    segmentations,
    suspicions,
)
from solojax.data.annotations.instances import Entry, Image, Instance, add_instances
from solojax.data.annotations.left_out import OF_CONFIG, OF_FILE, Faults, Words
from solojax.data.annotations.mask_forms import NO_SEGMENTATION
from solojax.data.annotations.survey import Survey
from solojax.data.findings import Findings
from solojax.types import InputError

__all__ = ["Annotations", "Entry", "Image", "Instance", "See", "read", "read_images"]

CHUNK = 256  # instances whose run lengths are read at once
BOXES = "draw masks, or take boxes for masks by data.boxes_as_masks=true"
LISTS = ("images", "annotations", "categories")


See = Callable[[Entry, Instance | str], None]
"""(entry, what was read of it or why it has no usable mask); labels are category ids as yet."""


class Annotations(NamedTuple):
    """A checked COCO file."""

    categories: tuple[Category, ...]
    images: list[Image]
    findings: Findings  # what people should hear of
    faults: Faults  # what is left out
    total: int  # of annotations, those included that are left out
    category_ids: dict[int | str, int]  # of what ``Entry.category`` says
    image_ids: dict[int | str, int]  # of the ids in the file, as ``ids.read`` reads them
    stuff: tuple[Category, ...] | None = None  # of label maps, None where the set has none


def read(
    json_path: Path,
    image_root: Path | None,
    see: See | None = None,
    data: config.Data | None = None,
    words: Words | None = None,
) -> Annotations:
    """Reads and checks the annotations at ``json_path`` for the images under ``image_root``.

    Without a root, to be scored by, no image has to be there or to have a name, and no annotation
    to have a mask: ``see`` is given each, and tells of those. ``data`` says what is done with
    faults, and ``words`` say how people ask for that.

    Raises:
      InputError: the file is missing or not COCO, an image file is missing, an annotation names an
        unknown image or category, an image has no id or another's, or there is no annotation.
    """
    words = words or (OF_CONFIG if image_root else OF_FILE)
    reader = _Reader(json_path, image_root, Faults(data or config.Data(), words), see)
    reader.walk()
    return reader.finish()


def read_images(json_path: Path) -> list[Image]:
    """The images of a COCO JSON without what is in them; raises InputError as ``read`` does."""
    entries = [one for *_, one in json_lists.elements(json_path, ("images",), "reading images")]
    data = config.Data()
    findings, faults = Findings(), Faults(data, OF_FILE)
    read = image_entries.read(entries, json_path, None, data, findings, faults)
    faults.settle(json_path, len(entries), 0, findings)
    return list(read.images.values())


class _Reader:
    """Gathers the entries of a file. Annotations, most of it, are never held as they were."""

    def __init__(self, path: Path, root: Path | None, faults: Faults, see: See | None):
        self._path, self._root, self._see = path, root, see or self._tell
        self._faults, self._data = faults, faults.data
        self._images = image_entries.Images({}, {}, {})
        self._categories: list[Any] = []
        self._used: set[int | str] = set()  # ids of categories
        self._wanted: set[int | str] = set()  # ids of images
        self._count = 0  # annotations
        self._found: list[Entry] = []
        self._maps: panoptic.Reader | None = None
        self._findings, self._survey = Findings(), Survey()

    def walk(self) -> None:
        """Reads all entries. Where annotations come before the images, the file is read twice."""
        entries: list[Any] = []
        is_read, early = False, False
        for name, number, entry in json_lists.elements(self._path, LISTS, "checking annotations"):
            if name == "images":
                entries.append(entry)
            elif name == "categories":
                self._categories.append(entry)
            elif entries and not early:
                if not is_read:
                    self._read_images(entries)
                    is_read = True
                self._add(number, entry)
            else:
                early = True
        if not is_read:
            self._read_images(entries)
        if early:
            for name, number, entry in json_lists.elements(self._path, LISTS, "and its masks"):
                if name == "annotations":
                    self._add(number, entry)
        self._flush()

    def _read_images(self, entries: list[Any]) -> None:
        self._images = image_entries.read(
            entries, self._path, self._root, self._data, self._findings, self._faults
        )

    def _add_segments(self, number: int, annotation: dict[str, Any]) -> None:
        """Takes a panoptic annotation, its things as instances."""
        if self._maps is None:
            self._maps = panoptic.Reader(self._path, self._faults)
        image = self._maps.add(number, annotation, self._images.images)
        if image is None:
            return
        try:
            for one in self._maps.instances(image, annotation["segments_info"]):
                self._add(number, one)
        except InputError as fault:
            self._maps.forget(image)
            images = self._images.images
            key = next(key for key, one in images.items() if one is image)
            del images[key]
            gone = self._images.gone[key] = []
            self._faults.add_image(panoptic.UNREADABLE, image.id, image.name, gone, str(fault))

    def _add(self, number: int, annotation: Any) -> None:
        if isinstance(annotation, dict) and panoptic.is_meant(annotation):
            self._add_segments(number, annotation)
            return
        self._count += 1
        if not isinstance(annotation, dict):
            what = "annotations that are no objects"
            self._faults.add_annotation(what, f"[{number}]", None, f"{annotation!r:.60}")
            return
        key = ids.read(annotation.get("id"))
        shown = f"[{number}]" if key is None else key
        image_id: Any = annotation.get("image_id")
        category_id: Any = annotation.get("category_id")
        image_key, category = ids.read(image_id), ids.read(category_id)
        image = self._images.images.get(image_key) if image_key is not None else None
        if image_key is not None:
            self._wanted.add(image_key)
        if image is None and image_key in self._images.gone:
            self._images.gone[image_key].append(shown)
        elif image is None:
            what = "annotations of unknown images"
            self._faults.add_annotation(what, shown, image_id, f"image_id {image_id!r:.40}")
        elif category is None:
            what = "annotations of unknown categories"
            value = f"category_id {category_id!r:.40}"
            self._faults.add_annotation(what, shown, image.id, value)
        else:
            self._used.add(category)
            if scale := self._images.scales.get(image.id):
                annotation = rescale.rescale(annotation, (image.height, image.width), scale)
            self._found.append(Entry(annotation, image, shown, category))
            if len(self._found) == CHUNK:
                self._flush()

    def _flush(self) -> None:
        read = add_instances(self._found, self._findings, self._data.boxes_as_masks)
        for entry, instance in zip(self._found, read, strict=True):
            self._see(entry, instance)
        self._survey.see(self._found, read)
        self._found.clear()

    def _tell(self, entry: Entry, instance: Instance | str) -> None:
        if isinstance(instance, str):
            cure = BOXES if instance == NO_SEGMENTATION and entry.annotation.get("bbox") else ""
            what = f"instances skipped: {instance}"
            mask, image = entry.annotation.get("segmentation"), entry.image
            shown = segmentations.show(mask, instance, image.height, image.width)
            place = entry.place() + (f": {shown}" if shown else "")
            self._findings.add("lost", what, place, cure=cure)
            self._faults.note(instance, entry.id, entry.image.id)

    def finish(self) -> Annotations:
        """What was read, category ids turned into labels."""
        entries = self._maps.split()[0] if self._maps else self._categories
        if self._maps is None and self._root is not None:
            self._maps = self._read_maps()
        listed = categories.Categories((), {})
        if entries or not self._maps:  # else all labels are stuff
            listed = categories.read(entries, self._used, self._path, self._findings, self._faults)
        images, stuff = list(self._images.images.values()), None
        for image in images:
            kept = []
            for one in image.instances:
                if one.label in listed.labels:
                    kept.append(one._replace(label=listed.labels[one.label]))
                else:
                    what = "annotations of unknown categories"
                    value = f"category_id {one.label!r:.40}"
                    self._faults.add_annotation(what, one.id, image.id, value)
            image.instances[:] = kept
        for key, used, known in (
            ("category_id", self._used, listed.labels),
            ("image_id", self._wanted, {**self._images.images, **self._images.gone}),
        ):
            if added := ids.shift(used, known):
                why = f"kind of ids is off by one: every {key} is known with {added:+d} added to it"
                self._faults.explain(why)
        self._number(images)
        if self._maps:
            images, stuff = self._maps.finish(images, listed, self._findings)
        count = len(images) + self._faults.images
        self._faults.settle(self._path, count, self._count, self._findings)
        rescale.doubt(images, self._images.scales, self._findings)
        suspicions.look(self._survey.rows(), images, self._findings)
        if self._root is not None:  # else nothing is learned from it
            suspicions.count(images, listed.all, self._findings, stuff or ())
            if not self._maps:
                self._check_any(images)
        names = {key: listed.all[label].id for key, label in listed.labels.items()}
        image_ids = {key: image.id for key, image in self._images.images.items()}
        return Annotations(
            listed.all, images, self._findings, self._faults, self._count, names, image_ids, stuff
        )

    def _read_maps(self) -> panoptic.Reader | None:
        """The panoptic JSON beside this one, if there is one with its PNGs."""
        path = panoptic.beside(self._path)
        if path is None:
            return None
        if panoptic.folder_of(path) is None:
            what = "panoptic JSON without its folder of PNGs beside it: label maps are not read"
            self._findings.add("told", what, path.name)
            return None
        maps = panoptic.Reader(path, self._faults)
        images = {**self._images.images, **dict.fromkeys(self._images.gone)}
        for _, number, one in json_lists.elements(path, ("annotations",), "reading label maps"):
            maps.add(number, one, images)
        return maps

    def _number(self, images: list[Image]) -> None:
        """Sees to it that each instance has an id of its own."""
        first: dict[int, tuple[Image, Instance]] = {}
        every = (one.id for image in images for one in image.instances)
        texts = (one for one in every if type(one) is not int)
        anew = next((f"annotation {one} has no whole number below 2**63" for one in texts), "")
        for image in images:
            kept = []
            for one in image.instances:
                if anew or one.id not in first:
                    first.setdefault(one.id, (image, one))
                elif first[one.id][0] is image and first[one.id][1] == one:
                    what = "annotations that are listed twice"
                    self._findings.add("repaired", what, f"annotation {one.id}")
                    continue
                else:
                    anew = f"annotation id {one.id} occurs twice"
                kept.append(one)
            image.instances[:] = kept
        if anew:
            what = "annotations are numbered anew, from 1 on"
            self._findings.add("repaired", what, anew, count=self._count)
            number = itertools.count(1)
            for image in images:
                image.instances[:] = [one._replace(id=next(number)) for one in image.instances]

    def _check_any(self, images: list[Image]) -> None:
        if not any(image.instances for image in images):
            lost = [str(one) for one in self._findings if one.effect in ("lost", "doubtful")]
            why = f" with a usable mask ({'; '.join(lost)})" if lost else ""
            raise InputError(
                f"{self._path}: no annotation{why}; there is nothing to learn from it or to be "
                "scored by it: annotate some images, or name another JSON by data.train_json or "
                "data.val_json"
            )
