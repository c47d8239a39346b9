"""Detections to be saved, and how what was saved is read back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import av
import numpy as np

from solojax.config import Category
from solojax.data import rle
from solojax.data.panoptic_ids import Segment
from solojax.inference import save
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin

CATEGORIES = (Category(1, "circle"), Category(7, "square"))
NOTHING = Inputs([], [], [])


def result_of(masks: list[np.ndarray], size: tuple[int, int] = (20, 30)) -> Result:
    """Detections of scores 0.9, 0.8, ... and classes in turns on a grey image."""
    packed = np.packbits(np.array(masks, np.uint8).reshape(-1, *size), axis=-1)
    return Result(
        image=np.full((*size, 3), 90, np.uint8),
        scores=np.linspace(0.9, 0.0, 10, dtype=np.float32)[: len(masks)],
        labels=np.arange(len(masks), dtype=np.int32) % 2,
        rles=rle.encode_packed(packed, size),
        categories=CATEGORIES,
    )


def box(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def scene_of(ids: np.ndarray, segments: tuple[Segment, ...]) -> Result:
    """Whole, of the classes and one stuff; labels are those of the segments."""
    labels = np.full(ids.shape, 255, np.uint8)
    for one in segments:
        labels[ids == one.id] = one.label
    return dataclasses.replace(
        result_of([], ids.shape),
        stuff=(Category(2, "sky"),),
        label_map=labels,
        segment_ids=ids,
        segments=segments,
    )


INSTANCES = [form for form in save.FORMS if form not in ("labels", "panoptic")]
TWO = result_of([box(2, 3, 12, 9), box(8, 5, 20, 15)])
NONE = result_of([])


def write(
    out: Path,
    pairs: list[tuple[Origin, Result]],
    *forms: str,
    inputs: Inputs = NOTHING,
    overlays: bool = False,
) -> None:
    with save.Files(out, inputs, forms, CATEGORIES, overlays=overlays) as files:
        for origin, result in pairs:
            files.add(origin, result)


def origin(number: int) -> Origin:
    return Origin(f"in/{number}.jpg", str(number), number)


def frame(number: int, time: float) -> Origin:
    return Origin("film.mov", "film", number + 1, number, time)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def names_in(folder: Path) -> set[str]:
    """All that lies in a folder, hidden files too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def named(*paths: str, videos: tuple[str, ...] = (), webcams: tuple[int, ...] = ()) -> Inputs:
    return Inputs([Path(path) for path in paths], [Path(path) for path in videos], list(webcams))


def decode(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert container.duration is not None
        frames = [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
        # A player stops at the duration.
        assert frames[-1][0] is not None and container.duration / av.time_base > frames[-1][0]
        return frames
