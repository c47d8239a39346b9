"""Images and PNGs whose values are classes, as ADE20K has them, or VOC: label maps."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from solojax.data.annotations import label_pngs
from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign import label_maps
from solojax.data.foreign.contents import SPLITS, STRICT, Import, Picture, Split, categories_of
from solojax.data.foreign.files import folder_called, folder_of, size_in_frame
from solojax.data.foreign.mask_files import read_ids
from solojax.data.foreign.pairing import Sample
from solojax.data.foreign.pairs import Part, parts_of, tests_in
from solojax.data.foreign.texts import lines_of
from solojax.types import InputError

NOTHING = "__ignore__"  # the first line of labelme's lists, which no value stands for


def read(
    source: Path, faults: Faults = STRICT, *, labels: Path | None = None, ignore: int = 255
) -> Import:
    """Reads images and the PNGs of their classes, in the layouts of ``pairs`` or Pascal VOC's.

    All is stuff.

    Gray and palette PNGs are read by their values. Value 0 is the first name of the list; where
    the values end at the number of names, 0 is ignored and 1 the first name, as in ADE20K.

    Args:
      source: the folder of both.
      faults: what is left out.
      labels: a file with the name of a class in each line; where not given, values are names.
      ignore: the value that stands for no class.

    Raises:
      InputError: an image or PNG is without its partner or of another size, a value has no name.
    """
    source = folder_of(source)
    names = [line.strip() for line in lines_of(labels) if line.strip()] if labels else []
    if labels and not names:
        what = "has no name" if labels.is_file() else "is no file"
        raise InputError(f"{labels} {what}; write one name in each line, in the order of values")
    names = names[1:] if names[:1] == [NOTHING] else names
    first: dict[int, Path] = {}  # where each value was seen
    paths: dict[Path, Path] = {}  # of the PNG of each image
    splits: dict[str, Split] = {}
    for split, (samples, folder) in (_voc(source) or parts_of(source, faults)).items():
        pictures = []
        for sample in tqdm(samples, f"reading {split}", unit="image"):
            with faults.one_image(sample.name):
                if sample.each or len(sample.masks) != 1:
                    raise InputError(f"{sample.image} has {len(sample.masks)} masks; give it one")
                (path,), encoded = sample.masks, sample.image.read_bytes()
                values = read_ids(path, path.name, Findings(), are_labels=True)
                size = size_in_frame(encoded, sample.image, values.shape)
                label_pngs.check_size(path, values.shape, size)
                for value in np.unique(values).tolist():
                    first.setdefault(value, path)
                name = f"{folder}/{sample.name}".lstrip("/")
                paths[sample.image] = path
                pictures.append(Picture(name, sample.image, sample.image.read_bytes, size, [], {}))
        splits[split] = Split([], pictures, Findings(), {}, [])
    first.pop(ignore, None)
    told = next(iter(splits.values())).findings
    for place in tests_in(source):
        told.add("told", "folders left out: only train and val are read", place)
    shift = int(bool(names) and max(first, default=0) == len(names))
    if shift:
        first.pop(0, None)
        what = f"names for values of 1 to {len(names)}: 0 stands for what is no class (ADE20K's "
        told.add("told", f"{what}'other') and is ignored, and 1 is {names[0]!r}", count=len(names))
    elif names:
        last = len(names) - 1
        what = f"names for values of 0 to {last}, in their order: 0 is {names[0]!r}, {last} is "
        cure = "where 0 stands for no class, put a line for it before the others and --ignore 0"
        told.add("told", f"{what}{names[-1]!r}", cure=cure, count=len(names))
    known = dict(enumerate(names, shift)) or {value: f"label {value}" for value in sorted(first)}
    known.pop(ignore, None)
    if unknown := sorted(first.keys() - known.keys()):
        raise InputError(
            f"{first[unknown[0]]} has the value {unknown[0]}, and {labels} has {len(names)} names; "
            f"name it there, or give --ignore {unknown[0]} where it is no class"
        )
    categories = categories_of({value + 1 - shift: name for value, name in known.items()})
    table = {value: (value + 1 - shift, 0) for value in known if value != ignore}
    for split, content in splits.items():
        pictures = label_maps.give(content.pictures, paths, table)
        splits[split] = content._replace(pictures=pictures, stuff=categories)
    return Import("labels", source, splits)


def _voc(source: Path) -> dict[str, Part]:
    """The images that ``ImageSets/Segmentation`` lists; none where there are no such folders."""
    images, masks = (folder_called(source, (n,)) for n in ("jpegimages", "segmentationclass"))
    if not images or not masks:
        return {}
    lists = source / "ImageSets/Segmentation"
    stems = {split: "\n".join(lines_of(lists / f"{split}.txt")).split() for split in SPLITS}
    if not any(stems.values()):
        stems = {"train": sorted(path.stem for path in masks.glob("*.png"))}
    found = {}
    for split, names in stems.items():
        pairs = [(images / f"{one}.jpg", masks / f"{one}.png") for one in names]
        if pairs:
            found[split] = Part([Sample(a.name, a, [b]) for a, b in pairs], split)
    return found
