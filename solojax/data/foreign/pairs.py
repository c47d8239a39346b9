"""Pairs of an image and a mask of ids, as many tools write them."""

from pathlib import Path
from typing import NamedTuple

from solojax.data.annotations.left_out import Faults
from solojax.data.findings import Findings
from solojax.data.foreign import id_maps
from solojax.data.foreign.contents import STRICT, Import, OtherFormError, Split, categories_of
from solojax.data.foreign.files import SPELLINGS, folder_called, folder_of, split_folders
from solojax.data.foreign.id_maps import read_id_maps
from solojax.data.foreign.pairing import Sample, halves, in_halves, samples_in
from solojax.types import InputError

# What looks like a class map: of so few values in all masks, more than that share lies in several
# parts, and there are that many parts for each on average. Of COCO's instances .07 do, 1.1 parts
# each, of its classes .39, 2.0 parts each; of nuclei none, and as a class .99, 33 parts each.
MOST_CLASSES, SCATTERED, PARTS = 255, 0.25, 1.5
FEWEST, LOOKED_AT = 3, 64  # masks of a split that are looked at for that, at least and at most
SET = 255  # the value of what is set in a mask that knows no ids


class Part(NamedTuple):
    """The samples of a split, and the folder of their images below OUT/images."""

    samples: list[Sample]
    folder: str


def read(
    source: Path,
    faults: Faults = STRICT,
    *,
    name: str = "object",
    divisor: int | None = None,
    components: bool | None = None,
) -> Import:
    """Reads images in ``images`` and their instances in ``masks``: PNGs or TIFFs of ids.

    A mask has one channel or a palette; 0 is background, each other value an instance. The other
    layouts are those of ``pairing.samples_in``. All is train, unless ``source`` has
    ``train/images`` and ``val/images``, or ``images/train`` and ``images/val``. ``test`` is left
    out.

    Args:
      source: the folder of both.
      faults: what is left out.
      name: what the one class is called; its id is 1.
      divisor: where given, ``value // divisor`` is the category id, ``<name> <id>`` its name.
      components: whether each connected part of a value is an instance; where not given, it is if
        no mask of the set has another value than 0 and 255.

    Raises:
      InputError: an image or mask is without its partner or of another size, a mask has no ids.
    """
    if divisor is not None and divisor < 1:
        raise InputError(f"the divisor {divisor} must be at least 1")
    source = folder_of(source)
    parts = parts_of(source, faults)
    found, values = _read(parts, divisor, bool(components), faults)
    first = next(iter(found.values())).findings
    if len(values) == 1 and divisor is None and components is None:
        if values == {SET}:
            read = {picture.source for split in found.values() for picture in split.pictures}
            parts = {  # what was left out has been told
                split: part._replace(samples=[one for one in part.samples if one.image in read])
                for split, part in parts.items()
            }
            found, _ = _read(parts, divisor, True, faults)
            first = next(iter(found.values())).findings
            what = (
                f"masks of the one value {SET}, each connected part of which is read as an "
                "instance; give --no-components where a mask is one instance"
            )
        else:
            what = (
                f"masks of the one value {next(iter(values))}, each of which is read as one "
                "instance; give --components where its connected parts are several"
            )
        masks = sum(len(sample.masks) for part in parts.values() for sample in part.samples)
        if not any(sample.each for part in parts.values() for sample in part.samples):
            first.add("told", what, count=masks)
    if len(values) == 1 and divisor is None:
        _look_for_inverted(found)
    if divisor is None and not components and values != {SET} and len(values) <= MOST_CLASSES:
        _look_for_classes(found, len(values))
    for place in tests_in(source):
        first.add("told", "folders left out: only train and val are read", place)
    names = {1: name}
    if divisor:
        seen = {
            instance["category_id"]
            for split in found.values()
            for picture in split.pictures
            for instance in picture.instances
        }
        names = {number: f"{name} {number}" for number in sorted(seen)}
    categories = categories_of(names)
    splits = {split: content._replace(categories=categories) for split, content in found.items()}
    return Import("pairs", source, splits)


def parts_of(source: Path, faults: Faults) -> dict[str, Part]:
    """The splits of a set, in whichever of the layouts it is."""
    train = folder_called(source, SPELLINGS["train"])
    if folders := split_folders(source) or ({"train": train} if train else {}):
        found = {
            split: Part(samples_in(folder, faults), split) for split, folder in folders.items()
        }
        if all(part.samples for part in found.values()):
            return found
    if both := halves(source):
        images, masks = (split_folders(half) for half in both)
        if images and masks:
            return {s: Part(in_halves(images[s], masks[s], faults), s) for s in images}
    samples = samples_in(source, faults)
    if not samples and not both:
        raise OtherFormError(
            f"{source} has no folders images and masks, and no image has a mask beside it, as a.png"
            " and a_masks.png; give the folder of images and masks"
        )
    return {"train": Part(samples, "")}


def tests_in(source: Path) -> list[str]:
    """The folders of test in a set, which is left out."""
    folders = (source, *(halves(source) or ()))
    tests = [folder_called(folder, SPELLINGS["test"]) for folder in folders]
    return [test.relative_to(source).as_posix() for test in tests if test]


def _look_for_inverted(found: dict[str, Split]) -> None:
    """Tells of instances that are most of their image and reach all its sides: backgrounds."""
    for content in found.values():
        filled = [picture for picture in content.pictures if picture.instances]
        large = [
            picture.source.name
            for picture in filled
            if any(
                one["bbox"] == [0, 0, *picture.size[::-1]]
                and one["area"] > picture.size[0] * picture.size[1] / 2
                for one in picture.instances
            )
        ]
        if len(large) > len(filled) / 2:
            content.findings.add_all(
                "doubtful",
                f"of {len(filled)} masks have an instance that is most of the image and reaches "
                "all its sides, as a background does",
                large,
                cure="exchange 0 and the other value if they are inverted",
            )


def _look_for_classes(found: dict[str, Split], count: int) -> None:
    """Tells of values that seem to be classes: few in all, and most of them in several parts.

    An instance is one part, or a few where something lies before it.
    """
    for content in found.values():
        filled = [picture for picture in content.pictures if picture.instances]
        if len(filled) < FEWEST:
            continue
        seen = scattered = parts = 0
        places = []
        for picture in filled[:: max(1, len(filled) // LOOKED_AT)]:
            counts = [id_maps.count_parts(one["segmentation"]) for one in picture.instances]
            several = sum(count > 1 for count in counts)
            seen, scattered, parts = seen + len(counts), scattered + several, parts + sum(counts)
            places += [picture.source.name] if several else []
        if scattered >= FEWEST and scattered > SCATTERED * seen and parts >= PARTS * seen:
            cure = "if values are classes, give --divisor 1 --components: of each value each "
            cure += "connected part is an instance; or data import labels, which makes label maps"
            if count == 1:
                cure = "give --components, and each connected part is an instance"
            content.findings.add_all(
                "doubtful",
                f"masks whose values, {count} in all, lie in {parts / seen:.1f} parts each on "
                "average, as classes do; each value of a mask is read as one instance",
                places,
                cure=cure,
            )


def _read(
    parts: dict[str, Part], divisor: int | None, components: bool, faults: Faults
) -> tuple[dict[str, Split], set[int]]:
    found, values = {}, set()
    for split, (samples, folder) in parts.items():
        findings = Findings()
        pictures, seen = read_id_maps(
            samples,
            split,
            folder,
            lambda value, *_: (value // divisor if divisor else 1, 0),
            findings,
            faults,
            components,
        )
        values |= seen
        found[split] = Split([], pictures, findings, {})
    return found, values
