"""What a training leaves to look at: metrics.jsonl, TensorBoard events, a bar and lines of text."""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax import processes, writing
from solojax.training import boards, deciding, goodput

METRICS = "metrics.jsonl"  # in the run folder, a line for each time that something was logged


class Log:
    """Numbers and pictures by step; a context manager. On processes other than 0 it keeps still.

    Args:
      workdir: the run folder.
      config: of the run.
      first: the step that the training goes on from; what was logged after it is forgotten, since
        it will come again.
      scored: whether that step's evaluation, if there is one, is behind it as well.
      steps: the last one.
    """

    def __init__(
        self, workdir: Path, config: config_lib.Config, *, first: int, scored: bool, steps: int
    ):
        self._quiet = not processes.is_first()
        if self._quiet:
            return
        # TensorFlow is in the process already, for the data.
        import tensorflow as tf

        self._path, self._warned = workdir / METRICS, False
        again = _forget(self._path, after=first, scored=scored)
        folder = workdir / "tensorboard"
        _forget_events(tf, folder, after=first, again=None if scored else again)
        self._tf, self._events = tf, tf.summary.create_file_writer(str(folder))
        self._boards = boards.start(workdir, config)
        self._about: dict[str, str] = {}
        self._bar = tqdm(
            desc="training",
            total=steps,
            initial=first,
            unit="step",
            smoothing=0.05,
            file=_Deaf(sys.stderr),
        )
        self._bar.set_postfix_str("compiling")

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._quiet:
            return
        with self._bearing():
            self._events.close()
        self._bar.close()
        for board in self._boards:
            with self._bearing(Exception):
                board.end(failed=error is not None)

    def advance(self) -> None:
        """One more step on the bar."""
        if not self._quiet:
            self._bar.update()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers wherever they are kept, and says the most important ones."""
        if self._quiet:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        line = json.dumps({"step": step, "time": round(time.time(), 3), **rounded})
        with self._bearing():
            _append(self._path, f"{line}\n".encode())
        with self._bearing(), self._events.as_default(step=step):
            for name, value in values.items():
                self._tf.summary.scalar(name, value)
        for board in self._boards:
            with self._bearing(Exception):
                board.numbers(step, rounded)
        for name in {"loss", *deciding.DECIDING} & values.keys():
            self._about[name] = f"{values[name]:.3f}"
        self._bar.set_postfix(self._about)
        if "goodput" in values:
            stream = _Deaf(sys.stdout)
            tqdm.write(_line(step, values), file=stream)
            stream.flush()

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Keeps an ``H W 3`` uint8 RGB picture."""
        if self._quiet:
            return
        with self._bearing(), self._events.as_default(step=step):
            self._tf.summary.image(name, pixels[None])
        for board in self._boards:
            with self._bearing(Exception):
                board.picture(step, name, pixels)

    @contextlib.contextmanager
    def _bearing(self, *kinds: type[Exception]) -> Iterator[None]:
        """A disk that is full for a while, or what is of such ``kinds``, should end no training."""
        try:
            yield
        except (OSError, self._tf.errors.OpError, *kinds) as error:
            warned, self._warned = self._warned, True
            if not warned:
                line = (str(error) or type(error).__name__).splitlines()[0]
                about = line.rpartition("}} ")[2]  # without TensorFlow's own names
                tqdm.write(f"solojax: warning: not logged: {about}", file=_Deaf(sys.stderr))


class _Deaf:
    """A stream that takes no notice of errors: tqdm keeps its lock for ever after one."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _line(step: int, values: dict[str, float]) -> str:
    parts = [f"step {step}", f"loss {values['loss']:.4f}"]
    if "images_per_second" in values:
        parts.append(f"{values['images_per_second']:.1f} images/s")
        parts.append(f"{1000 * values['step_seconds']:.0f} ms a step")
    shares = {name.split("_")[0]: values.get(name, 0.0) for name in goodput.ACTIVITIES}
    parts += [f"{name} {share:.0%}" for name, share in shares.items()]
    parts.append(f"goodput {values['goodput']:.0%}")
    if "share_of_peak" in values:
        parts.append(f"{values['share_of_peak']:.0%} of the device's peak")
    return ", ".join(parts)


def _append(path: Path, line: bytes) -> None:
    """Adds all of a line or nothing; of a disk that is getting full a part of it would fit."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if file.write(line) != len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _forget(path: Path, after: int, scored: bool) -> set[str]:
    """Leaves the lines of a log up to a step; a line that was cut off goes as well.

    Returns:
      The names of the numbers that come with a score.
    """
    if not path.is_file():
        return set()
    kept, scores = [], set()
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            is_score = deciding.name_of(row) is not None
            scores |= {*row} if is_score else set()
            if row["step"] < after or (row["step"] == after and (scored or not is_score)):
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    writing.put(path, b"".join(kept))
    return scores


def _forget_events(tf: Any, folder: Path, after: int, again: set[str] | None) -> None:
    """The same of TensorBoard's files, which would show a step twice that came twice.

    Args:
      tf: TensorFlow.
      folder: of the files.
      after: the last step to be kept.
      again: what will come again of that step, beside its pictures; None: nothing.
    """

    def stays(event: Any) -> bool:
        if event.step != after or again is None:
            return event.step <= after
        values = event.summary.value
        return not any(
            v.tag in again or v.metadata.plugin_data.plugin_name == "images" for v in values
        )

    for path in folder.glob("events.out.tfevents.*"):
        shorter = writing.part_of(path)
        with tf.io.TFRecordWriter(str(shorter)) as file:
            with contextlib.suppress(tf.errors.DataLossError):  # its end was cut off
                for record in tf.data.TFRecordDataset(str(path)):
                    if stays(tf.compat.v1.Event.FromString(record.numpy())):
                        file.write(record.numpy())
        os.replace(shorter, path)
