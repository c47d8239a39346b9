"""Trains a config: ``python train.py --config configs/shapes.py --workdir runs/shapes``."""

import sys

from solojax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
