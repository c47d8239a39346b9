"""Sets in other forms -> a COCO folder: labelme, YOLO-seg, Cityscapes, LVIS, image + id PNGs.

One function per form reads and checks all of a set; ``write`` writes what any of them returns, so
that nothing is written of a set with a fault. Coordinates are original pixels of the image as it is
displayed, in the orientation that EXIF asks for. Instances without a usable mask are skipped and
counted by reason; whatever else is wrong is an ``InputError``.
"""

import base64
import collections
import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.data.annotations import FARTHEST
from solojax.types import InputError

DESCRIPTION = "solojax import"  # marks a JSON file as ours: only such a file is ever replaced
SPLITS = ("train", "val")
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LEAST_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2}  # the shapes of labelme with a mask
CIRCLE_ERROR = 0.1  # pixels between a circle and its polygon, at most
YOLO_SLACK = 0.01  # beyond 0..1, where rounding may lead; further out it is pixels
CITYSCAPES = {
    24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
UNSCORED = {29: "caravan", 30: "trailer"}

Size = tuple[int, int]  # height, width
Skipped = collections.Counter[str]  # reason -> instances without a usable mask


class Picture(NamedTuple):
    """One image file and what is in it."""

    name: str  # of its file below OUT/images, with / between folders
    source: Path  # the image file, or the JSON that it is described in
    load: Callable[[], bytes]  # the bytes of the image file
    size: Size
    instances: list[dict[str, Any]]  # COCO annotations; ``write`` numbers those without an id
    extra: dict[str, Any]  # further keys of its COCO entry, the id where it has one


class Split(NamedTuple):
    """The images for training, or those for validation."""

    categories: list[dict[str, Any]]
    pictures: list[Picture]
    skipped: Skipped
    extra: dict[str, Any]  # further keys of the COCO JSON


class Import(NamedTuple):
    """A whole set, checked."""

    form: str
    source: Path  # the folder that was read
    splits: dict[str, Split]  # train, val or both


def write(found: Import, out: Path) -> None:
    """Writes ``annotations/instances_{train,val}.json`` and ``images/`` into ``out``; prints skips.

    Image files are copied byte by byte, and the JSONs follow when all images are there. The same
    set gives the same bytes again. Of what ``out`` holds already, only JSONs of an earlier import
    are replaced, or removed where the set has no such split.

    Raises:
      InputError: ``out`` lies in the source, or holds other annotations or another image of the
        same name; two images share a name; a split has no image or no instance.
    """
    if out.resolve().is_relative_to(found.source.resolve()):
        raise InputError(f"{out} lies in the source {found.source}; choose a folder outside of it")
    paths = {split: out / "annotations" / f"instances_{split}.json" for split in SPLITS}
    for path in filter(Path.exists, paths.values()):
        info = _load(path, json.loads).get("info")
        if not isinstance(info, dict) or info.get("description") != DESCRIPTION:
            raise InputError(f"{path} is not by this importer; choose another folder")
    _check_pictures(found)
    for split, content in found.splits.items():
        for picture in tqdm(content.pictures, f"copying {split}", unit="image"):
            target, encoded = out / "images" / picture.name, picture.load()
            if not target.exists():
                _put(target, encoded)
            elif target.read_bytes() != encoded:
                raise InputError(
                    f"{target} is there already, and is not the image of {picture.source}; "
                    "delete it or choose another folder"
                )
    for split, path in paths.items():
        if split in found.splits:
            _put(path, json.dumps(_to_coco(found.form, found.splits[split])).encode())
            for reason, count in found.splits[split].skipped.items():
                print(f"{path}: {count} instances skipped: {reason}")
        else:
            path.unlink(missing_ok=True)


def read_labelme(source: Path) -> Import:
    """Reads the labelme JSONs below ``source``: polygons, rectangles and circles.

    Shapes of one label that share a ``group_id`` are one instance. All is train, unless ``source``
    has both folders ``train`` and ``val``. Classes are numbered from 1 in the order of their names.
    An image is looked for where ``imagePath`` says, then beside the JSON, then embedded in it; its
    own size counts, not the one that the JSON states. Images without a JSON are left out.

    Raises:
      InputError: a JSON is not labelme's, a coordinate is no number, an image is missing.
    """
    source = _folder(source)
    folders = {split: source / split for split in SPLITS}
    if not all(folder.is_dir() for folder in folders.values()):
        folders = {"train": source}
    skipped = {split: Skipped() for split in folders}
    drawings = {}
    for split, folder in folders.items():
        files = tqdm(_files(folder, (".json",)), f"reading {split}", unit="file")
        drawings[split] = [(path, *_read_drawing(path, skipped[split])) for path in files]
    labels = {shape[0] for drawn in drawings.values() for *_, shapes in drawn for shape in shapes}
    ids = {label: number for number, label in enumerate(sorted(labels), 1)}
    splits = {}
    for split, drawn in drawings.items():
        pictures = []
        for path, image, shapes in tqdm(drawn, f"measuring {split}", unit="image"):
            file, load = _find_image(path, image, source)
            size = _size(load(), f"{path}: {file.name}")
            objects = collections.defaultdict(list)
            for number, (label, group, polygon) in enumerate(shapes):
                objects[label, number if group is None else repr(group)].append(polygon)
            instances: list[dict[str, Any]] = []
            for (label, _), polygons in objects.items():
                instances += _from_polygons(polygons, ids[label], size, skipped[split])
            name = file.relative_to(source).as_posix()
            pictures.append(Picture(name, path, load, size, instances, {}))
        categories = _categories({number: label for label, number in ids.items()})
        splits[split] = Split(categories, pictures, skipped[split], {})
    return Import("labelme", source, splits)


def read_yolo(source: Path) -> Import:
    """Reads the YOLO segmentation set of a ``data.yaml``, or of the folder that holds one.

    ``train`` and ``val`` are folders, lists of folders or ``.txt`` lists of images, below ``path``.
    The polygons of ``images/a.jpg`` are in ``labels/a.txt``; without that file it has none. Class
    ``i`` gets the category id ``i``. Lines of five numbers are boxes: skipped, they have no mask.

    Raises:
      InputError: ``data.yaml`` has no names or names missing images, or a line of a label file has
        an unknown class or coordinates that are not pairs in 0..1.
    """
    path = Path(os.path.abspath(source))
    path = path / "data.yaml" if path.is_dir() else path
    about = _load(path, yaml.safe_load)
    # A path that leads nowhere is one of the machine that the set was made on.
    root = Path(os.path.abspath(path.parent / str(about.get("path") or "")))
    root = root if root.is_dir() else path.parent
    names = about.get("names")
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if (
        not names
        or not isinstance(names, dict)
        or not all(type(i) is int and i >= 0 for i in names)
    ):
        raise InputError(f"{path} has no names of classes; add them, as in names: [cat, dog]")
    categories = _categories({index: str(names[index]) for index in sorted(names)})
    splits = {}
    for split in SPLITS:
        if entries := about.get(split):
            entries = entries if isinstance(entries, list) else [entries]
            images = [image for entry in entries for image in _listed(str(entry), root, path)]
            bar = tqdm(list(dict.fromkeys(images)), f"reading {split}", unit="image")
            skipped = Skipped()
            pictures = [_read_yolo_image(image, root, names, skipped) for image in bar]
            splits[split] = Split(categories, pictures, skipped, {})
    if not splits:
        raise InputError(f"{path} has neither train nor val; add the folders of the images")
    return Import("yolo", root, splits)


def read_cityscapes(source: Path) -> Import:
    """Reads ``leftImg8bit`` and ``gtFine`` of Cityscapes, of train and val what is unpacked.

    The instances are those of the eight classes that the benchmark scores, under Cityscapes' ids;
    caravans and trailers, which it does not score, are left out and counted. Objects that were not
    told apart (values below 1000) are a crowd.

    Raises:
      InputError: there are no images, or one has no ``instanceIds.png`` or one of another size.
    """
    source, splits = _folder(source), {}
    for split in SPLITS:
        images, masks = source / "leftImg8bit" / split, source / "gtFine" / split
        if images.is_dir():
            pairs = _pair(images, ("_leftimg8bit.png",), masks, "_gtfine_instanceids.png")
            pictures, skipped = _read_pairs(pairs, split, split, _classify_cityscapes)
            splits[split] = Split(_categories(CITYSCAPES), pictures, skipped, {})
    if not splits:
        raise InputError(
            f"{source} has no leftImg8bit/train or leftImg8bit/val; give the folder that holds "
            "leftImg8bit and gtFine"
        )
    return Import("cityscapes", source, splits)


def read_lvis(source: Path) -> Import:
    """Reads ``lvis*_train.json`` and ``lvis*_val.json``, in ``source`` or in its ``annotations``.

    An image is ``file_name`` below ``source``, or the last two parts of ``coco_url``, such as
    ``val2017/000000397133.jpg``. Ids, names and all keys of images, annotations and categories are
    kept; boxes, areas and crowd flags are added where absent.

    Raises:
      InputError: a JSON is not LVIS's, a coordinate is no number, an image is missing or of another
        size than stated.
    """
    source, splits = _folder(source), {}
    for split in SPLITS:
        folders = (source, source / "annotations")
        paths = sorted(path for folder in folders for path in folder.glob(f"lvis*_{split}.json"))
        if len(paths) > 1:
            raise InputError(f"{paths[0]} and {paths[1]} are both of {split}; move one elsewhere")
        if paths:
            splits[split] = _read_lvis_json(paths[0], source, split)
    if not splits:
        raise InputError(f"{source} has no lvis*_train.json or lvis*_val.json; give their folder")
    return Import("lvis", source, splits)


def read_pairs(source: Path, *, name: str = "object", divisor: int | None = None) -> Import:
    """Reads images in ``images`` and their instances in ``masks``: PNGs of ids of the same stems.

    A mask has one channel of 8 or 16 bits; 0 is background, each other value an instance. All is
    train, unless ``source`` has ``train/images`` and ``val/images``, or ``images/train`` and
    ``images/val``.

    Args:
      source: the folder of both.
      name: what the one class is called; its id is 1.
      divisor: where given, ``value // divisor`` is the category id, ``<name> <id>`` its name.

    Raises:
      InputError: an image or mask is without its partner or of another size, a mask is no id PNG.
    """
    if divisor is not None and divisor < 1:
        raise InputError(f"the divisor {divisor} must be at least 1")
    source = _folder(source)
    layouts = (
        {split: (source / split / "images", source / split / "masks") for split in SPLITS},
        {split: (source / "images" / split, source / "masks" / split) for split in SPLITS},
        {"": (source / "images", source / "masks")},
    )
    layout = next((x for x in layouts if all(i.is_dir() for i, _ in x.values())), layouts[-1])
    found = {}
    for folder, (images, masks) in layout.items():
        split, pairs = folder or "train", _pair(_folder(images), IMAGES, masks, ".png")
        found[split] = _read_pairs(
            pairs, split, folder, lambda value, _: (value // divisor if divisor else 1, 0)
        )
    names = {1: name}
    if divisor:
        seen = {i["category_id"] for ps, _ in found.values() for p in ps for i in p.instances}
        names = {number: f"{name} {number}" for number in sorted(seen)}
    splits = {split: Split(_categories(names), *read, {}) for split, read in found.items()}
    return Import("pairs", source, splits)


FORMS: dict[str, Callable[..., Import]] = {
    "labelme": read_labelme,
    "yolo": read_yolo,
    "cityscapes": read_cityscapes,
    "lvis": read_lvis,
    "pairs": read_pairs,
}


def _read_drawing(path: Path, skipped: Skipped) -> tuple[str, list[tuple[str, Any, list[float]]]]:
    """The image path of a labelme file, and of its shapes: label, group, polygon."""
    content = _load(path, json.loads)
    shapes, image = content.get("shapes"), content.get("imagePath")
    if not isinstance(shapes, list) or not isinstance(image, str):
        raise InputError(f"{path} is not labelme's: no 'shapes' or no 'imagePath'; move it away")
    found = []
    for number, shape in enumerate(shapes):
        where = f"{path}: shapes[{number}]"
        label, points = (isinstance(shape, dict) and shape.get(k) for k in ("label", "points"))
        if not isinstance(label, str) or not isinstance(points, list):
            raise InputError(f"{where} has no 'label' or no 'points'; correct or delete it")
        kind = str(shape.get("shape_type") or "polygon")  # early versions knew polygons alone
        if kind not in LEAST_POINTS:
            skipped[f"shape of type {kind}"] += 1
        elif len(points) < LEAST_POINTS[kind]:
            skipped[f"{kind} of fewer than {LEAST_POINTS[kind]} points"] += 1
        elif any(len(_check_numbers(point, where)) != 2 for point in points):
            raise InputError(f"{where} has a point that is not [x, y]; correct or delete it")
        else:
            found.append((label, shape.get("group_id"), _outline(kind, np.array(points, float))))
    return image.replace("\\", "/"), found


def _outline(kind: str, points: np.ndarray) -> list[float]:
    """The polygon x y x y ... of a shape of labelme that is given by points ``N 2``."""
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    elif kind == "circle":  # its centre, and a point on it
        radius = math.dist(points[0], points[1])
        corners = math.ceil(math.pi / math.acos(1 - CIRCLE_ERROR / max(radius, 1)))
        turn = np.arange(corners) * (2 * np.pi / corners)
        points = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], -1)
    return points.ravel().tolist()


