"""Which mask is of which image, by the names that files and folders have."""

import os
from pathlib import Path
from typing import NamedTuple

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import LISTED, shorten
from solojax.data.foreign.files import SPELLINGS, files_in, folder_called
from solojax.data.foreign.mask_files import MASK_ENDINGS
from solojax.data.images.endings import IMAGE_ENDINGS
from solojax.types import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "raw")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "instances", "ground_truth", "ground truth", "groundtruth",
    "gt", "annotations", "segmentationobject",
)  # fmt: skip
SPLIT_NAMES = frozenset(name for names in SPELLINGS.values() for name in names)
IMAGE_TAILS = ("_img", "_image", "_raw")  # of file names, before their endings
MASK_TAILS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_instances", "_gt", "_seg")


class Sample(NamedTuple):
    """One image."""

    name: str  # of the image below OUT/images
    image: Path
    masks: list[Path]  # one mask of all ids, or where ``each`` one for each instance
    each: bool = False


def halves(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder, by their usual names.

    Where these are not there, by how names end, as Penn-Fudan's PNGImages and PedMasks do, if no
    other folder's ends so.
    """
    images = folder_called(folder, IMAGE_FOLDERS)
    called = (folder_called(folder, (name,)) for name in MASK_FOLDERS)
    masks = next((one for one in called if one and _is_of_pictures(one)), None)
    if not images and not masks and folder.is_dir():
        images, masks = (_only_ending(folder, end) for end in ("images", "masks"))
    return (images, masks) if images and masks else None


def _is_of_pictures(folder: Path) -> bool:
    """Whether it holds images or nothing, and not what other forms keep in such folders."""
    if any(path.suffix.lower() in (".json", ".xml") for path in folder.iterdir()):
        return False
    empty = True
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_ENDINGS:
            return True
        empty &= path.is_dir() or path.name.startswith(".")
    return empty


def _only_ending(folder: Path, end: str) -> Path | None:
    found = [one for one in folder.iterdir() if one.name.lower().endswith(end) and one.is_dir()]
    return found[0] if len(found) == 1 else None


def samples_in(folder: Path, faults: Faults) -> list[Sample]:
    """The images of a folder and their masks, in whichever layout it is; none if in no known one.

    ``images`` and ``masks``, or like names, with files or in ``masks`` folders of the same stems;
    folders that each hold ``images`` and ``masks``, as the Data Science Bowl's, whose masks are of
    one instance each unless there is but one of them; or masks beside the images, with names that
    end as Cellpose's do.

    Raises:
      InputError: an image or mask is without its partner.
    """
    if both := halves(folder):
        return in_halves(*both, faults)
    nested = {
        path: both
        for path in sorted(folder.iterdir())
        if path.name.lower() not in SPLIT_NAMES and (both := halves(path))
    }
    if nested:
        samples = []
        for path, (images, masks) in nested.items():
            found = files_in(images, IMAGE_ENDINGS)
            with faults.one_image(path.name):
                if len(found) != 1:
                    raise InputError(
                        f"{images} has {len(found)} images where one is to be; correct it"
                    )
                each = files_in(masks, MASK_ENDINGS)
                samples.append(Sample(f"{path.name}/{found[0].name}", found[0], each, True))
        return samples
    tailed = {path for path in files_in(folder, MASK_ENDINGS) if _bare(path.stem, MASK_TAILS)}
    if not tailed and not any(folder.rglob("*_seg.npy")):
        return []
    others = [path for path in files_in(folder, IMAGE_ENDINGS) if path not in tailed]
    return _match(folder, _stems(others, folder), folder, _stems(sorted(tailed), folder), faults)


def in_halves(images: Path, masks: Path, faults: Faults) -> list[Sample]:
    """The samples of a folder of images and one of masks, which may have one for each image."""
    left = _stems(files_in(images, IMAGE_ENDINGS), images)
    folders = {stem: masks / stem for stem in left if (masks / stem).is_dir()}
    if left and len(folders) == len(left):
        return [
            Sample(_name(left[stem], images), left[stem], files_in(folder, MASK_ENDINGS), True)
            for stem, folder in folders.items()
        ]
    right = files_in(masks, MASK_ENDINGS)
    if not right and (jpegs := files_in(masks, (".jpg", ".jpeg"))):
        raise InputError(f"{jpegs[0]} is a JPEG, which changes ids; save masks as PNG or TIFF")
    return _match(images, left, masks, _stems(right, masks), faults)


def pair(
    images: Path,
    image_ends: tuple[str, ...],
    masks: Path,
    mask_ends: tuple[str, ...],
    faults: Faults,
) -> list[Sample]:
    """Each image with its mask, where names are the same but for these ends."""
    left = _stems(files_in(images, image_ends), images, image_ends)
    right = _stems(files_in(masks, mask_ends), masks, mask_ends)
    return _match(images, left, masks, right, faults)


def _match(
    images: Path, left: dict[str, Path], masks: Path, right: dict[str, Path], faults: Faults
) -> list[Sample]:
    if left.keys() ^ right.keys():  # what is alike but for case and the tails of names
        both = left.keys() & right.keys()
        bare = [{s: s for s in both}, {s: s for s in both}]
        for found, names, tails in ((bare[0], left, IMAGE_TAILS), (bare[1], right, MASK_TAILS)):
            for stem in names.keys() - both:
                found.setdefault((_bare(stem, tails) or stem).lower(), stem)
        apart = len(bare[0]) == len(left) and len(bare[1]) == len(right)  # none is like another
        if apart and len(bare[0].keys() ^ bare[1].keys()) < len(left.keys() ^ right.keys()):
            left = {key: left[stem] for key, stem in bare[0].items()}
            right = {key: right[stem] for key, stem in bare[1].items()}
    if alone := sorted((left | right)[stem] for stem in left.keys() ^ right.keys()):
        pickled = [path.with_name(f"{path.stem}_seg.npy") for path in alone]
        if any(map(os.path.isfile, pickled)):
            raise InputError(
                f"{next(filter(os.path.isfile, pickled))} is a Python pickle, which can "
                "run programs, and is not read; save the masks as PNG or TIFF in Cellpose"
            )
        others = shorten([path.name for path in alone[1 : LISTED + 1]], len(alone) - 1, ", ")
        for path in alone:
            there = masks if path in left.values() else images
            with faults.one_image(path.name):
                what = f"one of {len(alone)} files" if len(alone) > 1 else "a file"
                raise InputError(
                    f"{path} is {what} without a partner in {there}{others and f' ({others})'}; "
                    "add or remove them"
                )
            others = ""  # named by themselves
    paired = [stem for stem in left if stem in right]
    return [Sample(_name(left[stem], images), left[stem], [right[stem]]) for stem in paired]


def _stems(paths: list[Path], folder: Path, ends: tuple[str, ...] | None = None) -> dict[str, Path]:
    """Files by their paths below a folder, without their endings, or without one of some ends."""
    found: dict[str, Path] = {}
    for path in paths:
        name = _name(path, folder)
        end = next((end for end in ends or () if name.lower().endswith(end)), path.suffix)
        if (other := found.setdefault(name[: len(name) - len(end)], path)) != path:
            raise InputError(f"{path} and {other} differ by their endings alone; rename one")
    return found


def _bare(stem: str, tails: tuple[str, ...]) -> str:
    """A stem without its tail; empty where it has none."""
    tail = next((tail for tail in tails if stem.lower().endswith(tail)), "")
    return stem[: -len(tail)] if tail else ""


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
