"""``solojax data show``: draws what a training sees."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError

MOST_SHOWN = 64  # examples on one sheet


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_root(parser)
    options.add_config(parser)
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--step", type=int, default=0, help="of the training, to begin with")
    parser.add_argument("--count", type=int, default=8, help="examples")
    parser.add_argument("--out", type=Path, default=Path("examples.png"))
    parser.add_argument(
        "--superpixels", action="store_true", help="draw the outlines of SLIC's; needs scikit-image"
    )


def run(arguments: argparse.Namespace) -> None:
    """Draws."""
    from solojax.inference import contact_sheet, draw

    step, count, out = arguments.step, arguments.count, arguments.out
    if not 1 <= count <= MOST_SHOWN or step < 0:
        raise InputError(f"--count must be in 1..{MOST_SHOWN} and --step at least 0")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    config = options.load_data(arguments)
    sheet = contact_sheet.of_training(
        config,
        arguments.split,
        step=step,
        count=count,
        with_superpixels=arguments.superpixels,
    )
    draw.save_png(str(out), sheet)
    print(f"{count} examples from step {step} on in {out}")