def _find_image(path: Path, named: str, source: Path) -> tuple[Path, Callable[[], bytes]]:
    """The place of the image of a labelme file, within ``source``, and what loads it."""
    beside = path.parent / _check_name(PurePosixPath(named).name, path)
    for file in (Path(os.path.abspath(path.parent / named)), beside):
        if file.is_relative_to(source) and file.is_file():
            return file, file.read_bytes
    return beside, functools.partial(_embedded, path, named)


def _embedded(path: Path, named: str) -> bytes:
    data = _load(path, json.loads).get("imageData")
    if not data:
        raise InputError(f"{path}: the image {named!r} is missing; put it beside the JSON")
    try:
        return base64.b64decode(data)
    except (ValueError, TypeError):
        raise InputError(f"{path}: imageData is not base64; put the image beside it") from None


def _listed(entry: str, root: Path, yaml_path: Path) -> list[Path]:
    """The images of an entry of train or val."""
    entry = entry.replace("\\", "/")
    path = root / entry
    if not path.exists() and entry.startswith("../"):  # Roboflow's, meant from a folder further in
        path = root / entry[3:]
    path = Path(os.path.abspath(path))
    if path.is_dir():
        return _files(path, IMAGES)
    if path.suffix != ".txt" or not path.is_file():
        raise InputError(f"{yaml_path}: {path} is no folder or .txt list; correct path, train, val")
    images = []
    for name in filter(None, map(str.strip, _lines(path))):
        places = [os.path.abspath(base / name.replace("\\", "/")) for base in (path.parent, root)]
        image = next(filter(os.path.isfile, places), None)
        if image is None:
            raise InputError(f"{path}: the image {name!r} is missing; correct the list")
        images.append(Path(image))
    return images


