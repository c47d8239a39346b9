"""``solojax export``: a run becomes files that run without solojax."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError

ENDINGS = {
    "stablehlo": ".stablehlo.zip",
    "onnx": ".onnx",
    "savedmodel": ".savedmodel",
    "litert": ".tflite",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_run(parser)
    parser.add_argument(
        "--to", required=True, choices=ENDINGS, help="what kind of file (docs/export.md)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="by default called as the run folder is"
    )
    options.add_checkpoint(parser)
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images at a time; else any number (stablehlo) or 1"
    )
    parser.add_argument(
        "--weights",
        default="float32",
        choices=("float32", "float16", "int8"),  # of export.WEIGHTS
        help="what the file keeps kernels as (default %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Exports."""
    from solojax.inference import trained
    from solojax.training import hub

    kind, batch = arguments.to, arguments.batch
    if batch is not None and batch < 1:
        raise InputError(f"--batch {batch} must be at least 1")
    if kind == "onnx" and batch not in (None, 1):
        raise InputError(f"--batch {batch}: onnx takes one image; --to stablehlo takes more")
    path = arguments.out or Path(arguments.workdir.resolve().name + ENDINGS[kind])
    found = trained.read(hub.folder_of(arguments.workdir), arguments.checkpoint)
    if kind == "onnx":
        from solojax.export.onnx import file

        written = file.write(found, path, arguments.weights)
    elif kind == "stablehlo":
        from solojax.export import stablehlo

        written = stablehlo.write(found, path, batch, arguments.weights)
    else:
        from solojax.export import savedmodel

        make = savedmodel.write if kind == "savedmodel" else savedmodel.write_lite
        written = make(found, path, batch or 1, arguments.weights)
    for path in written:
        print(f"{path}: {path.stat().st_size:,} bytes" if path.is_file() else path)
