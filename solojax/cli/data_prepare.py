"""``solojax data prepare``: checks a COCO folder and writes its records."""

import argparse

from solojax.cli import options


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_root(parser)
    parser.add_argument("--config", help="whose data fields to go by")
    options.add_set(parser)


def run(arguments: argparse.Namespace) -> None:
    """Prepares."""
    from solojax.data.records import coco

    data = options.load_data(arguments).data
    for split, records in coco.prepare_all(data):
        stuff = f", {len(records.stuff)} kinds of stuff" if records.stuff else ""
        print(f"{split}: {len(records.image_ids)} images, {len(records.categories)} classes{stuff}")