def _read_yolo_image(image: Path, root: Path, names: dict[int, Any], skipped: Skipped) -> Picture:
    if not image.is_relative_to(root):
        raise InputError(f"{image} is not below {root}; set path in data.yaml to a folder of all")
    parts = image.relative_to(root).parts
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    name, labels = parts, parts  # labels lie beside the images where no folder is called so
    if folders:
        head, tail = parts[: folders[-1]], parts[folders[-1] + 1 :]
        name, labels = (*head, *tail), (*head, "labels", *tail)
    path = root.joinpath(*labels).with_suffix(".txt")
    size, instances = _size(image.read_bytes(), image), []
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            category, *polygon = map(float, line.split())
        except ValueError:
            raise InputError(f"{where} is not a class and numbers; correct it") from None
        if category not in names:
            raise InputError(f"{where}: class {category:g} is not among names; add it to data.yaml")
        if not all(-YOLO_SLACK <= value <= 1 + YOLO_SLACK for value in polygon):
            raise InputError(f"{where}: coordinates must be in 0..1, divided by the image's sides")
        if len(polygon) % 2:
            raise InputError(f"{where}: {len(polygon)} numbers follow the class, not x y pairs")
        if len(polygon) == 4:
            skipped["box without a mask"] += 1
            continue
        pixels = (np.reshape(polygon, (-1, 2)) * size[::-1]).ravel().tolist()
        instances += _from_polygons([pixels], int(category), size, skipped)
    return Picture("/".join(name), image, image.read_bytes, size, instances, {})


