"""``solojax data check``: says all that is wrong with a COCO folder, and what cures it."""

import argparse
import sys
from pathlib import Path

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_root(parser)
    parser.add_argument("--config", help="whose data fields to go by")
    options.add_set(parser)
    parser.add_argument(
        "--hash",
        action="store_true",
        help="find images that are there twice, and those whose bytes changed since the first time",
    )
    parser.add_argument(
        "--checksums",
        type=Path,
        help="the list for --hash; ROOT/checksums.sha256 where left out",
    )
    parser.add_argument("--decode", action="store_true", help="decode every image")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write it as JSON, too")


def run(arguments: argparse.Namespace) -> int:
    """Checks; 0 if nothing is lost or likely wrong, 1 if something is, 2 if it cannot be read."""
    from etils import epath

    from solojax import writing
    from solojax.data import check

    report = check.folder(
        options.load_data(arguments).data,
        hashes=arguments.hash or arguments.checksums is not None,
        decode=arguments.decode,
        list_path=epath.Path(arguments.checksums) if arguments.checksums else None,
    )
    print(report)
    if arguments.json is not None:
        with writing.told(arguments.json):  # itself, which may be /dev/stdout
            arguments.json.write_text(report.to_json())
    for split, why in report.unread.items():
        print(f"solojax: error: {split}: {why}", file=sys.stderr)
    return report.code
