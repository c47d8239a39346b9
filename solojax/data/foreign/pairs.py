"""Pairs of an image and a PNG of ids, as many tools write them."""

from pathlib import Path

from solojax.data.foreign.contents import SPLITS, Import, Split, categories_of
from solojax.data.foreign.files import folder_of
from solojax.data.foreign.id_maps import pair, read_id_maps
from solojax.data.image_files import IMAGE_ENDINGS
from solojax.types import InputError


def read(source: Path, *, name: str = "object", divisor: int | None = None) -> Import:
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
    source = folder_of(source)
    layouts = (
        {split: (source / split / "images", source / split / "masks") for split in SPLITS},
        {split: (source / "images" / split, source / "masks" / split) for split in SPLITS},
        {"": (source / "images", source / "masks")},
    )
    layout = next((x for x in layouts if all(i.is_dir() for i, _ in x.values())), layouts[-1])
    found = {}
    for folder, (images, masks) in layout.items():
        split, pairs = folder or "train", pair(folder_of(images), IMAGE_ENDINGS, masks, ".png")
        found[split] = read_id_maps(
            pairs, split, folder, lambda value, _: (value // divisor if divisor else 1, 0)
        )
    names = {1: name}
    if divisor:
        seen = {i["category_id"] for ps, _ in found.values() for p in ps for i in p.instances}
        names = {number: f"{name} {number}" for number in sorted(seen)}
    splits = {split: Split(categories_of(names), *read, {}) for split, read in found.items()}
    return Import("pairs", source, splits)
