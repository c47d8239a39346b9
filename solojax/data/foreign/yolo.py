"""YOLO segmentation: a ``data.yaml``, and a text file of polygons for each image."""

import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import (
    SPLITS,
    STRICT,
    Import,
    OtherFormError,
    Split,
    categories_of,
)
from solojax.data.foreign.files import SPELLINGS, folder_called, images_in, split_folders
from solojax.data.foreign.texts import lines_of, load, parse_yaml
from solojax.data.foreign.yolo_labels import Labels
from solojax.types import InputError

YAML_ENDINGS = (".yaml", ".yml")


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads the YOLO segmentation set of a ``data.yaml``, or of the folder that holds one.

    ``train`` and ``val`` are folders, lists of folders or ``.txt`` lists of images, below ``path``.
    The polygons of ``images/a.jpg`` are in ``labels/a.txt``; without that file it has none. Class
    ``i`` gets the category id ``i``. Lines of five numbers are boxes: skipped, they have no mask.
    A folder of ``images`` and ``labels`` with a ``classes.txt`` in place of the yaml is read too.

    Raises:
      InputError: ``data.yaml`` has no names or names missing images, or a line of a label file has
        an unknown class or coordinates that are not pairs in 0..1.
    """
    path = _yaml_in(Path(os.path.abspath(source)))
    about = _without_yaml(path) if path.name == "classes.txt" else load(path, parse_yaml)
    # A path that leads nowhere is one of the machine that the set was made on.
    root = Path(os.path.abspath(path.parent / _text(about.get("path"), path, "path")))
    root = root if os.path.isdir(root) else path.parent
    if "kpt_shape" in about:
        raise InputError(
            f"{path} is of poses, it has kpt_shape: they have no masks; export the set as "
            "segmentation, with polygons"
        )
    names = _names(about.get("names"), path)
    categories = categories_of(names)
    splits, labels = {}, Labels(root, names)
    for split in SPLITS:
        keys = [key for key in SPELLINGS[split] if about.get(key)]
        if keys:
            findings = Findings()
            if len(keys) > 1:
                findings.add("doubtful", f"keys of {path.name} left out: it has {keys[0]}", keys[1])
            entries = about[keys[0]] if isinstance(about[keys[0]], list) else [about[keys[0]]]
            images = [
                image
                for entry in entries
                for image in _listed(_text(entry, path, split), root, path, findings, faults)
            ]
            bar = tqdm(list(dict.fromkeys(images)), f"reading {split}", unit="image")
            pictures = []
            for image in bar:
                with faults.one_image(os.path.relpath(image, root)):
                    pictures.append(labels.read(image, findings))
            splits[split] = Split(categories, pictures, findings, {})
    if not splits:
        raise InputError(f"{path} has neither train nor val; add the folders of the images")
    findings = next(iter(splits.values())).findings
    if about.get("nc") not in (None, len(names)):
        what = f"entry of {path.name} that differs from its {len(names)} names"
        cure = "add the names that are missing, in their order, or correct nc"
        findings.add("doubtful", what, f"nc: {str(about['nc'])[:20]}", cure=cure)
    labels.report(findings)
    if about.get("test"):
        findings.add("told", f"entry of {path.name} left out: only train and val are read", "test")
    return Import("yolo", root, splits)


def _yaml_in(path: Path) -> Path:
    """The yaml of a set, or the list of classes of a set without one."""
    if not path.is_dir():
        return path
    files = [
        file
        for file in sorted(path.iterdir())
        if file.suffix.lower() in YAML_ENDINGS and file.name[0] != "."
    ]
    named = [file for file in files if file.stem == "data"]
    if named or len(files) == 1:
        return (named or files)[0]
    if files:
        raise InputError(
            f"{path} has {len(files)} yaml files ({', '.join(file.name for file in files[:5])}) "
            "and no data.yaml; give the one of the set"
        )
    if (path / "classes.txt").is_file():
        return path / "classes.txt"
    missing = f"{path / 'data.yaml'}: no such file; give it or the folder that holds it"
    labels = next(path.glob("labels/**/*.txt"), None)
    raise InputError(missing) if labels else OtherFormError(missing)


def _without_yaml(path: Path) -> dict[str, Any]:
    """What a yaml would say of a folder of images, of labels and a list of classes."""
    images = folder_called(path.parent, ("images",)) or path.parent
    folders = split_folders(images) or split_folders(path.parent) or {"train": images}
    names = [line.strip() for line in lines_of(path) if line.strip()]
    beside = next(iter(folders.values())).parent
    test = folder_called(beside, SPELLINGS["test"]) if folders != {"train": images} else None
    return {"names": names, "test": test, **{split: str(one) for split, one in folders.items()}}


def _names(names: Any, path: Path) -> dict[int, str]:
    """Class -> name, ascending."""
    names = dict(enumerate(names)) if isinstance(names, list) else names
    pairs = list(names.items()) if isinstance(names, dict) else []
    found: dict[int, str] = {}
    for key, name in pairs:
        digits = isinstance(key, str) and key.strip().isdecimal() and len(key) < 10
        number = int(key) if digits else key
        if type(number) is not int or number < 0:
            break
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{path}: the name of class {number} is {str(name)[:60]!r}, not a text; correct it"
            )
        found[number] = name
    if not pairs or len(found) != len(pairs):
        raise InputError(f"{path} has no names of classes; add them, as in names: [cat, dog]")
    return {number: found[number] for number in sorted(found)}


def _text(entry: Any, path: Path, key: str) -> str:
    if not isinstance(entry, str | None):
        raise InputError(f"{path}: {key} is {str(entry)[:60]!r}, not a path; correct it")
    return (entry or "").replace("\\", "/")


def _find(entry: str, bases: tuple[Path, ...]) -> Path | None:
    """What a path means, of this machine or of another one, below one of some folders."""
    path = entry.removeprefix("../")  # Roboflow's, meant from a folder further in
    parts = Path(path).parts
    # The set may have been moved as a whole: the longest tail of the path that is there.
    tails = (
        ["/".join(parts[i:]) for i in range(1, len(parts))]
        if path.startswith("/") or path[1:2] == ":"
        else []
    )
    for name in (entry, path, *tails):
        for base in bases:
            place = Path(os.path.abspath(base / name))
            if os.path.exists(place):  # unlike Path's, false of names that no file can have
                return place
    return None


def _listed(
    entry: str, root: Path, yaml_path: Path, findings: Findings, faults: Faults
) -> list[Path]:
    """The images of an entry of train or val."""
    path = _find(entry, (root, yaml_path.parent))
    if path and path.is_dir():
        return images_in(path, root, findings)
    if path is None or path.suffix != ".txt" or not path.is_file():
        raise InputError(
            f"{yaml_path}: {path or root / entry} is no folder or .txt list; correct path, train, "
            "val"
        )
    images = []
    for name in filter(None, map(str.strip, lines_of(path))):
        image = _find(name.replace("\\", "/"), (path.parent, root))
        with faults.one_image(name):
            if image is None or not image.is_file():
                raise InputError(f"{path}: the image {name!r} is missing; correct the list")
            images.append(image)
    return images
