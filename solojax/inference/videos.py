"""The frames of videos and webcams, upright and with their times."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from solojax.types import InputError

if TYPE_CHECKING:  # who predicts on images does not wait for PyAV
    import av

# A video that ends so much earlier than its header says was cut, seconds; the last frame of a sound
# one may be told to stay for a while.
SHORTFALL = 1.0
NO_DECODER = "has a codec that is not known here; convert it to H.264"
TS_PACKETS = (188, 192, 204)  # bytes, one of which divides a whole MPEG-TS, which tells no length
USUAL_RATE = 30  # frames a second, of a video that does not tell


class Frame(NamedTuple):
    """One picture of a video or a webcam."""

    image: np.ndarray  # H W 3 uint8 RGB, upright
    time: float  # seconds since the first frame


def read_video(path: Path, faults: list[str]) -> Iterator[Frame]:
    """The frames of a video up to its end, or to where it is damaged.

    Each keeps its own time, so that a variable rate stays one, and is turned as the video says that
    it was held. A line on what is wrong is added to ``faults``: no video, no frame, an unknown
    codec, a damaged or missing end.
    """
    import av

    try:
        if not path.stat().st_size:
            raise InputError("is empty; copy it again")
        with _open(path) as container:
            yield from _read_video(container)
    except av.DecoderNotFoundError:
        faults.append(f"{path} {NO_DECODER}")
    except InputError as error:
        faults.append(f"{path} {error}")
    except OSError as error:
        faults.append(f"{path} cannot be read: {error.strerror}")
    except av.FFmpegError as error:
        faults.append(f"{path} is no video, or its end is missing: {error.strerror}; copy it again")


def _open(path: Path) -> "av.container.InputContainer":
    import av

    # Titles may be no UTF-8; from 19 on PyAV takes them so, and knows no such option.
    old = int(av.__version__.partition(".")[0]) < 19
    options: dict[str, Any] = {"metadata_errors": "replace"} if old else {}
    # A colon in a relative name would be taken for a protocol.
    return av.open(str(path.absolute()), **options)


def count_frames(path: Path) -> int | None:
    """How many frames a video says to have, where it does."""
    import av

    try:
        with _open(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                return None
            if stream.frames or container.duration is None:
                return stream.frames or None
            return (
                round(container.duration / av.time_base * float(stream.average_rate or 0)) or None
            )
    except (av.FFmpegError, OSError):
        return None


def read_webcam(number: int, faults: list[str]) -> Iterator[Frame]:
    """The frames of a webcam as they come, until nobody asks for more or it is unplugged.

    A line on what is wrong is added to ``faults``.
    """
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            faults.append(f"webcam:{number} cannot be opened; see that it is there and not in use")
            return
        begun = None
        while True:
            there, image = camera.read()
            if not there:
                faults.append(f"webcam:{number} gives no more frames; see that it is plugged in")
                return
            now = time.monotonic()
            begun = now if begun is None else begun
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), now - begun)
    finally:
        camera.release()


def _read_video(container: Any) -> Iterator[Frame]:
    """The frames of an open video.

    Raises:
      InputError: what is wrong with it, after the last sound frame; ``av.FFmpegError`` likewise.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise InputError("has no video in it")
    if stream.codec_context is None:
        raise InputError(NO_DECODER)
    first = None
    for number, frame in enumerate(_decode(container, stream)):
        if frame.pts is None:
            seconds = number / float(stream.average_rate or USUAL_RATE)
        else:
            seconds = float(frame.pts * stream.time_base)
        first = seconds if first is None else first
        image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
        yield Frame(np.ascontiguousarray(image), seconds - first)
    if first is None:
        raise InputError("has no frame")


def _decode(container: Any, stream: Any) -> Iterator["av.VideoFrame"]:
    """Decoded frames; an error comes after all that are sound."""
    import av

    count, sent, unseen, end = 0, 0, 0, 0.0
    packets, damaged = container.demux(), False  # of all streams: audio tells the end as well
    while not damaged:
        frames: list[av.VideoFrame] = []
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            damaged = packet.is_corrupt
            if packet.stream is stream and not damaged:
                sent += bool(packet.size)
                unseen += bool(packet.size) and packet.is_discard  # beyond what is to be shown
                frames = packet.decode()
        except av.DecoderNotFoundError:
            raise
        except av.FFmpegError:
            damaged = True
        if damaged:  # what the decoder held back, to put frames into order, is sound
            with contextlib.suppress(av.FFmpegError):
                frames = stream.codec_context.decode(None)
        for frame in frames:
            if not frame.is_corrupt:
                count += 1
                yield frame
            elif count:  # a recording may begin between two whole frames
                damaged = True
                break
    if damaged:
        raise InputError(
            f"is cut or damaged from frame {count} on; those before it are done; copy it again"
        )
    if count and container.duration is not None:
        # Matroska tells when it ends, the others how long they are.
        begin = 0 if "matroska" in container.format.name else container.start_time or 0
        told = (begin + container.duration) / av.time_base
        if told - end > SHORTFALL:
            raise InputError(
                f"was cut after frame {count - 1}, at {end:.1f} of {told:.1f} seconds; what is "
                "there is done; copy it again for the rest"
            )
    if container.format.name == "mpegts" and all(container.size % size for size in TS_PACKETS):
        raise InputError(
            f"was cut in a packet, after frame {count - 1}; what is there is done; copy it again "
            "for the rest"
        )
    # Some demuxers and decoders pass over what is damaged. An index tells of all frames, those
    # apart that repeat the one before with no bytes.
    index = [entry.size for entry in stream.index_entries]
    whole = sum(size > 0 for size in index) if len(index) == stream.frames else sent
    if (missing := min(stream.frames, whole) - unseen - count) > 0:
        raise InputError(
            f"lacks {missing} of its {count + missing} frames, which are damaged; the others are "
            "done; copy it again"
        )
