"""Whole prediction, compiled, whatever the sizes of the original images.

Several programs, so that the network is compiled once per canvas and batch size: one runs it,
another makes masks, a block of some detections and some original pixels at a time, as many blocks
as there are, and a third the label maps, likewise.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from solojax import parallel
from solojax.data import rle
from solojax.inference import predict
from solojax.ops import label_maps
from solojax.types import Array, Detections

IN_FLIGHT = 4  # tiles that the device may be ahead


class Found(NamedTuple):
    """The ``K`` detections of one image, on the host, best first; pixels are original ones."""

    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32, 0-based class
    rles: list[bytes]  # K, compressed COCO run lengths
    overflow: int  # candidates above the score threshold that the cap left out
    boxes: np.ndarray | None = None  # K 4 float32 x0 y0 x1 y1; None: they are those of the masks
    label_map: np.ndarray | None = None  # H W uint8, of a network that labels pixels
    label_logits: np.ndarray | None = None  # h w L float32, in place of it where it is asked for


class Programs(NamedTuple):
    """What a model is compiled into, twice for each canvas and batch size; answers are on the host.

    Arguments are those of ``make_predict``. ``find`` takes as ``threshold`` what a mask is
    above, where that is not to be the head's; no other number depends on it.
    With ``as_logits`` label maps stay what the network says of them.
    """

    find: Callable[..., list[Found]]  # variables, images, sizes, original sizes
    # variables, images, sizes, sizes to label pixels at -> detections, label maps or None each
    look: Callable[[dict[str, Any], Array, Array, Array], tuple[Detections, list[Any]]]
    # (corner, (logits, sizes, original sizes), canvas) -> B side side L: a part of the originals.
    probabilities: Callable[..., np.ndarray]
    compile: Callable[..., None]  # variables, shape of the images


def make_find(
    model: nn.Module, *, all_devices: bool, precision: parallel.Precision = "float32"
) -> Callable[..., list[Found]]:
    """``make_programs(...).find``, of use where masks are wanted and nothing else."""
    return make_programs(model, all_devices=all_devices, precision=precision).find


def make_programs(
    model: nn.Module, *, all_devices: bool, precision: parallel.Precision = "float32"
) -> Programs:
    """Builds what finds the instances of batches, whatever the sizes of the originals.

    Args:
      model: a Detector.
      all_devices: whether a batch is split over all local devices, which must divide it, and the
        variables are ``parallel.replicate``d; else it goes to the first.
      precision: as of ``make_detect``.
    """
    compiled: Callable[[Callable], Callable] = parallel.jit_predict
    place: Callable[[Any], Any] = jax.device_put
    fetch: Callable[[Any], Any] = jax.device_get
    # pmap takes none of the options that jit_predict gives the compiler.
    if all_devices and jax.local_device_count() > 1:
        compiled, place, fetch = parallel.pmap_predict, parallel.shard, parallel.gather
    answer_batch = compiled(predict.make_answer(model, precision))

    @functools.cache
    def restore_block(canvas: tuple[int, int]) -> Callable:
        make = predict.make_block(model, canvas)
        return compiled(lambda block, *batch: make(block[:3], *batch, block[3]))

    @functools.cache
    def label_block(canvas: tuple[int, int]) -> Callable:
        return compiled(predict.make_label_block(canvas))

    @functools.cache
    def probable_block(canvas: tuple[int, int]) -> Callable:
        return compiled(predict.make_label_block(canvas, label_maps.probabilities))

    def label_maps_of(logits: Any, network: Any, sizes: Array, canvas: tuple[int, int]) -> list:
        maps = [np.empty(size, np.uint8) for size in sizes]
        side, label, originals = predict.tile_side(canvas), label_block(canvas), place(sizes)
        corners = _corners(sizes, side)
        tiles = ((corner, label(corner, (logits, network, originals))) for corner in corners)
        for (top, left), tile in _ahead(tiles, IN_FLIGHT):
            for mine, part in zip(maps, fetch(tile), strict=True):
                here = mine[top : top + side, left : left + side]
                here[...] = part[: here.shape[0], : here.shape[1]]
        return maps

    def look(
        variables: dict[str, Any], batch: Array, sizes: Array, label_sizes: Array
    ) -> tuple[Detections, list[Any]]:
        inputs, network = place((batch, sizes))
        found, logits = answer_batch(variables, (inputs, network))
        maps: list[Any] = [None] * len(batch)
        if logits is not None:
            maps = label_maps_of(logits, network, label_sizes, batch.shape[1:3])
        return fetch(found), maps

    def compile_all(variables: dict[str, Any], shape: tuple[int, int, int, int]) -> None:
        canvas = shape[1], shape[2]
        sizes = np.tile(np.array(canvas, np.int32), (shape[0], 1))
        inputs, network = place((np.zeros(shape, np.uint8), sizes))
        found, logits = answer_batch(variables, (inputs, network))
        if found.masks.shape[1]:
            block = 0, 0, 0, predict.mask_threshold(model)
            fetch(restore_block(canvas)(block, (found.masks, network, network)))
        if logits is not None:
            fetch(label_block(canvas)((0, 0), (logits, network, network)))

    def find(
        variables: dict[str, Any],
        batch: Array,
        sizes: Array,
        original_sizes: Array,
        threshold: float | None = None,
        as_logits: bool = False,
    ) -> list[Found]:
        threshold = predict.mask_threshold(model) if threshold is None else threshold
        inputs, network, originals = place((batch, sizes, original_sizes))
        found, logits = answer_batch(variables, (inputs, network))
        scores, labels, valid, overflow, boxes = fetch(
            (found.scores, found.labels, found.valid, found.overflow, found.boxes)
        )
        if as_logits:
            logits = fetch(logits)
        boxes = predict.restore_boxes(boxes, sizes, original_sizes)
        counts = valid.sum(1)
        rles: list[list[bytes]] = [[] for _ in counts]
        side = predict.tile_side(batch.shape[1:3])
        restore = restore_block(batch.shape[1:3])
        corners = _corners(original_sizes, side)
        for first in range(0, int(counts.max()), predict.BLOCK):
            whole = [
                np.zeros((min(max(count - first, 0), predict.BLOCK), h, -(-w // 8)), np.uint8)
                for count, (h, w) in zip(counts, original_sizes, strict=True)
            ]
            tiles = (
                (corner, restore((first, *corner, threshold), (found.masks, network, originals)))
                for corner in corners
            )
            for (top, left), tile in _ahead(tiles, IN_FLIGHT):
                for mine, part in zip(whole, fetch(tile), strict=True):
                    # Empty where this original ends before the tile.
                    here = mine[:, top : top + side, left // 8 : (left + side) // 8]
                    for mask, bits in zip(here, part, strict=False):
                        if bits.any():  # what is never written takes no memory
                            mask[...] = bits[: here.shape[1], : here.shape[2]]
            for encoded, packed, size in zip(rles, whole, original_sizes, strict=True):
                encoded += rle.encode_packed(packed, (int(size[0]), int(size[1])))
        maps: list[Any] = [None] * len(counts)
        if logits is not None and not as_logits:
            maps = label_maps_of(logits, network, original_sizes, batch.shape[1:3])
        return [
            Found(
                scores[b, :count],
                labels[b, :count],
                rles[b],
                int(overflow[b]),
                None if boxes is None else np.asarray(boxes[b, :count]),
                maps[b],
                None if logits is None or not as_logits else logits[b],
            )
            for b, count in enumerate(counts)
        ]

    def probabilities(corner: Array, batch: Any, canvas: tuple[int, int]) -> np.ndarray:
        return fetch(probable_block(canvas)(corner, place(batch)))

    return Programs(find, look, probabilities, compile_all)


def _corners(sizes: Array, side: int) -> list[tuple[int, int]]:
    """Where tiles of that side begin that together show the largest of images, ``B 2``."""
    height, width = np.max(sizes, 0)
    return list(itertools.product(range(0, height, side), range(0, width, side)))


def _ahead(coming: Iterable[Any], count: int) -> Iterator[Any]:
    """What comes, in order; ``count`` more are begun before one is waited for."""
    begun: collections.deque[Any] = collections.deque()
    for one in coming:
        begun.append(one)
        if len(begun) > count:
            yield begun.popleft()
    yield from begun
