"""Images whose instances are the values of the pixels of a mask, or one mask each."""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from solojax.data import rle
from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import Picture, Size, instance_of, skip
from solojax.data.foreign.files import size_in_frame, size_of
from solojax.data.foreign.mask_files import read_ids
from solojax.data.foreign.pairing import Sample
from solojax.types import InputError

SPECK = 100  # times smaller than the largest: no part of its own
Classify = Callable[[int, Findings, str], tuple[int, int] | None]


def read_id_maps(
    samples: list[Sample],
    split: str,
    folder: str,
    classify: Classify,
    findings: Findings,
    faults: Faults,
    components: bool = False,
) -> tuple[list[Picture], set[int]]:
    """Reads masks of ids; the pictures, and which values but 0 their pixels have.

    Args:
      samples: the images and their masks.
      split: for progress.
      folder: below OUT/images, where they go.
      classify: tells category and crowd of a value, or None to leave it out.
      findings: of the split.
      faults: of the set.
      components: whether each connected part of a value is an instance.
    """
    pictures: list[Picture] = []
    seen: set[int] = set()
    for sample in tqdm(samples, f"reading {split}", unit="image"):
        with faults.one_image(sample.name):
            picture, values = _read(sample, folder, classify, findings, components)
            pictures.append(picture)
            seen |= values
    return pictures, seen


def _read(
    sample: Sample, folder: str, classify: Classify, findings: Findings, components: bool
) -> tuple[Picture, set[int]]:
    encoded = sample.image.read_bytes()
    size: Size | None = None
    instances: list[dict[str, Any]] = []
    seen = set()
    for path in sample.masks:
        place = "/".join(path.parts[-2:])
        ids = read_ids(path, place, findings)
        size = size or size_in_frame(encoded, sample.image, ids.shape)
        if ids.shape != size:
            raise InputError(
                f"{path} is {ids.shape[0]}x{ids.shape[1]} (height x width) where {sample.image} is "
                f"{size[0]}x{size[1]}; the orientation that EXIF asks for counts"
            )
        if sample.each:
            values = len(np.unique(ids[ids > 0]))
            if not values:
                skip(findings, "mask without a pixel", place, "delete it")
            if values > 1 < len(sample.masks):
                raise InputError(
                    f"{path} has {values} ids, and is one of {len(sample.masks)} masks of "
                    f"{sample.image.name}; save each instance as a mask, or all in one"
                )
            ids = (ids > 0).view(np.uint8) if values == 1 else ids
        for value, mask in rle.rles_of(ids):
            seen.add(value)
            if found := classify(value, findings, place):
                for part in _parts(mask) if components else [mask]:
                    counts = {"size": list(size), "counts": part["counts"].decode()}
                    instances.append(instance_of(counts, part, *found))
    size = size or size_of(encoded, sample.image)
    name = f"{folder}/{sample.name}".lstrip("/")
    return Picture(name, sample.image, sample.image.read_bytes, size, instances, {}), seen


def count_parts(mask: dict[str, Any]) -> int:
    """The connected parts of a mask, but for specks of less than a hundredth of the largest."""
    (patch,), _ = rle.decode_patches([mask["counts"].encode()], mask["size"][0])
    _, _, about, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(patch), connectivity=8)
    areas = about[1:, cv2.CC_STAT_AREA]
    return int((areas * SPECK >= areas.max()).sum())


def _parts(mask: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The connected parts of a mask; pixels that touch at a corner are connected."""
    (patch,), (corner,) = rle.decode_patches([mask["counts"]], mask["size"][0])
    count, labels = cv2.connectedComponents(np.ascontiguousarray(patch), connectivity=8)
    if count == 2:
        yield mask
        return
    for _, part in rle.rles_of(labels):
        (inner,), (place,) = rle.decode_patches([part["counts"]], labels.shape[0])
        top_left = int(corner[0] + place[0]), int(corner[1] + place[1])
        yield {"size": mask["size"], "counts": rle.encode_patch(inner, top_left, mask["size"])}
