"""Cityscapes: images in ``leftImg8bit``, PNGs of ids in ``gtFine``."""

from pathlib import Path

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign.contents import SPLITS, STRICT, Import, Split, categories_of, skip
from solojax.data.foreign.files import folder_of
from solojax.data.foreign.id_maps import read_id_maps
from solojax.data.foreign.pairing import pair
from solojax.types import InputError

SCORED = {
    24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
UNSCORED = {29: "caravan", 30: "trailer"}


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads ``leftImg8bit`` and ``gtFine`` of Cityscapes, of train and val what is unpacked.

    The instances are those of the eight classes that the benchmark scores, under Cityscapes' ids;
    caravans and trailers, which it does not score, are left out and counted. Objects that were not
    told apart (values below 1000) are a crowd.

    Raises:
      InputError: there are no images, or one has no ``instanceIds.png`` or one of another size.
    """
    source, splits = folder_of(source), {}
    for split in SPLITS:
        images, masks = source / "leftImg8bit" / split, source / "gtFine" / split
        if images.is_dir():
            samples = pair(
                images, ("_leftimg8bit.png",), masks, ("_gtfine_instanceids.png",), faults
            )
            findings = Findings()
            pictures, _ = read_id_maps(samples, split, split, _classify, findings, faults)
            splits[split] = Split(categories_of(SCORED), pictures, findings, {})
    if not splits:
        raise InputError(
            f"{source} has no leftImg8bit/train or leftImg8bit/val; give the folder that holds "
            "leftImg8bit and gtFine"
        )
    return Import("cityscapes", source, splits)


def _classify(value: int, findings: Findings, place: str) -> tuple[int, int] | None:
    category, crowd = (value // 1000, 0) if value >= 1000 else (value, 1)
    if category in UNSCORED:
        skip(findings, f"{UNSCORED[category]}, which the benchmark does not score", place, "")
    return (category, crowd) if category in SCORED else None
