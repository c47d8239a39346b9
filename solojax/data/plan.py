"""The order of examples, as data: which record is where in which batch, for any seed and epoch.

Because it is an array and not the state of a shuffle buffer, every image is seen in every epoch,
and any step of any epoch can be looked up without reading what comes before.
"""

import math
from typing import NamedTuple

import numpy as np

from solojax.data.transforms import fit_size

# Second entry of the seeds of our random generators, so that no two of them are the same stream.
ORDER, AUGMENTATION = 1, 2


class Plan(NamedTuple):
    """One epoch."""

    indices: np.ndarray  # steps B int64, record numbers
    canvases: np.ndarray  # steps int64, place in the list of canvases, one per step


def choose_canvases(
    sizes: np.ndarray, canvases: tuple[tuple[int, int], ...], short_side: int, long_side: int
) -> np.ndarray:
    """The canvas of each image: where it can be largest, and of those the smallest.

    Args:
      sizes: ``n 2`` (height, width), original pixels.
      canvases: (height, width) each, network pixels.
      short_side: the greatest that is drawn.
      long_side: limit of the other side.

    Returns:
      ``n`` int64, place in ``canvases``.
    """
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    best = []
    for size in distinct:
        original = (int(size[0]), int(size[1]))

        def fitness(canvas: tuple[int, int], original: tuple[int, int] = original) -> tuple:
            height, width = fit_size(original, canvas, short_side, long_side)
            return -height * width, canvas[0] * canvas[1]

        best.append(min(range(len(canvases)), key=lambda i: fitness(canvases[i])))
    return np.array(best, np.int64)[which.reshape(-1)]


def plan(
    canvas_of: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    repeats: np.ndarray | None = None,
) -> Plan:
    """Shuffles all records and deals them into batches of one canvas each.

    The last batch of a canvas is filled up from the beginning of its order, so that each image
    comes at least once in an epoch; the batches of all canvases are then shuffled together.

    Args:
      canvas_of: ``n`` int, the canvas of each record.
      batch_size: images per step.
      seed: of the run.
      epoch: from 0.
      repeats: ``n`` float of at least 1, how often each record comes in an epoch on average; in one
        epoch that is one of the two whole numbers around it. None: once.
    """
    rng = np.random.default_rng((seed, ORDER, epoch))
    order = rng.permutation(len(canvas_of))
    batches, canvases = [], []
    for canvas in np.unique(canvas_of):
        mine = order[canvas_of[order] == canvas]
        if repeats is not None:
            mine = rng.permutation(np.repeat(mine, _times(repeats[mine], rng)))
        steps = -(-len(mine) // batch_size)
        batches.append(np.resize(mine, (steps, batch_size)))
        canvases.append(np.full(steps, canvas))
    shuffled = rng.permutation(sum(map(len, batches)))
    return Plan(np.concatenate(batches)[shuffled], np.concatenate(canvases)[shuffled])


def steps_per_epoch(
    canvas_of: np.ndarray, batch_size: int, repeats: np.ndarray | None = None
) -> int:
    """Number of steps of every epoch, as of ``plan``."""
    if repeats is None:
        repeats = np.ones(len(canvas_of))
    counts = [_total(repeats[canvas_of == canvas]) for canvas in np.unique(canvas_of)]
    return sum(-(-count // batch_size) for count in counts)


def _total(repeats: np.ndarray) -> int:
    """Records of an epoch; no fewer than ``repeats`` says, so that none is left out."""
    return math.ceil(round(float(np.sum(repeats)), 6))


def _times(repeats: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers around ``repeats``, others each time, of the same sum."""
    ends = np.cumsum(repeats) * (_total(repeats) / np.sum(repeats))
    passed = np.floor(np.round(ends, 6) + rng.uniform(high=1 - 1e-6))
    return np.diff(passed, prepend=0).astype(np.int64)


def sequence(canvas_of: np.ndarray, batch_size: int) -> Plan:
    """Every record once, in order within its canvas: the plan of an evaluation.

    The last batch of a canvas is filled up with -1.
    """
    batches, canvases = [], []
    for canvas in np.unique(canvas_of):
        mine = np.flatnonzero(canvas_of == canvas)
        steps = -(-len(mine) // batch_size)
        padded = np.full(steps * batch_size, -1)
        padded[: len(mine)] = mine
        batches.append(padded.reshape(steps, batch_size))
        canvases.append(np.full(steps, canvas))
    return Plan(np.concatenate(batches), np.concatenate(canvases))