def _pair(
    images: Path, image_ends: tuple[str, ...], masks: Path, mask_end: str
) -> list[tuple[str, Path, Path]]:
    """Each image with its mask: its path below ``images``, and the paths of both."""
    left, right = _by_stem(images, image_ends), _by_stem(masks, (mask_end,))
    if alone := sorted(left.keys() ^ right.keys()):
        path, other = (left | right)[alone[0]], masks if alone[0] in left else images
        raise InputError(
            f"{path} is one of {len(alone)} files without a partner in {other}; add or remove them"
        )
    return [(left[s].relative_to(images).as_posix(), left[s], right[s]) for s in left]


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _files(folder, endings):
        name = path.relative_to(folder).as_posix()
        end = next(end for end in endings if name.lower().endswith(end))
        if (other := found.setdefault(name[: -len(end)], path)) != path:
            raise InputError(f"{path} and {other} differ by their endings alone; rename one")
    return found


def _read_pairs(
    pairs: list[tuple[str, Path, Path]],
    split: str,
    folder: str,
    classify: Callable[[int, Skipped], tuple[int, int] | None],
) -> tuple[list[Picture], Skipped]:
    """Reads id PNGs; ``classify`` tells category and crowd of a value, or None to leave it out."""
    pictures, skipped = [], Skipped()
    for name, image, mask in tqdm(pairs, f"reading {split}", unit="image"):
        size = _size(image.read_bytes(), image)
        ids = _decode(mask.read_bytes(), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
            raise InputError(f"{mask} is no PNG of one channel of 8 or 16 bits; save ids as gray")
        if ids.shape != size:
            raise InputError(
                f"{mask} is {ids.shape[0]}x{ids.shape[1]} (height x width) where {image} is "
                f"{size[0]}x{size[1]}; the orientation that EXIF asks for counts"
            )
        ids, instances = np.asfortranarray(ids), []
        for value in np.flatnonzero(np.bincount(ids.ravel("K"))).tolist():
            if value and (found := classify(value, skipped)):
                rle = coco_mask.encode((ids == value).view(np.uint8))
                counts = {"size": list(size), "counts": rle["counts"].decode()}
                instances.append(_instance(counts, rle, *found))
        name = f"{folder}/{name}".lstrip("/")
        pictures.append(Picture(name, image, image.read_bytes, size, instances, {}))
    return pictures, skipped


def _classify_cityscapes(value: int, skipped: Skipped) -> tuple[int, int] | None:
    category, crowd = (value // 1000, 0) if value >= 1000 else (value, 1)
    if category in UNSCORED:
        skipped[f"{UNSCORED[category]}, which the benchmark does not score"] += 1
    return (category, crowd) if category in CITYSCAPES else None


def _read_lvis_json(path: Path, source: Path, split: str) -> Split:
    content = _load(path, json.loads)
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} is not an LVIS file: it has no list {key!r} of objects")
    known = {_id(entry, "id", path) for entry in content["categories"]}
    by_image: dict[int, list[dict]] = {_id(entry, "id", path): [] for entry in content["images"]}
    seen: set[int] = set()
    for entry in content["annotations"]:
        number, image, category = (_id(entry, k, path) for k in ("id", "image_id", "category_id"))
        if number in seen:
            raise InputError(f"{path}: annotation {number} occurs twice; number them anew")
        seen.add(number)
        if image not in by_image or category not in known:
            raise InputError(f"{path}: annotation {number} has no image or category; delete it")
        by_image[image].append(entry)
    pictures, skipped = [], Skipped()
    for entry in tqdm(content["images"], f"reading {split}", unit="image"):
        name = entry.get("file_name") or "/".join(str(entry.get("coco_url")).split("/")[-2:])
        file = source / (name := _check_name(str(name), path))
        if not file.is_file():
            raise InputError(f"{path}: the image {file} is missing; put COCO's images there")
        size, stated = _size(file.read_bytes(), file), (entry.get("height"), entry.get("width"))
        if stated not in (size, (None, None)):
            raise InputError(f"{file}: height, width are {size}, not {stated} as in {path}")
        instances = []
        for annotation in by_image[entry["id"]]:
            where, polygons = (
                f"{path}: annotation {annotation['id']}",
                annotation.get("segmentation"),
            )
            if not isinstance(polygons, list):
                skipped["a segmentation that is no list of polygons"] += 1
                continue
            polygons = [_check_numbers(polygon, where) for polygon in polygons]
            found = _from_polygons(polygons, annotation["category_id"], size, skipped)
            instances += [{**instance, **annotation} for instance in found]
        pictures.append(Picture(name, file, file.read_bytes, size, instances, entry))
    extra = {key: content[key] for key in content if key not in ("images", "annotations")}
    return Split(extra.pop("categories"), pictures, skipped, extra)


def _id(entry: dict[str, Any], key: str, path: Path) -> int:
    if type(entry.get(key)) is not int:
        raise InputError(f"{path}: an entry has no integer {key!r}: {str(entry)[:60]}; correct it")
    return entry[key]


def _from_polygons(
    polygons: list[list[float]], category: int, size: Size, skipped: Skipped
) -> list[dict[str, Any]]:
    """The instance of polygons of sound numbers; none if they enclose no pixel."""
    # Fewer than three points enclose nothing; pycocotools would read four numbers as a box.
    polygons = [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not polygons:
        skipped["no polygon of three points"] += 1
        return []
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    if not coco_mask.area(rle):
        skipped["mask without a pixel"] += 1
        return []
    return [_instance(polygons, rle, category, 0)]


def _instance(segmentation: Any, rle: dict, category: int, crowd: int) -> dict[str, Any]:
    box, area = coco_mask.toBbox(rle).tolist(), int(coco_mask.area(rle))
    return {
        "category_id": category,
        "segmentation": segmentation,
        "bbox": box,
        "area": area,
        "iscrowd": crowd,
    }


def _check_numbers(values: Any, where: str) -> list[float]:
    # NaN compares false; pycocotools crashes on it, and walks for hours where numbers are absurd.
    if not isinstance(values, list) or not all(
        type(value) in (int, float) and abs(value) <= FARTHEST for value in values
    ):
        raise InputError(
            f"{where}: a coordinate is no number below {FARTHEST}; correct or delete it"
        )
    return values


def _check_name(name: str, where: Path) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{where}: the file name {name!r} leads out of the folder of images")
    return path.as_posix()


def _size(encoded: bytes, where: Any) -> Size:
    pixels = _decode(encoded, cv2.IMREAD_GRAYSCALE)  # the fastest that still heeds EXIF
    if pixels is None:
        raise InputError(f"{where} is damaged or no image; replace it")
    return pixels.shape[0], pixels.shape[1]


def _decode(encoded: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # no bytes, or a header that promises more pixels than OpenCV would hold
        return None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a source of the form's layout")
    return Path(os.path.abspath(path))  # not resolved: a set may be made of links


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.name.lower().endswith(endings))
    # Names that start with a dot are leftovers of file managers.
    return sorted(path for path in paths if path.name[0] != "." and path.is_file())


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8-sig", "replace").splitlines() if path.is_file() else []


def _load(path: Path, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        content = parse(path.read_bytes())
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be parsed: {why}; correct it or move it away") from error
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give it or the folder that holds it") from None
    return content if isinstance(content, dict) else {}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _categories(names: dict[int, str]) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in names.items()]


def _check_pictures(found: Import) -> None:
    places: dict[str, Path] = {}
    for split, content in found.splits.items():
        if not content.pictures:
            raise InputError(f"{found.source} has no image for {split}; add some or leave it out")
        if not any(picture.instances for picture in content.pictures):
            why = [f"{count} skipped: {reason}" for reason, count in content.skipped.items()]
            raise InputError(
                f"{found.source}: {split} has no instance with a mask "
                f"({'; '.join(why) or 'none skipped'}); there is nothing to learn from it"
            )
        for picture in content.pictures:
            if (other := places.setdefault(picture.name, picture.source)) != picture.source:
                raise InputError(
                    f"{other} and {picture.source} both become images/{picture.name}; rename one"
                )


def _to_coco(form: str, split: Split) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, _, _, (height, width), instances, extra) in enumerate(split.pictures, 1):
        about = {"file_name": name, "height": height, "width": width}
        images.append({"id": number, **extra, **about})
        for instance in instances:
            ids = {"id": len(annotations) + 1, "image_id": images[-1]["id"]}
            annotations.append({**ids, **instance})
    info = split.extra.get("info")
    info = info if isinstance(info, dict) else {}
    return {
        **split.extra,
        "info": {**info, "description": DESCRIPTION, "form": form},
        "images": images,
        "annotations": annotations,
        "categories": split.categories,
    }
