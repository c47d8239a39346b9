"""COCO's compressed run lengths -> masks, all of an image at once, and packed masks -> run lengths.

A mask is read column by column, beginning with background. NumPy does what pycocotools' decoder
does, so that threads do not wait for each other, and only where there is something to be seen.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

# A run length of the largest image that 32 bits can count takes 7 characters of 5 bits.
LONGEST_RUN = 7
AT_ONCE = 2**25  # pixels of masks that are decoded or encoded together; more take turns


class Runs(NamedTuple):
    """The run lengths of ``n`` masks, one after the other."""

    lengths: np.ndarray  # m int64, pixels; the first of each mask is background
    begins: np.ndarray  # n + 1 int64, where those of each mask begin


class Masks(NamedTuple):
    """``n`` masks, each cut to the rectangle around its pixels."""

    patches: list[np.ndarray]  # h w uint8 0 or 1 each
    corners: np.ndarray  # n 2 int64, (top, left) of each, pixels


def read_runs(counts: list[bytes]) -> Runs:
    """The run lengths that compressed strings stand for.

    Raises:
      ValueError: a string is cut or has characters that do not belong.
    """
    characters = np.frombuffer(b"".join(counts), np.uint8).astype(np.int64) - 48
    is_last = (characters & 0x20) == 0  # of its number, which has 5 bits in each character
    borders = np.cumsum([0, *map(len, counts)])
    stops = np.flatnonzero(is_last)
    begins = np.searchsorted(stops, borders)
    starts = np.concatenate([[0], stops[:-1] + 1])[: len(stops)]
    digits = stops - starts + 1
    cut = not is_last[borders[1:][np.diff(borders) > 0] - 1].all()
    strange = (characters < 0) | (characters >= 64)
    if cut or strange.any() or digits.max(initial=0) > LONGEST_RUN:
        raise ValueError("corrupt run lengths")
    if not len(stops):
        return Runs(np.zeros(0, np.int64), begins)
    shifts = 5 * (np.arange(len(characters)) - np.repeat(starts, digits))
    values = np.add.reduceat((characters & 0x1F) << shifts, starts)
    values -= np.where(characters[stops] & 0x10, 1 << (5 * digits), 0)  # the sign
    # From the fourth of a mask on, each is the difference to the one before the last.
    place = _places(begins)
    for parity in (0, 1):
        chain = np.flatnonzero((place % 2 == parity) & (place > 0))
        sums = np.cumsum(values[chain])
        first = np.flatnonzero(place[chain] <= 2)
        before = sums[first] - values[chain[first]]
        values[chain] = sums - np.repeat(before, np.diff([*first, len(chain)]))
    return Runs(values, begins)


def add_up(counts: list[bytes], pixels: list[int]) -> np.ndarray:
    """Which masks' run lengths, ``n`` bool, do so to the pixels of their images, fewer than 2**31.

    None of them does where a string is corrupt: then they have to be checked one by one.
    """
    try:
        runs = read_runs(counts)
    except ValueError:
        return np.zeros(len(counts), bool)
    # Too long ones, or many in a string, might sum to anything in 64 bits.
    wrong = (runs.lengths < 0) | (runs.lengths >= 2**31)
    sums, faults = (
        np.diff(np.concatenate([[0], np.cumsum(column)])[runs.begins])
        for column in (runs.lengths, wrong)
    )
    return (sums == pixels) & (faults == 0)


def centers_of(counts: list[bytes], heights: list[int]) -> np.ndarray:
    """The centres of mass (x, y) of masks, ``n 2`` float64, pixel indices; the sums are exact.

    Args:
      counts: ``n`` masks; each has a pixel, and its image fewer than 2**31.
      heights: ``n``, of their images, pixels.
    """
    if not counts:
        return np.zeros((0, 2))
    runs = read_runs(counts)
    firsts, count = runs.begins[:-1], np.diff(runs.begins)
    ends, height = _ends(runs), np.repeat(heights, count)
    x, y = np.divmod(ends, height)
    # Of all pixels before each end: how many, the sum of their columns and that of their rows.
    columns = height * (x * (x - 1) // 2) + x * y
    rows = x * (height * (height - 1) // 2) + y * (y - 1) // 2
    of_runs = np.diff(np.stack([ends, columns, rows]), prepend=0)
    of_runs *= _places(runs.begins) % 2  # none of the background, nor of what lies between masks
    area, columns, rows = np.add.reduceat(of_runs, firsts, axis=1)
    return np.stack([columns / area, rows / area], 1)


def row_runs(mask: np.ndarray) -> np.ndarray:
    """The run lengths of a mask, ``H W``, read row by row as other programs do; background first.

    That is 0 where the first pixel is in the mask.
    """
    flat = mask.ravel() > 0
    return np.diff(np.flatnonzero(np.diff(flat, prepend=False)), prepend=0, append=flat.size)


def _places(begins: np.ndarray) -> np.ndarray:
    """The place of each run in its mask."""
    return np.arange(begins[-1]) - np.repeat(begins[:-1], np.diff(begins))


def _ends(runs: Runs) -> np.ndarray:
    """Where each run ends in its mask, pixels; each mask has a run."""
    firsts = runs.begins[:-1]
    ends = np.cumsum(runs.lengths)
    return ends - np.repeat(ends[firsts] - runs.lengths[firsts], np.diff(runs.begins))


def decode(counts: list[bytes], height: int, width: int) -> np.ndarray:
    """Whole masks, ``n H W`` uint8, 0 or 1."""
    if not counts:
        return np.zeros((0, height, width), np.uint8)
    return np.moveaxis(
        coco_mask.decode([{"size": [height, width], "counts": one} for one in counts]), -1, 0
    )


def decode_patches(counts: list[bytes], height: int) -> Masks:
    """Masks of images of that height; each has a pixel, and its runs add up to the image."""
    if not counts:
        return Masks([], np.zeros((0, 2), np.int64))
    runs = read_runs(counts)
    lengths, begins = runs
    firsts, count = begins[:-1], np.diff(begins)
    place, ends = _places(begins), _ends(runs)
    seen = (place % 2 == 1) & (lengths > 0)
    stop = ends[seen]
    start = stop - lengths[seen]
    column, last_column = start // height, (stop - 1) // height
    spans = column != last_column  # from the foot of one column to the head of the next
    groups = np.searchsorted(np.flatnonzero(seen), firsts)
    left = column[groups]
    right = np.maximum.reduceat(last_column, groups) + 1
    top = np.minimum.reduceat(np.where(spans, 0, start % height), groups)
    bottom = np.maximum.reduceat(np.where(spans, height, (stop - 1) % height + 1), groups)
    # What is left of a mask's columns is cut off its first run, what is right off its last.
    clipped = np.clip(ends, np.repeat(left * height, count), np.repeat(right * height, count))
    drawn = np.diff(clipped, prepend=0)
    drawn[firsts] = clipped[firsts] - left * height
    areas = (right - left) * height
    if areas.sum() > AT_ONCE and len(counts) > 1:
        halves = np.split(np.arange(len(counts)), [len(counts) // 2])
        some = [decode_patches([counts[i] for i in half], height) for half in halves]
        return Masks(
            [np.array(patch, order="K") for part in some for patch in part.patches],
            np.concatenate([part.corners for part in some]),
        )
    pixels = np.repeat((place % 2).astype(np.uint8), drawn)
    patches = [
        pixels[end - area : end].reshape(-1, height)[:, first:last].T
        for end, area, first, last in zip(
            np.cumsum(areas).tolist(), areas.tolist(), top.tolist(), bottom.tolist(), strict=True
        )
    ]
    return Masks(patches, np.stack([top, left], 1))


def encode_packed(masks: np.ndarray, size: tuple[int, int]) -> list[bytes]:
    """Masks whose rows are packed into bits -> compressed run lengths, straight from the bits.

    Args:
      masks: ``K H W/8`` uint8, most significant first, zero beyond ``size``.
      size: (height, width), pixels.
    """
    encoded = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
        left, right = (columns[0], columns[-1] + 1) if len(rows) else (0, 0)
        ends, step = [], max(AT_ONCE // (8 * max(bottom - top, 1)), 1)
        for first in range(left, right, step):
            part = mask[top:bottom, first : min(first + step, right)]
            patch = np.unpackbits(part, axis=1)[:, : size[1] - 8 * first]
            ends.append(_changes(patch, (int(top), 8 * int(first)), size))
        encoded.append(_of_changes(np.concatenate(ends or [np.zeros(0, np.int64)]), size))
    return encoded


def encode_patch(patch: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> bytes:
    """A mask that is cut to a rectangle around its pixels -> compressed run lengths.

    Args:
      patch: ``h w`` uint8, 0 or 1.
      corner: (top, left) of the patch in its image, pixels.
      size: (height, width) of the image.
    """
    return _of_changes(_changes(patch, corner, size), size)


def rles_of(ids: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each value but 0 of ``H W`` ids, ascending, and the run lengths of its pixels.

    All are cut from one list of the runs of equal values, so that many ids cost no more than few.
    """
    if not ids.size:
        return
    line = ids.ravel("F")
    starts = np.concatenate([[0], np.flatnonzero(line[1:] != line[:-1]) + 1])
    spans = np.stack([starts, np.append(starts[1:], line.size)], 1)
    order = np.argsort(line[starts], kind="stable")
    values, spans = line[starts][order], spans[order]
    firsts = np.flatnonzero(values[1:] != values[:-1]) + 1
    for value, borders in zip(values[[0, *firsts]].tolist(), np.split(spans, firsts), strict=True):
        if value:
            lengths = np.diff(borders.ravel(), prepend=0, append=line.size).tolist()
            lengths = lengths if lengths[-1] else lengths[:-1]
            runs = {"size": list(ids.shape), "counts": lengths}
            yield value, coco_mask.frPyObjects(runs, *ids.shape)


