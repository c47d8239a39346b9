"""Predicts on all that a user gave, file by file, and keeps what is done when it is stopped."""

import collections
import contextlib
import functools
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
from tqdm import tqdm

from solojax.data.findings import Findings, shorten
from solojax.data.images.values import Range
from solojax.inference import save, sources, tracking
from solojax.inference.known_images import Known
from solojax.inference.predictor import Predictor
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin, Stream, streams
from solojax.types import InputError

GIANT = 10_000  # pixels on the longer side; above, one look at all of an image misses much


def predict_files(
    predictor: Predictor,
    inputs: Inputs,
    out: Path,
    *,
    forms: Sequence[str] = (),
    overlays: bool = True,
    least_score: float | None = None,
    tile: int | None = None,
    known: Sequence[Known] = (),
    value_range: Range | None = None,
    most_pixels: int | None = None,
    page: int | None = None,
    track: bool = False,
    findings: Findings | None = None,
) -> None:
    """Finds what is in the inputs and writes it to a folder, with progress bars and a summary.

    Ctrl-C and SIGTERM end it with whole files of what came before; a webcam is meant to be ended
    so.

    Args:
      predictor: what finds.
      inputs: images, then videos, then webcams.
      out: the folder, as checked by ``save.check_folder``.
      forms: those of ``save.FORMS`` to write.
      overlays: whether to draw pictures and films.
      least_score: of what is drawn and saved, where that is not to be what the predictor says.
      tile: the side that large images are cut into, pixels.
      known: what each image is in a ground truth, as of ``known_images.find``.
      value_range: which values of more than 8 bits become black and white, where that is not to be
        the predictor's.
      most_pixels: the most that an image may have, where that is not to be what memory holds.
      page: of images of several pages or frames, from 1 on; where none is given, the first.
      track: whether the instances of each video and webcam get ids (``tracking``).
      findings: what is to be told beside.

    Raises:
      InputError: the network makes nothing of what one of ``forms`` holds; or some inputs could
        not be read, and what could is done.
      KeyboardInterrupt: it was stopped before its end.
    """
    faults: list[str] = []
    findings = Findings() if findings is None else findings
    read_image = functools.partial(
        sources.read_image,
        findings=findings,
        value_range=value_range or predictor.value_range,
        most_pixels=most_pixels,
        page=page,
    )
    save.check_able(forms, predictor.finds_instances, predictor.labels_pixels)
    if least_score is None and predictor.finds_instances:
        print(predictor.thresholds.describe())
        if "rle" in forms:
            print("results.json lacks what scores less, which an AP counts; --score 0 keeps all")
    done, giants, detections = {"image": 0, "frame": 0}, 0, 0
    with (
        save.Files(out, inputs, forms, predictor.categories, overlays=overlays) as files,
        _interruptible() as stop,
    ):
        for stream in streams(inputs, save.name_outputs(inputs), faults, read_image, known):
            with tqdm(total=stream.total, desc=stream.title, unit=stream.unit) as bar:
                tracker = tracking.Tracker() if track and stream.unit == "frame" else None
                for origin, result in _predict_each(predictor, stream, tile, stop):
                    result = result.above(least_score)
                    result = tracker(result) if tracker else result
                    files.add(origin, result)
                    done[stream.unit] += 1
                    giants += max(result.size) > GIANT and not tile
                    detections += len(result)
                    bar.update()
            if stop.is_set():
                break
    counts = " and ".join(f"{count} {unit}s" for unit, count in done.items() if count)
    if counts:
        found = f"{detections} detections in" if predictor.finds_instances else "label maps of"
        print(f"{found} {counts}; in {out}: {files.describe()}")
    for path in files.left_over():
        what = "files of before that this prediction did not write"
        findings.add("told", what, str(path), cure="another --out keeps predictions apart")
    if giants:
        print(
            f"longer than {GIANT} pixels: {giants} images; --tiles 1024 finds small things in them"
        )
    for finding in findings:
        print(finding)
    if stop.is_set() and not stream.endless:
        raise KeyboardInterrupt
    if faults:
        parts = len(inputs.images) + len(inputs.videos) + len(inputs.webcams)
        which = f"{len(faults)} of {parts} inputs: " if parts > 1 else ""
        raise InputError(which + shorten(faults, len(faults)))


def _predict_each(
    predictor: Predictor, stream: Stream, tile: int | None, stop: threading.Event
) -> Iterator[tuple[Origin, Result]]:
    """The origin and the result of each image of a stream, until it ends or is to stop."""
    pending: collections.deque[Origin] = collections.deque()

    def images() -> Iterator[np.ndarray]:
        for origin, image in stream.pictures:
            if stop.is_set():
                return
            pending.append(origin)
            yield image

    results: Iterator[Result] = predictor.stream(images())
    if tile is not None:
        results = (predictor.tiled(image, tile) for image in images())
    elif stream.endless:  # nobody before a webcam waits for a batch to be full
        results = map(predictor, images())
    for result in results:
        yield pending.popleft(), result


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Sets the event on Ctrl-C or SIGTERM, for files to be ended; on the second one it raises."""
    stop = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, heard in before.items():
            signal.signal(number, heard)
