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
    from solojax.data import coco

    data = options.load_data(arguments).data
    splits: tuple[coco.Split, ...] = ("train", "val")
    # A folder of one split only is legal; that none is there is told of the first.
    for split in [split for split in splits if coco.has_split(data, split)] or splits[:1]:
        records = coco.prepare(data, split)
        print(f"{split}: {len(records.image_ids)} images, {len(records.categories)} classes")
