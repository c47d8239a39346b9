"""Images that come to a prediction, one after the other, each with what tells it apart."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from solojax.inference import videos
from solojax.inference.known_images import Known
from solojax.inference.sources import Inputs
from solojax.types import InputError


class Origin(NamedTuple):
    """What a result belongs to."""

    file: str  # as the user gave it
    name: str  # of its own files, before their endings
    id: int  # of its image, in every JSON
    frame: int | None = None  # of a video, from 0
    time: float | None = None  # of that frame, seconds since the first
    known_as: str = ""  # as a ground truth calls it, where one was given

    @property
    def file_name(self) -> str:
        """What its image is called in results: frames as ``--save polygons`` writes them."""
        if self.frame is not None:
            return f"{self.path}.jpg"
        return self.known_as or Path(self.file).as_posix()

    @property
    def path(self) -> str:
        """Where its own files lie in a folder, before their endings: those of frames in another."""
        return self.name if self.frame is None else f"{self.name}/{self.frame:06}"


class Stream(NamedTuple):
    """Images that belong together: the files that were given, or the frames of a film."""

    title: str
    unit: Literal["image", "frame"]
    total: int | None  # images to come, where it is known
    endless: bool  # to be ended by whoever looks on
    pictures: Iterator[tuple[Origin, np.ndarray]]  # H W 3 uint8 RGB


def streams(
    inputs: Inputs,
    names: Sequence[str],
    faults: list[str],
    read_image: Callable[[Path], np.ndarray],
    known: Sequence[Known] = (),
) -> Iterator[Stream]:
    """All images first, then each video, then each webcam; what is wrong is added to ``faults``.

    What cannot be read is left out. Ids are those of ``image_ids``; frames go on from there.

    Args:
      inputs: where the images come from.
      names: for the files of each input, as of ``save.name_outputs``.
      faults: lines for people.
      read_image: ``sources.read_image`` or like.
      known: what each image is in a ground truth, whose ids they get then.
    """
    known = known or [Known(number, "") for number in image_ids(inputs)]
    ids = itertools.count(len(inputs.images) + 1)

    def images() -> Iterator[tuple[Origin, np.ndarray]]:
        for path, name, one in zip(inputs.images, names, known, strict=False):
            try:
                image = read_image(path)
            except InputError as fault:
                faults.append(str(fault))
            else:
                yield Origin(str(path), name, one.id, known_as=one.name), image

    def frames(
        file: str, name: str, coming: Iterator[videos.Frame]
    ) -> Iterator[tuple[Origin, np.ndarray]]:
        for number, frame in enumerate(coming):
            yield Origin(file, name, next(ids), number, frame.time), frame.image

    if inputs.images:
        yield Stream("images", "image", len(inputs.images), False, images())
    others = iter(names[len(inputs.images) :])
    for path in inputs.videos:
        coming = frames(str(path), next(others), videos.read_video(path, faults))
        yield Stream(path.name, "frame", videos.count_frames(path), False, coming)
    for number in inputs.webcams:
        title = f"webcam:{number}"
        coming = frames(title, next(others), videos.read_webcam(number, faults))
        yield Stream(title, "frame", None, True, coming)


def image_ids(inputs: Inputs) -> list[int]:
    """The ids of the images: the numbers that their files are called by, as COCO's are.

    Where not every file is called by a number of its own, or where there are frames as well: 1, 2,
    3 in their order.
    """
    stems = [path.stem for path in inputs.images]
    if not (inputs.videos or inputs.webcams) and all(s.isascii() and s.isdigit() for s in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers) and max(numbers, default=0) < 2**63:
            return numbers
    return list(range(1, len(stems) + 1))
