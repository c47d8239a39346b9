"""Images whose instances are the values of the pixels of a PNG beside them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.data.foreign.contents import Picture, Skipped, instance_of
from solojax.data.foreign.files import decode, files_in, size_of
from solojax.types import InputError


def pair(
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
    for path in files_in(folder, endings):
        name = path.relative_to(folder).as_posix()
        end = next(end for end in endings if name.lower().endswith(end))
        if (other := found.setdefault(name[: -len(end)], path)) != path:
            raise InputError(f"{path} and {other} differ by their endings alone; rename one")
    return found


def read_id_maps(
    pairs: list[tuple[str, Path, Path]],
    split: str,
    folder: str,
    classify: Callable[[int, Skipped], tuple[int, int] | None],
) -> tuple[list[Picture], Skipped]:
    """Reads id PNGs; ``classify`` tells category and crowd of a value, or None to leave it out."""
    pictures, skipped = [], Skipped()
    for name, image, mask in tqdm(pairs, f"reading {split}", unit="image"):
        size = size_of(image.read_bytes(), image)
        ids = decode(mask.read_bytes(), cv2.IMREAD_UNCHANGED)
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
                instances.append(instance_of(counts, rle, *found))
        name = f"{folder}/{name}".lstrip("/")
        pictures.append(Picture(name, image, image.read_bytes, size, instances, {}))
    return pictures, skipped
