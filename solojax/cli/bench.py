"""``solojax bench``: what this machine makes of a config, in numbers."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError

SECTIONS = ("train", "predict", "nms", "data", "evaluation", "start")


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_config(parser, required=False)  # other commands begin with bench as well
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=SECTIONS,
        metavar="SECTION",
        help=f"some of {', '.join(SECTIONS)}; the first three need neither data nor TensorFlow",
    )
    parser.add_argument(
        "--batch", nargs="+", type=int, default=[1], metavar="N", help="images at once, some sizes"
    )
    parser.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="as training's"
    )
    parser.add_argument("--repeats", type=int, default=10, help="of each row, at most")
    parser.add_argument(
        "--within", type=float, default=10, metavar="SECONDS", help="for the repeats of a row"
    )
    parser.add_argument("--images", type=int, default=1000, help="of data and evaluation")
    parser.add_argument("--out", type=Path, metavar="JSON", help="where all numbers are left")
    parser.add_argument(
        "--against", type=Path, metavar="JSON", help="an earlier --out to compare with"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measures."""
    from solojax import config as config_lib
    from solojax.bench import reports
    from solojax.bench import run as bench

    if arguments.config is None:
        raise InputError("no config given; give --config, such as solov2_light_448_r18_fpn_3x")
    if arguments.against and not arguments.against.is_file():
        raise InputError(f"--against {arguments.against}: no such file")
    config = config_lib.load(arguments.config, arguments.set)
    wishes = bench.Wishes(
        tuple(dict.fromkeys(arguments.only)),
        tuple(arguments.batch),
        arguments.precision,
        arguments.repeats,
        arguments.within,
        arguments.images,
    )
    report = bench.bench(config, wishes, lambda line: print(line, flush=True))
    if arguments.out:
        reports.write(arguments.out, report)
    if arguments.against:
        print(reports.against(report, arguments.against))
