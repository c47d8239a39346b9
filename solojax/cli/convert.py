"""``solojax convert``: published weights become a run, and a run a file of weights."""

import argparse
from pathlib import Path

from solojax.types import InputError, escaped


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument(
        "source",
        type=Path,
        help="a file of weights of a whole model (docs/weights.md), a run folder, or owner/name of "
        "the Hugging Face Hub",
    )
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        help="the run folder to make, or a file that ends in .safetensors",
    )
    parser.add_argument(
        "--config",
        default="",
        help="whose preprocessing, sizes and thresholds go with the weights, by name or as a file; "
        "chosen by their names and shapes where not given",
    )
    parser.add_argument(
        "--classes",
        default="",
        metavar="NAMES",
        help="of the classes: a,b,c, or a file with a name a line, a JSON list or COCO JSON; "
        "else what the file says, COCO's where there are 80, or numbers",
    )
    parser.add_argument(
        "--ema",
        action="store_true",
        help="take the second set of weights, where the file has one: averages of a training or, "
        "of mmcv and mmengine, what was averaged",
    )


def run(arguments: argparse.Namespace) -> None:
    """Converts."""
    from solojax.convert.state_dict import Misfit
    from solojax.training import converted

    source, to = arguments.source, arguments.to
    try:
        for line in converted.convert(
            source, to, arguments.config, arguments.classes, arguments.ema
        ):
            print(escaped(line))
    except Misfit as error:
        raise InputError(
            f"{source} does not fit the model that it is of:",
            *(f"  {problem}" for problem in error.problems),
        ) from error
