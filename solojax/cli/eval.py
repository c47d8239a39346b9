"""``solojax eval``: scores a run on its validation images, or results that any program wrote."""

import argparse
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    scored = parser.add_mutually_exclusive_group(required=True)
    scored.add_argument(
        "--workdir", type=Path, help="the run folder, or owner/name of the Hugging Face Hub"
    )
    scored.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="COCO results that any program wrote, masks or boxes, in place of a run's; or "
        "panoptic ones, or a folder of label maps",
    )
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="FILE",
        help="the COCO instances that --results are about, or the panoptic JSON",
    )
    parser.add_argument(
        "--iou-type",
        choices=["segm", "bbox"],
        help="score --results by masks or by boxes; else by masks where both files have any",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where eval.json and report.html are left; a run's own folder where not given",
    )
    parser.add_argument(
        "--split",
        choices=["val", "train"],
        default="val",
        help="a run's images to score; of train what is left lies in the folder train of the run",
    )
    parser.add_argument(
        "--oracle",
        nargs="+",
        action="extend",
        default=[],
        choices=["masks", "classes"],
        help="score also what was found with the true masks, or the true classes, in their place",
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        default=100,
        metavar="N",
        help="the best so many of a class in an image count; COCO's own numbers are of 100",
    )
    options.add_checkpoint(parser)
    options.add_set(parser)
    options.add_processes(parser)


def run(arguments: argparse.Namespace) -> None:
    """Scores."""
    if arguments.results:
        return _results(arguments)
    if arguments.gt or arguments.iou_type:
        raise InputError("--gt and --iou-type go with --results; a run knows its own")
    from solojax import processes
    from solojax.evaluation import score_run

    processes.start(arguments.coordinator, arguments.process, arguments.processes)
    told = score_run.score_run(
        arguments.workdir,
        arguments.checkpoint,
        arguments.set,
        arguments.oracle,
        most=arguments.max_detections,
        split=arguments.split,
        out=arguments.out,
    )
    if processes.is_first():
        print(told)
    processes.finish()


def _results(arguments: argparse.Namespace) -> None:
    from solojax.evaluation import score_results

    if not arguments.gt:
        raise InputError(
            f"--results {arguments.results} needs --gt, the COCO instances it is about, or the "
            "panoptic JSON"
        )
    if (
        arguments.set
        or arguments.checkpoint != "latest"
        or arguments.coordinator
        or arguments.split != "val"
    ):
        raise InputError(
            "--set, --checkpoint, --split and --coordinator are about a run; leave them out with "
            "--results"
        )
    told = score_results.score_results(
        arguments.results,
        arguments.gt,
        arguments.out,
        arguments.oracle,
        kind=arguments.iou_type,
        most=arguments.max_detections,
    )
    print(told)
