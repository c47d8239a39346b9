"""Batches by threads alone, for machines that have no TensorFlow.

They are those of ``solojax.data.pipeline.train_batches``, bit for bit:

    load = examples.train_examples(
        records, data, mask_strides=(4,), batch_size=16, seed=0
    )
    for batch in thread_batches(load, range(first, last), batch_size=16, workers=8):
        ...
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from solojax.data import examples
from solojax.types import Batch

AHEAD = 4  # batches that are being made while another one is used


def thread_batches(
    load: examples.Load, steps: Iterable[int], batch_size: int, workers: int
) -> Iterator[Batch]:
    """The batches of ``steps``, in order.

    At most ``AHEAD`` and the one that is asked for are held. What an example raises is raised in
    its place; then, and where the iterator is closed or dropped, all threads end.

    Args:
      load: makes an example, see ``examples.train_examples``.
      steps: of the training, any.
      batch_size: images per step, the one that ``load`` was built with.
      workers: threads.
    """
    cv2.setNumThreads(1)  # the images are made in parallel, not the rows of each
    waiting: collections.deque[list[Future[Batch]]] = collections.deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for step in steps:
            waiting.append([pool.submit(load, step, place) for place in range(batch_size)])
            if len(waiting) > AHEAD:
                yield _stack([one.result() for one in waiting.popleft()])
        while waiting:
            yield _stack([one.result() for one in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


def _stack(parts: list[Any]) -> Any:
    """Trees of arrays, all of one structure -> that tree of arrays with a leading axis."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: _stack([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):  # a NamedTuple
        return type(first)(*(_stack(list(leaves)) for leaves in zip(*parts, strict=True)))
    return np.stack(parts)
