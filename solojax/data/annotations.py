"""Reads a COCO JSON and checks it before anything else trusts it.

What makes the whole file doubtful is an error; single instances without a usable mask are skipped
and counted. Nothing unchecked reaches pycocotools, whose C code crashes on NaN coordinates and
hangs on run lengths that do not add up.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from etils.epath import Path

from solojax.config import Category
from solojax.data import image_names, json_lists, suspicions
from solojax.data.findings import Findings, shorten
from solojax.data.instances import Entry, Image, Instance, add_instances
from solojax.data.survey import Survey
from solojax.types import InputError

__all__ = ["Annotations", "Entry", "Image", "Instance", "See", "read", "read_images"]

MOST_PIXELS = 2**31  # run lengths are counted in 32 bits
CHUNK = 256  # instances whose run lengths are read at once
LISTS = ("images", "annotations", "categories")


See = Callable[[Entry, Instance | str], None]
"""(entry, what was read of it or why it has no usable mask); labels are category ids as yet."""


class Annotations(NamedTuple):
    """A checked COCO file."""

    categories: tuple[Category, ...]
    images: list[Image]
    findings: Findings  # what people should hear of


def read(json_path: Path, image_root: Path | None, see: See | None = None) -> Annotations:
    """Reads and checks the annotations at ``json_path`` for the images under ``image_root``.

    Without a root, to be scored by, no image has to be there or to have a name, and no annotation
    to have a mask: ``see`` is given each, and tells of those.

    Raises:
      InputError: the file is missing or not COCO, an image file is missing, an annotation names an
        unknown image or category, ids repeat, or there is no annotation at all.
    """
    reader = _Reader(json_path, image_root, see)
    reader.walk()
    categories, images, findings = reader.finish()
    if image_root is not None and not any(image.instances for image in images):
        lost = [str(one) for one in findings if one.effect in ("lost", "doubtful")]
        why = f" with a usable mask ({'; '.join(lost)})" if lost else ""
        raise InputError(f"{json_path}: no annotation{why}; there is nothing to learn from it")
    missing = image_names.missing([image.path for image in images]) if image_root else []
    if missing:
        raise InputError(
            f"{json_path}: {len(missing)} of {len(images)} image files are missing: "
            f"{shorten(missing, len(missing), ', ')}; set data.train_images or data.val_images"
        )
    return Annotations(categories, images, findings)


def read_images(json_path: Path) -> list[Image]:
    """The images of a COCO JSON without what is in them; raises InputError as ``read`` does."""
    entries = [one for *_, one in json_lists.elements(json_path, ("images",), "reading images")]
    return list(_read_images(entries, json_path, None).values())


class _Reader:
    """Gathers the entries of a file. Annotations, most of it, are never held as they were."""

    def __init__(self, path: Path, root: Path | None, see: See | None):
        self._path, self._root, self._see = path, root, see or self._tell
        self._images: dict[int, Image] = {}
        self._categories: list[Any] = []
        self._seen = set[int]()
        self._found: list[Entry] = []
        self._findings = Findings()
        self._survey = Survey()
        self._problems: list[str] = []

    def walk(self) -> None:
        """Reads all entries. Where annotations come before the images, the file is read twice."""
        entries: list[Any] = []
        early = False
        for name, number, entry in json_lists.elements(self._path, LISTS, "checking annotations"):
            if name == "images":
                entries.append(entry)
            elif name == "categories":
                self._categories.append(entry)
            elif entries and not early:
                if number == 0:
                    self._images = _read_images(entries, self._path, self._root)
                self._add(number, entry)
            else:
                early = True
        if not self._images:
            self._images = _read_images(entries, self._path, self._root)
        if early:
            for name, number, entry in json_lists.elements(self._path, LISTS, "and its masks"):
                if name == "annotations":
                    self._add(number, entry)

    def _add(self, number: int, annotation: Any) -> None:
        if not isinstance(annotation, dict) or not _is_id(annotation.get("id")):
            self._problems.append(f"annotations[{number}] has no integer id")
            return
        name = f"annotation {annotation['id']}"
        if annotation["id"] in self._seen:
            self._problems.append(f"{name} occurs twice")
        self._seen.add(annotation["id"])
        image_id: Any = annotation.get("image_id")
        category_id: Any = annotation.get("category_id")
        image = self._images.get(image_id) if _is_id(image_id) else None
        if image is None:
            self._problems.append(f"{name} names the unknown image {image_id!r}")
        elif not _is_id(category_id):
            self._problems.append(f"{name} names the unknown category {category_id!r}")
        else:
            self._found.append(Entry(annotation, image))
            if len(self._found) == CHUNK:
                self._flush()

    def _flush(self) -> None:
        read = add_instances(self._found, self._findings)
        for entry, instance in zip(self._found, read, strict=True):
            self._see(entry, instance)
        self._survey.see(self._found, read)
        self._found.clear()

    def _tell(self, entry: Entry, instance: Instance | str) -> None:
        if isinstance(instance, str):
            self._findings.add("lost", f"instances skipped: {instance}", entry.place())

    def finish(self) -> Annotations:
        """What was read, category ids turned into labels."""
        self._flush()
        categories = _read_categories(self._categories, self._path)
        labels = {category.id: label for label, category in enumerate(categories)}
        for image in self._images.values():
            for place, one in enumerate(image.instances):
                if one.label not in labels:
                    self._problems.append(
                        f"annotation {one.id} names the unknown category {one.label}"
                    )
                else:
                    image.instances[place] = one._replace(label=labels[one.label])
        if self._problems:
            raise InputError(f"{self._path}: {shorten(self._problems, len(self._problems))}")
        images = list(self._images.values())
        suspicions.look(self._survey.rows(), images, self._findings)
        if self._root is not None:  # else nothing is learned from it
            suspicions.count(images, categories, self._findings)
        return Annotations(categories, images, self._findings)


def _read_categories(entries: list, path: Path) -> tuple[Category, ...]:
    categories = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            raise InputError(f"{path}: categories[{number}] has no integer id")
        name = entry["id"] if entry.get("name") is None else entry["name"]
        # Text that JSON can hold and no file can.
        name = str(name).encode(errors="replace").decode()
        categories.append(Category(entry["id"], name))
    if len({category.id for category in categories}) < len(categories):
        raise InputError(f"{path}: a category id occurs twice")
    if not categories:
        raise InputError(f"{path}: the list of categories is empty")
    return tuple(sorted(categories, key=lambda category: category.id))


def _read_images(entries: list, path: Path, root: Path | None) -> dict[int, Image]:
    images: dict[int, Image] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: images[{number}] is not an object")
        wanted = {"id": int, "file_name": str, "height": int, "width": int}
        if root is None:
            del wanted["file_name"]
        for key, kind in wanted.items():
            if type(entry.get(key)) is not kind or (kind is int and not _is_id(entry[key])):
                raise InputError(f"{path}: images[{number}] has no {kind.__name__} {key!r}")
        if entry["height"] < 1 or entry["width"] < 1:
            raise InputError(f"{path}: image {entry['id']} has a side below 1 pixel")
        if entry["height"] * entry["width"] >= MOST_PIXELS:
            raise InputError(f"{path}: image {entry['id']} has {MOST_PIXELS} pixels or more")
        if entry["id"] in images:
            raise InputError(f"{path}: image id {entry['id']} occurs twice")
        place = Path() if root is None else root / _name_of(entry, path)
        name = entry["file_name"] if isinstance(entry.get("file_name"), str) else ""
        images[entry["id"]] = Image(entry["id"], place, entry["height"], entry["width"], [], name)
    return images


def _name_of(entry: dict, path: Path) -> PurePosixPath:
    """The name of an image file, which stays inside of the folder of images."""
    name = PurePosixPath(entry["file_name"].replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or "\0" in entry["file_name"]:
        raise InputError(
            f"{path}: image {entry['id']} has the file name {entry['file_name']!r}, "
            "which leads out of the folder of images"
        )
    if not name.parts:
        raise InputError(f"{path}: image {entry['id']} has no file name")
    return name


def _is_id(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63
