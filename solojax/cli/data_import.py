"""``solojax data import``: turns a set of another form into a COCO folder."""

import argparse
from pathlib import Path

from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument("form", help="labelme, yolo, cityscapes, lvis or pairs")
    parser.add_argument("source", type=Path, help="its folder")
    parser.add_argument("out", type=Path, help="the COCO folder to make")
    parser.add_argument("--name", help='of the class of pairs; "object" where not given')
    parser.add_argument("--divisor", type=int, help="id // divisor is the class of pairs")


def run(arguments: argparse.Namespace) -> None:
    """Imports."""
    from solojax.data import foreign
    from solojax.data.foreign import write

    if arguments.form not in foreign.FORMS:
        raise InputError(f"form {arguments.form!r} is none of {', '.join(foreign.FORMS)}")
    options = {"name": arguments.name, "divisor": arguments.divisor}
    options = {name: value for name, value in options.items() if value is not None}
    if options and arguments.form != "pairs":
        raise InputError(f"--{next(iter(options))} is for pairs, not for {arguments.form}")
    found = foreign.FORMS[arguments.form](arguments.source, **options)
    write.write(found, arguments.out)
    print(f"{found.describe()}\nnext: solojax data prepare {arguments.out}")
