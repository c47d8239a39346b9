"""What a folder holds, recognised by itself: a COCO folder, or a set in another form."""

import contextlib
import dataclasses
from pathlib import Path

from solojax import config as config_lib
from solojax.data import foreign
from solojax.data.foreign import divide, tiles, write
from solojax.data.foreign.contents import STRICT
from solojax.data.records import coco, layout
from solojax.recipe.decisions import Decision
from solojax.types import InputError

DATA, TILES = "data", "tiles"  # folders in a run's
SHARE = 0.2  # of the images, for validation
LAST = ("pairs",)  # forms that much fits, tried where no other does


def open_folder(folder: Path, workdir: Path) -> tuple[config_lib.Data, list[Decision]]:
    """Where the COCO folder is: the given one, or one made of it in ``workdir``.

    Raises:
      InputError: it is none of the forms, or several.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    data = config_lib.Data(root=str(folder), records=str(workdir / "records"))
    if _is_coco(data) and coco.has_split(data, "val"):
        return data, [Decision("data", "COCO", f"{folder} has train and val")]
    try:
        form, found = (
            ("coco", foreign.read("coco", folder, STRICT)) if _is_coco(data) else _read(folder)
        )
    except InputError:
        if inside := _only_folder(folder):
            return open_folder(inside, workdir)
        raise
    if folder.resolve() in workdir.resolve().parents:
        raise InputError(
            f"{folder} has to be written anew as a COCO folder with val, and {workdir} lies in it; "
            "start solojax from outside of it"
        )
    decisions = [Decision("data", form, f"{folder} is read as such")]
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
    return config_lib.Data(root=str(out), records=str(workdir / "records")), decisions


def cut(data: config_lib.Data, side: int, workdir: Path) -> config_lib.Data:
    """The same set cut into tiles of ``side`` original pixels, written into ``workdir``."""
    found = tiles.tile(foreign.read("coco", Path(data.root), STRICT), side)
    write.write(found, out := workdir / TILES)
    return dataclasses.replace(data, root=str(out))


def _is_coco(data: config_lib.Data) -> bool:
    """Whether one JSON is that of its training images; those of labelme may be called train_0."""
    try:
        layout.locate(data, "train")
    except InputError:
        return False
    return True


def _only_folder(folder: Path) -> Path | None:
    """The folder that is alone in another, as archives are unpacked."""
    found = [one for one in folder.iterdir() if not one.name.startswith((".", "__MACOSX"))]
    return found[0] if len(found) == 1 and found[0].is_dir() else None


def _read(folder: Path) -> tuple[str, foreign.Import]:
    """The only form that a folder can be read in."""
    forms = [form for form in foreign.FORMS if form not in ("coco", "labels", *LAST)]
    for tried in (forms, LAST):
        found = {}
        for form in tried:
            with contextlib.suppress(InputError):  # most are of another form
                read = foreign.read(form, folder, STRICT)
                pictures = [one for split in read.splits.values() for one in split.pictures]
                if any(picture.instances for picture in pictures):
                    found[form] = read
        if len(found) == 1:
            return found.popitem()
        if found:
            raise InputError(
                f"{folder} can be read as {' and as '.join(found)}; turn it into a COCO folder by "
                f"solojax data import {next(iter(found))} {folder} OUT"
            )
    if coco.has_split(data := config_lib.Data(root=str(folder)), "train"):
        layout.locate(data, "train")  # says which JSONs there are
    raise InputError(
        f"{folder} is no COCO folder, and cannot be read as {', '.join(forms)} or "
        f"{', '.join(LAST)}; if it is one of them, solojax data import FORM {folder} OUT says what "
        "is wrong with it"
    )
