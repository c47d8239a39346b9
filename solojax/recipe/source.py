"""What a folder holds, recognised by itself: a COCO folder, or a set in another form."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solojax import config as config_lib
from solojax.data import foreign
from solojax.data.annotations.left_out import Faults
from solojax.data.foreign import divide, tiles, write
from solojax.data.foreign.contents import SHAPELESS, STRICT, OtherFormError
from solojax.data.records import coco, layout
from solojax.recipe.decisions import Decision
from solojax.types import InputError

DATA, TILES = "data", "tiles"  # folders in a run's
LOST = 0.1  # of the instances without a usable mask, from which on it is a warning
SHARE = 0.2  # of the images, for validation
LAST = ("pairs",)  # forms that much fits, tried where no other does
BESIDE = ("readme", "license", "licence")  # how files begin that are no part of a set
# Fields of ``config.Data`` that say where a set lies, and no more once it is written anew.
PLACES = ("train_json", "val_json", "train_images", "val_images")


def open_folder(
    folder: Path, workdir: Path, overrides: Sequence[str] = ()
) -> tuple[config_lib.Data, list[Decision]]:
    """Where the COCO folder is: the given one, or one made of it in ``workdir``.

    Args:
      folder: of a set.
      workdir: the run folder.
      overrides: of fields of ``config.Data``, such as ``faults=skip``.

    Raises:
      InputError: it is none of the forms, or several, or a set in one of them is faulty.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder" + (", but a file" if folder.exists() else ""))
    data = config_lib.Data(root=str(folder), records=str(workdir / "records"))
    data = config_lib.override(data, *overrides)
    is_coco = _is_coco(data)
    if is_coco and coco.has_split(data, "val"):
        return data, [Decision("data", "COCO", f"{folder} has train and val")]
    if not is_coco and (inside := _only_folder(folder)):
        # First, as some forms are looked for in all folders below, past the names of splits.
        try:
            return open_folder(inside, workdir, overrides)
        except OtherFormError:
            pass
    if is_coco:
        given = Path(data.root, data.train_json)
        form, found = "coco", foreign.read("coco", given, Faults(data))
    else:
        form, found = _read(folder, data)
    if folder.resolve() in workdir.resolve().parents:
        raise InputError(
            f"{folder} has to be written anew as a COCO folder with val, and {workdir} lies in it; "
            "start solojax from outside of it"
        )
    why = f"{folder} is read as such"
    if form in LAST and len(next(iter(found.splits.values())).categories) == 1:
        why += ", masks that name no classes: all objects are of one"
    decisions = [Decision("data", form, why), *_doubts(found)]
    if "val" not in found.splits:
        found = divide.divide(found, SHARE)
        count = len(found.splits["val"].pictures)
        decisions.append(
            Decision(
                "validation",
                f"{count} images",
                f"{SHARE:.0%}, by a hash of their names, as {folder} has no val: the same names "
                "are always drawn",
            )
        )
    out = workdir / DATA
    write.write(found, out)
    nowhere: dict[str, Any] = dict.fromkeys(PLACES, "")
    return dataclasses.replace(data, root=str(out), **nowhere), decisions


def _doubts(found: foreign.Import) -> list[Decision]:
    """What speaks against the labels: many that are left out, and what is likely wrong."""
    findings = [one for split in found.splits.values() for one in split.findings]
    lost = [one for one in findings if one.what.startswith(SHAPELESS)]
    count = sum(one.count for one in lost)
    instances = sum(len(one.instances) for split in found.splits.values() for one in split.pictures)
    told = []
    if count > LOST * (count + instances):
        first = max(lost, key=lambda one: one.count)
        why = f"of {count + instances}, above all {first.count} {first.what}"
        why += "; what they are of is learnt as background: label it anew"
        told.append(Decision("labels lost", f"{count} instances", why, True))
    told += [
        Decision("labels", "likely wrong", f"{one.count} {one.what}; {one.cure}", True)
        for one in findings
        if one.effect == "doubtful"
    ]
    return told


def cut(data: config_lib.Data, side: int, workdir: Path) -> tuple[config_lib.Data, int]:
    """The same set cut into tiles of ``side`` original pixels, written into ``workdir``.

    Returns:
      Where it is, and how many tiles for training were left out: of those without an object it
      keeps as many as there are with one.
    """
    found = tiles.tile(foreign.read("coco", Path(data.root), STRICT), side)
    train = found.splits["train"]
    empty = [one for one in train.pictures if not one.instances]
    step = -(-len(empty) // max(len(train.pictures) - len(empty), 1))
    kept = {one.name for one in empty[:: max(step, 1)]}
    pictures = [one for one in train.pictures if one.instances or one.name in kept]
    write.write(
        found._replace(splits={**found.splits, "train": train._replace(pictures=pictures)}),
        out := workdir / TILES,
    )
    return dataclasses.replace(data, root=str(out)), len(empty) - len(kept)


def _is_coco(data: config_lib.Data) -> bool:
    """Whether one JSON is that of its training images; those of labelme may be called train_0."""
    try:
        layout.locate(data, "train")
    except InputError:
        return False
    return True


def _only_folder(folder: Path) -> Path | None:
    """The folder that is alone in another but for a README, as archives are unpacked."""
    found = [one for one in folder.iterdir() if not one.name.startswith((".", "__MACOSX"))]
    found = [one for one in found if one.is_dir() or not one.name.lower().startswith(BESIDE)]
    return found[0] if len(found) == 1 and found[0].is_dir() else None


def _read(folder: Path, data: config_lib.Data) -> tuple[str, foreign.Import]:
    """The only form that a folder can be read in."""
    forms = [form for form in foreign.FORMS if form not in ("coco", "labels", *LAST)]
    for tried in (forms, LAST):
        found: dict[str, foreign.Import] = {}
        faults: dict[str, InputError] = {}
        for form in tried:
            try:
                read = _read_as(form, folder, data)
            except OtherFormError:
                continue
            except InputError as fault:
                faults[form] = fault
                continue
            pictures = [one for split in read.splits.values() for one in split.pictures]
            if any(picture.instances for picture in pictures):
                found[form] = read
            elif pictures:
                faults[form] = InputError(f"{folder} has {len(pictures)} images, and no masks")
        if len(found) == 1:
            return found.popitem()
        if found:
            raise InputError(
                f"{folder} can be read as {' and as '.join(found)}; turn it into a COCO folder by "
                f"solojax data import {next(iter(found))} {folder} OUT"
            )
        for form, why in faults.items():
            raise InputError(
                f"{why} (read as {form}; solojax data import {form} {folder} OUT has options)"
            ) from why
    if coco.has_split(data := config_lib.Data(root=str(folder)), "train"):
        layout.locate(data, "train")  # says which JSONs there are
    jsons = sorted(one.name for one in folder.glob("*.json"))
    hint = ""
    if len(jsons) == 1:
        hint = f"; if {jsons[0]} is COCO's, give --set data.train_json={jsons[0]}"
    raise OtherFormError(
        f"{folder} is no COCO folder, and nothing in it is of {', '.join(forms)} or "
        f"{', '.join(LAST)}{hint}; solojax data import FORM {folder} OUT says what a form asks for"
    )


def _read_as(form: str, folder: Path, data: config_lib.Data) -> foreign.Import:
    """A set in one form; without what is faulty where ``data.faults`` says so."""
    try:
        return foreign.read(form, folder, Faults(dataclasses.replace(data, faults="fail")))
    except InputError as fault:
        if isinstance(fault, OtherFormError) or data.faults == "fail":
            raise
        return foreign.read(form, folder, Faults(data))
