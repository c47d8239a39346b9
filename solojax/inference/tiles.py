"""Images with more in them than one look can hold: cut into tiles, what is found put together.

Tiles overlap by a quarter. What touches a border between them is cut there, and left out: another
tile shows all of what is smaller than the overlap, the look at the whole image what is large. What
is in between may be seen by neither. So cut masks of neighbouring tiles that agree are joined, and
stand where no mask that is not cut shows the same. What two looks see is decayed by Matrix NMS, as
within an image.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data import rle
from solojax.data.windows import Window
from solojax.inference.programs import Found
from solojax.ops import nms

# Two cut masks are of one thing where their IoU, in what both tiles show, is above this. A mask
# that is not cut shows what a joined one shows where it covers more than this share of it ...
AGREED = 0.5
AS_SURE = 0.5  # ... and scores at least this share of its score.
COMPARED = 2**22  # pairs of boxes at a time
DECODED = 2**10  # pairs of cut masks at a time, and no more ...
DECODED_PIXELS = 2**27  # ... than have so many pixels

_matrix_nms = jax.jit(nms.matrix_nms_of_pairs, static_argnames=("kernel", "sigma"))


class _Seen(NamedTuple):
    """``K`` masks in the frame of the whole image, none of them empty."""

    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32
    looks: np.ndarray  # K int, 0 for the whole image, from 1 the tiles, then each that is joined
    is_cut: np.ndarray  # K bool, by a border between tiles, or joined of such
    areas: np.ndarray  # K float64, pixels
    masks: np.ndarray  # K objects, COCO's dictionaries of run lengths
    boxes: np.ndarray  # K 4 float64, predicted ones, or else those of the masks

    def take(self, chosen: np.ndarray) -> "_Seen":
        return _Seen(*(column[chosen] for column in self))


class _Pairs(NamedTuple):
    """``P`` times two masks of one class that different looks see and that share pixels."""

    first: np.ndarray  # P int, the number of one
    second: np.ndarray  # P int, the greater number of the other
    shared: np.ndarray  # P float64, pixels

    def take(self, chosen: np.ndarray) -> "_Pairs":
        return _Pairs(*(column[chosen] for column in self))


def merge(
    whole: Found,
    parts: Sequence[Found],
    windows: Sequence[Window],
    size: tuple[int, int],
    *,
    margin: float,
    kernel: nms.Kernel,
    sigma: float,
    threshold: float,
) -> Found:
    """What was found in an image and in its tiles, each thing once, best first.

    Args:
      whole: of the whole image.
      parts: of its tiles.
      windows: the tiles.
      size: (height, width) of the image.
      margin: how near to a border between tiles a mask is cut by it, original pixels.
      kernel: of Matrix NMS.
      sigma: of Matrix NMS.
      threshold: of the decayed scores.
    """
    windows = [(0, 0, *size), *windows]  # by look
    looks = enumerate(zip([whole, *parts], windows, strict=True))
    seen = _together([_see(look, found, window, size, margin) for look, (found, window) in looks])
    seen = _together([seen.take(~seen.is_cut), _join(seen.take(seen.is_cut), windows)])
    pairs = _overlaps(seen)
    stays = ~_replaced(seen, pairs)
    pairs = pairs.take(stays[pairs.first] & stays[pairs.second])
    decayed = _decay(seen, pairs, kernel, sigma)
    order = np.argsort(-decayed, kind="stable")
    order = order[stays[order] & (decayed[order] >= threshold)]
    return Found(
        decayed[order],
        seen.labels[order],
        [mask["counts"] for mask in seen.masks[order]],
        whole.overflow + sum(part.overflow for part in parts),
        None if whole.boxes is None else seen.boxes[order].astype(np.float32),
    )


def _see(look: int, found: Found, window: Window, size: tuple[int, int], margin: float) -> _Seen:
    """What a look shows, of those masks that have a pixel."""
    top, left, bottom, right = window
    extent = bottom - top, right - left
    boxes = _boxes(_masks(found.rles, extent))
    chosen = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    x0, y0, x1, y1 = boxes[chosen].T
    predicted = (boxes if found.boxes is None else found.boxes)[chosen] + (left, top) * 2
    is_cut = (
        ((top > 0) & (y0 < margin))
        | ((left > 0) & (x0 < margin))
        | ((bottom < size[0]) & (y1 > extent[0] - margin))
        | ((right < size[1]) & (x1 > extent[1] - margin))
    )
    rles = [found.rles[i] for i in chosen]
    if extent != size:  # masks of the whole image can be as large as that
        rles = rle.move(rles, extent, (top, left), size)
    masks = _masks(rles, size)
    looks = np.full(len(chosen), look)
    scores, labels = found.scores[chosen], found.labels[chosen]
    return _Seen(scores, labels, looks, is_cut, _areas(masks), masks, predicted)


def _join(parts: _Seen, windows: Sequence[Window]) -> _Seen:
    """Joins the cut masks of one thing, at most one of each tile, beginning with the best.

    A joined one is as sure as its parts in the mean of their pixels. What nothing agrees with is
    left out.

    Args:
      parts: the cut masks.
      windows: by look.
    """
    pairs = _overlaps(parts)
    agreements = _agreements(parts, pairs, windows)
    agreeing = collections.defaultdict(list)
    for number in np.flatnonzero(agreements > AGREED):
        one, other = pairs.first[number], pairs.second[number]
        agreeing[one].append((agreements[number], other))
        agreeing[other].append((agreements[number], one))
    joined, taken = [parts.take(np.zeros(0, int))], np.zeros(len(parts.scores), bool)
    for best in np.argsort(-parts.scores, kind="stable"):
        group = [best]
        waiting = [] if taken[best] else [best]
        while waiting:
            for _, other in sorted(agreeing[waiting.pop()], reverse=True):
                if not taken[other] and parts.looks[other] not in parts.looks[group]:
                    group.append(other)
                    waiting.append(other)
        if len(group) > 1:
            taken[group] = True
            one = parts.take(np.array(group))
            masks = np.array([coco_mask.merge(list(one.masks))])
            score = np.average(one.scores, weights=one.areas).astype(np.float32)
            look = np.array([len(windows) + len(joined)])
            around = np.concatenate([one.boxes[:, :2].min(0), one.boxes[:, 2:].max(0)])[None]
            kind = one.labels[:1], look, one.is_cut[:1]
            joined.append(_Seen(score[None], *kind, _areas(masks), masks, around))
    return _together(joined)


def _agreements(parts: _Seen, pairs: _Pairs, windows: Sequence[Window]) -> np.ndarray:
    """IoU of each pair in the part of the image that both looks show, ``P``."""
    ious, begin = [np.zeros(0)], 0
    sides = np.diff(_boxes(parts.masks).reshape(-1, 2, 2), axis=1)[:, 0]
    pixels = sides.prod(1)
    decoded = np.cumsum(pixels[pairs.first] + pixels[pairs.second])
    while begin < len(pairs.first):
        end = np.searchsorted(decoded, decoded[begin] + DECODED_PIXELS)
        some = pairs.take(np.arange(begin, max(min(end, begin + DECODED), begin + 1)))
        begin += len(some.first)
        numbers, places = np.unique([some.first, some.second], return_inverse=True)
        masks = parts.masks[numbers]
        patches, corners = rle.decode_patches([one["counts"] for one in masks], masks[0]["size"][0])
        looks = np.array([windows[look] for look in parts.looks[numbers]])
        both = places.reshape(2, -1).T
        starts, ends = looks[both, :2].max(1), looks[both, 2:].min(1)  # of what both show
        areas = np.zeros(len(both))
        for place in both.T:
            shown = np.concatenate([starts - corners[place], ends - corners[place]], axis=1)
            for number, (top, left, bottom, right) in enumerate(np.maximum(shown, 0)):
                areas[number] += patches[place[number]][top:bottom, left:right].sum()
        ious.append(some.shared / (areas - some.shared))
    return np.concatenate(ious)


def _replaced(seen: _Seen, pairs: _Pairs) -> np.ndarray:
    """Which masks are joined and shown by another that is not, ``K`` bool."""
    replaced = np.zeros(len(seen.scores), bool)
    for one, other in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
        covered = pairs.shared > AGREED * seen.areas[one]
        as_sure = seen.scores[other] >= AS_SURE * seen.scores[one]
        replaced[one[seen.is_cut[one] & ~seen.is_cut[other] & covered & as_sure]] = True
    return replaced


def _decay(seen: _Seen, pairs: _Pairs, kernel: nms.Kernel, sigma: float) -> np.ndarray:
    """Matrix NMS between the looks, since each has had its own."""
    first, second, shared = pairs
    overlaps = shared / (seen.areas[first] + seen.areas[second] - shared)
    is_above = seen.scores[first] >= seen.scores[second]
    columns = np.where(is_above, first, second), np.where(is_above, second, first), overlaps
    # Filled up to powers of two: a few programs serve every image.
    counts = len(seen.scores), len(first)
    masks, filled = (1 << max(count - 1, 0).bit_length() for count in counts)
    above, below, overlaps = (np.pad(one, (0, filled - len(first))) for one in columns)
    scores = np.pad(seen.scores, (0, masks - len(seen.scores)))
    decayed = _matrix_nms(
        above, below, overlaps.astype(np.float32), scores, kernel=kernel, sigma=sigma
    )
    return np.asarray(decayed)[: len(seen.scores)]


def _overlaps(seen: _Seen) -> _Pairs:
    boxes = _boxes(seen.masks)
    order = np.argsort(boxes[:, 0])  # from the left: what begins beyond a block is not compared
    lefts = boxes[order, 0]
    found = [_Pairs(order[:0], order[:0], lefts[:0])]
    step = max(COMPARED // max(len(order), 1), 1)
    for begin in range(0, len(order), step):
        rows = order[begin : begin + step]
        columns = order[begin : np.searchsorted(lefts, boxes[rows, 2].max())]
        near = np.arange(len(columns)) > np.arange(len(rows))[:, None]
        for kind, differs in ((seen.labels, False), (seen.looks, True)):
            near &= (kind[columns] != kind[rows, None]) == differs
        _, top, right, bottom = boxes[rows, :, None].transpose(1, 0, 2)
        near &= (boxes[columns, 0] < right) & (boxes[columns, 1] < bottom)
        near &= top < boxes[columns, 3]
        for one, row in zip(rows, near, strict=True):
            others = columns[row]
            if len(others):
                # Of a crowd pycocotools gives the share of the other that is in it.
                shares = coco_mask.iou(list(seen.masks[others]), [seen.masks[one]], [1])[:, 0]
                shared = np.round(shares * seen.areas[others])
                pairs = _Pairs(np.minimum(one, others), np.maximum(one, others), shared)
                found.append(pairs.take(shared > 0))
    return _Pairs(*map(np.concatenate, zip(*found, strict=True)))


def _together(some: Sequence[_Seen]) -> _Seen:
    return _Seen(*map(np.concatenate, zip(*some, strict=True)))


def _masks(rles: Sequence[bytes], size: tuple[int, int]) -> np.ndarray:
    masks = np.empty(len(rles), object)
    masks[:] = [{"size": list(size), "counts": counts} for counts in rles]
    return masks


def _areas(masks: np.ndarray) -> np.ndarray:
    # One by one: pycocotools 2.0 takes lists of up to 255 masks.
    return np.array([coco_mask.area(mask) for mask in masks], np.float64)


def _boxes(masks: np.ndarray) -> np.ndarray:
    """``K 4`` float64, x0 y0 x1 y1."""
    boxes = np.array([coco_mask.toBbox(mask) for mask in masks], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