def _changes(patch: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Where the runs of a patch end, column by column: numbers of pixels, some twice."""
    height, width = patch.shape
    # A row of background above each column, and one below the last, set the columns apart.
    apart = np.zeros((width + 1, height + 1), np.uint8)
    apart[:width, 1:] = patch.T
    line = apart.reshape(-1)
    x, y = np.divmod(np.flatnonzero(line[1:] != line[:-1]), height + 1)
    return (corner[1] + x) * size[0] + corner[0] + y


def _of_changes(ends: np.ndarray, size: tuple[int, int]) -> bytes:
    """Compressed run lengths of a mask, from where its runs end."""
    # What reaches the foot of one column goes on at the head of the next: no border is there.
    _, place, times = np.unique(ends, return_index=True, return_counts=True)
    borders = ends[place[times == 1]]
    lengths = np.diff(borders, prepend=0, append=size[0] * size[1]).tolist()
    if len(lengths) > 1 and not lengths[-1]:
        lengths.pop()
    counts: bytes = coco_mask.frPyObjects({"size": list(size), "counts": lengths}, *size)["counts"]
    return counts


def move(
    counts: list[bytes],
    size: tuple[int, int],
    corner: tuple[int, int],
    frame: tuple[int, int],
) -> list[bytes]:
    """Masks of a part of an image, with at least a pixel each -> the same in the whole image.

    Args:
      counts: ``n`` masks.
      size: (height, width) of the part.
      corner: (top, left) of the part in the image.
      frame: (height, width) of the image.
    """
    patches, corners = decode_patches(counts, size[0])
    return [
        encode_patch(patch, (corner[0] + int(top), corner[1] + int(left)), frame)
        for patch, (top, left) in zip(patches, corners, strict=True)
    ]
