"""Films in the form that browsers play, from pictures that come at any times."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from solojax import writing
from solojax.types import InputError

CLOCK = 90_000  # ticks a second of our films: those of 24, 25, 30, 50 and 60 frames are whole
QUALITY = {"crf": "20", "preset": "veryfast"}  # of x264: hard to tell from the frames
BT709 = 1  # the number of its colours in H.264


class Film:
    """An MP4 in H.264 that browsers play; the file is there after ``close``, if it has a frame."""

    def __init__(self, path: Path):
        self._path, self._part = path, writing.part_of(path)
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Adds ``H W 3`` uint8 RGB, to be shown from that time on.

        Odd sides are made even, and pictures of another size than the first are made as large.

        Raises:
          InputError: PyAV has no encoder for H.264, or a disk is full.
        """
        if self._container is None:
            with writing.told(self._path):
                self._open(*picture.shape[:2])
        width, height = self._stream.width, self._stream.height
        bottom, right = height - picture.shape[0], width - picture.shape[1]
        if bottom in (0, 1) and right in (0, 1):
            border = cv2.BORDER_REPLICATE
            even = cv2.copyMakeBorder(picture, 0, bottom, 0, right, border)
        else:
            even = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        # Time has to go on, whatever a video says.
        self._last = max(round(seconds * CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        with writing.told(self._path):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._container is None:
            return
        try:
            with writing.told(self._path), self._container:
                if self._stream:
                    self._container.mux(self._stream.encode())
            if self._stream:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(
            str(self._part.absolute()), "w", format="mp4", options={"movflags": "faststart"}
        )
        try:
            # Without B-frames: the duration that is written is right for a variable rate, too.
            self._stream = self._container.add_stream("libx264", options={**QUALITY, "bf": "0"})
        except (av.codec.codec.UnknownCodecError, ValueError) as error:
            raise InputError(
                "this PyAV has no encoder for H.264; reinstall it with pip install "
                "--force-reinstall av, or give --no-overlays"
            ) from error
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = BT709
