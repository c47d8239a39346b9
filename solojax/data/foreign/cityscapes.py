"""Cityscapes: images in ``leftImg8bit``, PNGs of ids in ``gtFine``."""

from pathlib import Path

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign import label_maps
from solojax.data.foreign.contents import (
    SPLITS,
    STRICT,
    Import,
    OtherFormError,
    Split,
    categories_of,
    skip,
)
from solojax.data.foreign.files import files_in, folder_of
from solojax.data.foreign.id_maps import read_id_maps
from solojax.data.foreign.pairing import pair

SCORED = {
    24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
UNSCORED = {29: "caravan", 30: "trailer"}
STUFF = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
}  # fmt: skip
INSTANCES, LABELS, TRAIN = (
    f"_gtfine_{kind}ids.png" for kind in ("instance", "label", "labeltrain")
)
MOST_OF_ONE = 1000  # values of instances are a class times this and a number


def read(source: Path, faults: Faults = STRICT) -> Import:
    """Reads ``leftImg8bit`` and ``gtFine`` of Cityscapes, of train and val what is unpacked.

    The instances are those of the eight classes that the benchmark scores, under Cityscapes' ids;
    caravans and trailers, which it does not score, are left out and counted. Objects that were not
    told apart (values below 1000) are a crowd. Its other eleven classes are stuff, and all else is
    void. Where there are ``labelIds.png`` or ``labelTrainIds.png`` alone, all classes are stuff.

    Raises:
      InputError: there are no images, or one has no PNG or one of another size.
    """
    source, splits = folder_of(source), {}
    for split in SPLITS:
        images, masks = source / "leftImg8bit" / split, source / "gtFine" / split
        if images.is_dir():
            ends = (INSTANCES, LABELS, TRAIN)
            end = next((one for one in ends if masks.is_dir() and files_in(masks, (one,))), ends[0])
            samples = pair(images, ("_leftimg8bit.png",), masks, (end,), faults)
            findings = Findings()
            told = _classify if end == INSTANCES else lambda *_: None
            pictures, values = read_id_maps(samples, split, split, told, findings, faults)
            every = dict(sorted((SCORED | STUFF).items()))
            table = {value: (value, int(value in SCORED)) for value in every}
            if end == TRAIN:
                table = {number: (one, 0) for number, one in enumerate(every)}
            things, stuff = (SCORED, STUFF) if end == INSTANCES else ({}, every)
            for value in values if end == INSTANCES else ():
                if value // MOST_OF_ONE in SCORED:
                    table[value] = value // MOST_OF_ONE, 0
            paths = {sample.image: sample.masks[0] for sample in samples}
            pictures = label_maps.give(pictures, paths, table)
            splits[split] = Split(
                categories_of(things), pictures, findings, {}, categories_of(stuff)
            )
    if not splits:
        raise OtherFormError(
            f"{source} has no leftImg8bit/train or leftImg8bit/val; give the folder that holds "
            "leftImg8bit and gtFine"
        )
    return Import("cityscapes", source, splits)


def _classify(value: int, findings: Findings, place: str) -> tuple[int, int] | None:
    crowd = int(value < MOST_OF_ONE)
    category = value if crowd else value // MOST_OF_ONE
    if category in UNSCORED:
        skip(findings, f"{UNSCORED[category]}, which the benchmark does not score", place, "")
    return (category, crowd) if category in SCORED else None
