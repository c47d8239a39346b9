"""``solojax data import``: turns a set into a COCO folder, with validation images if asked for."""

import argparse
from pathlib import Path
from typing import Any

from solojax.types import InputError

OPTIONS = {"pairs": ("name", "divisor", "components"), "labels": ("labels", "ignore")}


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument(
        "form",
        help="labelme, yolo, cityscapes, lvis, pairs, labels, cvat, label_studio, via, "
        "supervisely or coco",
    )
    parser.add_argument("source", type=Path, help="its folder")
    parser.add_argument("out", type=Path, help="the COCO folder to make")
    parser.add_argument(
        "--val", type=float, help="the share of images for validation, where the set has no split"
    )
    parser.add_argument(
        "--tiles",
        type=int,
        metavar="SIDE",
        help="cut images that are larger into overlapping squares of so many pixels, as predict "
        "--tiles does",
    )
    parser.add_argument(
        "--faults",
        choices=("fail", "skip"),
        default="fail",
        help="whether a damaged image or label file ends the import, or is left out and listed",
    )
    parser.add_argument(
        "--most-skipped",
        type=float,
        default=0.001,
        metavar="SHARE",
        help="the share of images beyond which the import ends all the same (0.001)",
    )
    parser.add_argument(
        "--stuff",
        type=lambda names: names.split(","),
        metavar="NAMES",
        help="classes of which nobody counts instances, as in sky,road: label maps have them",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="names of the values of labels, one a line, 0 first",
    )
    parser.add_argument("--ignore", type=int, help="the value of labels that is no class (255)")
    parser.add_argument("--name", help='of the class of pairs; "object" where not given')
    parser.add_argument("--divisor", type=int, help="id // divisor is the class of pairs")
    parser.add_argument(
        "--components",
        action=argparse.BooleanOptionalAction,
        help="whether each connected part of a value is an instance of pairs; where not given, "
        "for masks of 0 and 255 alone",
    )


def run(arguments: argparse.Namespace) -> None:
    """Imports."""
    from solojax import config
    from solojax.data import check, foreign
    from solojax.data.annotations.left_out import OF_IMPORT, Faults
    from solojax.data.foreign import divide, label_maps, tiles, write

    if arguments.form not in foreign.FORMS:
        raise InputError(f"form {arguments.form!r} is none of {', '.join(foreign.FORMS)}")
    options: dict[str, Any] = {}
    for form, names in OPTIONS.items():
        given = {name: getattr(arguments, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        if given and arguments.form != form:
            raise InputError(f"--{next(iter(given))} is for {form}, not for {arguments.form}")
        options |= given
    if not 0 <= arguments.most_skipped <= 1:
        raise InputError(f"--most-skipped {arguments.most_skipped:g} must be in 0..1")
    policy = config.Data(faults=arguments.faults, most_skipped=arguments.most_skipped)
    faults = Faults(policy, OF_IMPORT)
    found = foreign.read(arguments.form, arguments.source, faults, **options)
    if arguments.stuff is not None:
        found = label_maps.take(found, arguments.stuff)
    if arguments.val is not None:
        found = divide.divide(found, arguments.val)
    if arguments.tiles is not None:
        found = tiles.tile(found, arguments.tiles)
    write.write(found, arguments.out)
    for line in check.tell(arguments.out) if found.form != "coco" else ():  # told as it was read
        print(line)
    print(found.describe())
    if "val" not in found.splits:
        print(
            "there are no images for validation, and training asks for some: import again with "
            "--val 0.2, or set data.val_json and data.val_images"
        )
    print(f"next: solojax data prepare {arguments.out}")
