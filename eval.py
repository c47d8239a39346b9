"""Scores a run on its validation images: ``python eval.py --workdir runs/shapes``."""

import sys

from solojax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["eval", *sys.argv[1:]]))
