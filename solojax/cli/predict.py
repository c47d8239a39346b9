"""``solojax predict``: finds the instances in images and videos."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="images, videos, folders of images, patterns such as 'a/**/*.jpg', webcam or webcam:N",
    )
    options.add_run(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="the folder for what is found"
    )
    options.add_checkpoint(parser)
    parser.add_argument(
        "--save",
        default="",
        metavar="FORM,...",
        help="json (boxes, scores, areas), rle (COCO's results), polygons (a COCO set), png (ids), "
        "label-studio and cvat (to be corrected there), labels and panoptic (whole scenes)",
    )
    parser.add_argument(
        "--score",
        type=float,
        help="the least that is drawn and saved; without it what was chosen when the run was "
        "scored, else .3",
    )
    parser.add_argument(
        "--mask-threshold",
        type=float,
        metavar="P",
        help="the probability above which a pixel is in a mask, without it the head's",
    )
    parser.add_argument(
        "--tiles", type=int, metavar="PIXELS", help="cut large images into tiles of that side"
    )
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="FILE",
        help="a COCO JSON, to give images the ids that it has for files of their names",
    )
    parser.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help="the values that are black and white in images of more than 8 bits",
    )
    parser.add_argument(
        "--megapixels",
        type=int,
        metavar="N",
        help="the most that an image may have (without it, as many as take 2.4 GB to decode)",
    )
    parser.add_argument(
        "--page",
        type=int,
        metavar="N",
        help="the page or frame of TIFFs and animations, counted from 1",
    )
    parser.add_argument(
        "--track", action="store_true", help="give the instances of a video ids that they keep"
    )
    parser.add_argument("--batch", type=int, default=1, help="images in the network at a time")
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures and films")


def run(arguments: argparse.Namespace) -> None:
    """Predicts."""
    from solojax.data.findings import Findings
    from solojax.data.images import values as image_values
    from solojax.inference import known_images, predict_files, save, sources, tracking
    from solojax.inference.predictor import Predictor

    forms = save.check_forms(arguments.save)
    overlays = not arguments.no_overlays
    if not (forms or overlays):
        raise InputError(f"--no-overlays leaves nothing to do; give --save {','.join(save.FORMS)}")
    if arguments.score is not None and not 0 <= arguments.score <= 1:
        raise InputError(f"--score {arguments.score:g} must be in 0..1")
    if arguments.mask_threshold is not None and not 0 <= arguments.mask_threshold <= 1:
        raise InputError(f"--mask-threshold {arguments.mask_threshold:g} must be in 0..1")
    if arguments.megapixels is not None and arguments.megapixels < 1:
        raise InputError(f"--megapixels {arguments.megapixels} must be at least 1")
    if arguments.page is not None and arguments.page < 1:
        raise InputError(f"--page {arguments.page} must be at least 1, the first page")
    findings = Findings()
    inputs = sources.find(arguments.paths, findings)
    if arguments.page and not inputs.images:
        raise InputError("--page is for images, and there is none")
    if arguments.track:
        if not (inputs.videos or inputs.webcams):
            raise InputError("--track is for videos and webcams, and there is none")
        tracking.Tracker()  # refuses where its package is missing, before anything is done
    known: Sequence[known_images.Known] = ()
    if arguments.gt:
        inputs, known, told = known_images.find(inputs, arguments.gt)
        print(*told, sep="\n", end="\n" if told else "")
    save.check_folder(arguments.out, inputs)
    predictor = Predictor.from_pretrained(
        arguments.workdir, arguments.checkpoint, batch_size=arguments.batch
    )
    if arguments.mask_threshold is not None:
        predictor = predictor.at(arguments.mask_threshold)
    predict_files.predict_files(
        predictor,
        inputs,
        arguments.out,
        forms=forms,
        overlays=overlays,
        least_score=arguments.score,
        tile=arguments.tiles,
        known=known,
        value_range=image_values.range_of(arguments.range or ()),
        most_pixels=arguments.megapixels and arguments.megapixels * 10**6,
        page=arguments.page,
        track=arguments.track,
        findings=findings,
    )
