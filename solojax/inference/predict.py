"""Whole prediction as compiled programs: images on their canvas in, packed masks out.

Two programs, so that the network is compiled once per canvas and batch size, whatever the sizes of
the original images: one finds instances, the other makes their masks, a block of some detections
and some original pixels at a time, as many blocks as there are.
"""

import collections
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from solojax import device_memory, parallel
from solojax.data import rle
from solojax.heads import protocol
from solojax.heads.protocol import InstanceHead
from solojax.models import detector
from solojax.ops import masks
from solojax.ops.precision import whole_products
from solojax.types import Array, Detections, InputError, Results

BLOCK = 20  # detections whose masks are made at once
TILE = 640  # original pixels each way that are made at once, at most: those of COCO's images
TILE_CANVASES = 2  # and at most so many sides of the canvas: small images would pay for more
IN_FLIGHT = 4  # tiles that the device may be ahead
AT_ONCE = "the most detections of the head (max_detections), or the images at once (the batch)"


class Found(NamedTuple):
    """The ``K`` detections of one image, on the host, best first; pixels are original ones."""

    scores: np.ndarray  # K float32
    labels: np.ndarray  # K int32, 0-based class
    rles: list[bytes]  # K, compressed COCO run lengths
    overflow: int  # candidates above the score threshold that the cap left out
    boxes: np.ndarray | None = None  # K 4 float32 x0 y0 x1 y1; None: they are those of the masks


def make_detect(
    model: nn.Module, precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array], Detections]:
    """Builds ``detect(variables, images, sizes) -> Detections``, pure and of fixed shapes.

    Args:
      model: a Detector.
      precision: what the network computes in; scores and masks are float32 either way. float32 is
        all of it, on GPUs and TPUs as well (``ops.precision.whole_products``).

    The built function's arguments: ``images`` ``B H W 3`` uint8 RGB on their canvas, ``sizes``
    ``B 2`` (height, width) of what is image there, network pixels.
    """
    head: InstanceHead = model.head

    def detect(variables: dict[str, Any], batch: Array, sizes: Array) -> Detections:
        inputs = model.normalize(batch, sizes, jnp.dtype(precision))
        with whole_products(inputs.dtype):
            found = head.detect(model.apply(variables, inputs))
        protocol.check_detections(head, found, batch.shape[0], batch.shape[1:3])
        return found

    return detect


def make_predict(
    model: nn.Module, output_size: tuple[int, int], precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array, Array], Results]:
    """Builds ``predict(variables, images, sizes, original_sizes) -> Results``, all in one.

    Pure and of fixed shapes, for use inside ``jit``, ``vmap`` or ``pmap``.

    Args:
      model: a Detector.
      output_size: (height, width) that holds every original image; the width a multiple of 8.
      precision: as of ``make_detect``.

    The built function's arguments: those of ``make_detect`` and ``original_sizes`` ``B 2`` (height,
    width), original pixels.
    """
    detect = make_detect(model, precision)

    def predict(
        variables: dict[str, Any], batch: Array, sizes: Array, original_sizes: Array
    ) -> Results:
        found = detect(variables, batch, sizes)

        def restore(one: tuple[Array, Array, Array]) -> Array:
            threshold, canvas = model.head.mask_threshold, (batch.shape[1], batch.shape[2])
            return masks.restore(*one, output_size=output_size, canvas=canvas, threshold=threshold)

        return Results(
            scores=found.scores,
            labels=found.labels,
            # One image at a time: as floats the masks of a whole batch would be gigabytes.
            masks=jax.lax.map(restore, (found.masks, sizes, original_sizes)),
            valid=found.valid,
            overflow=found.overflow,
            boxes=restore_boxes(found.boxes, sizes, original_sizes),
        )

    return predict


def check_room(model: nn.Module, canvases: Iterable[tuple[int, int]], images: int) -> None:
    """Raises InputError where the masks of ``images`` images alone are more than a device holds.

    CPUs hold what the machine does, and end a process that asks for more without a word.
    """
    detect, variables = make_detect(model), detector.variable_shapes(model)
    room = device_memory.room() or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for canvas in canvases:
        batch = jax.ShapeDtypeStruct((images, *canvas, 3), np.uint8)
        sizes = jax.ShapeDtypeStruct((images, 2), np.int32)
        found = jax.eval_shape(detect, variables, batch, sizes)
        if (need := device_memory.size_of(found.masks)) > room:
            raise InputError(
                f"the masks of {found.masks.shape[1]:,} detections in each of {images} images on "
                f"canvas {canvas[0]}x{canvas[1]} take {need / 1e9:,.0f} GB of a device's "
                f"{room / 1e9:,.0f}; lower {AT_ONCE}"
            )


def restore_boxes(boxes: Array | None, sizes: Array, original_sizes: Array) -> Array | None:
    """``B K 4``, network pixels -> original pixels, without what is beyond the image."""
    if boxes is None:
        return None
    scale = original_sizes / sizes
    twice = jnp.concatenate([scale[:, ::-1]] * 2, 1)[:, None]
    ends = jnp.concatenate([original_sizes[:, ::-1]] * 2, 1)[:, None]
    return jnp.clip(boxes * twice, 0, ends).astype(jnp.float32)


def tile_side(canvas: tuple[int, int]) -> int:
    """Original pixels each way that masks of a canvas are made of at once; a multiple of 8."""
    return min(TILE, -(-TILE_CANVASES * max(canvas) // 8) * 8)


def make_block(model: nn.Module, canvas: tuple[int, int]) -> Callable[..., Array]:
    """Builds ``make(block, found, sizes, originals) -> masks``, pure and of fixed shapes.

    Args:
      model: a Detector.
      canvas: (height, width), network pixels.

    The built function's arguments: ``block`` (first detection, top, left), ``found`` the masks of
    ``Detections``, ``sizes`` ``B 2`` as of ``make_detect``, ``originals`` ``B 2`` (height, width),
    original pixels; ``threshold``, where that is not to be the head's. It makes those of ``BLOCK``
    detections from ``first`` on, of ``tile_side`` original pixels each way from ``top`` and
    ``left`` on, bits packed along the width: ``B BLOCK side side/8`` uint8.
    """
    side = tile_side(canvas)

    def make(
        block: tuple[Array, Array, Array],
        found: Array,
        sizes: Array,
        originals: Array,
        threshold: Array | float = model.head.mask_threshold,
    ) -> Array:
        first, top, left = block
        some = jnp.take(found, first + jnp.arange(BLOCK), axis=1, mode="clip")
        restore = functools.partial(
            masks.restore,
            output_size=(side, side),
            canvas=canvas,
            corner=(top, left),
            threshold=threshold,
        )
        return jax.vmap(restore)(some, sizes, originals)

    return make


class Programs(NamedTuple):
    """What a model is compiled into, twice for each canvas and batch size; answers are on the host.

    Arguments are those of ``make_predict``. ``find`` takes as ``mask_threshold`` what a mask is
    above, where that is not to be the head's; no other number depends on it.
    """

    find: Callable[..., list[Found]]  # variables, images, sizes, original sizes
    look: Callable[[dict[str, Any], Array, Array], Detections]  # variables, images, sizes
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
    detect_batch = compiled(make_detect(model, precision))

    @functools.cache
    def restore_block(canvas: tuple[int, int]) -> Callable:
        make = make_block(model, canvas)
        return compiled(lambda block, *batch: make(block[:3], *batch, block[3]))

    def look(variables: dict[str, Any], batch: Array, sizes: Array) -> Detections:
        return fetch(detect_batch(variables, place((batch, sizes))))

    def compile_all(variables: dict[str, Any], shape: tuple[int, int, int, int]) -> None:
        canvas = shape[1], shape[2]
        sizes = np.tile(np.array(canvas, np.int32), (shape[0], 1))
        inputs, network = place((np.zeros(shape, np.uint8), sizes))
        found = detect_batch(variables, (inputs, network))
        block = 0, 0, 0, model.head.mask_threshold
        fetch(restore_block(canvas)(block, (found.masks, network, network)))

    def find(
        variables: dict[str, Any],
        batch: Array,
        sizes: Array,
        original_sizes: Array,
        mask_threshold: float | None = None,
    ) -> list[Found]:
        threshold = model.head.mask_threshold if mask_threshold is None else mask_threshold
        inputs, network, originals = place((batch, sizes, original_sizes))
        found = detect_batch(variables, (inputs, network))
        scores, labels, valid, overflow, boxes = fetch(
            (found.scores, found.labels, found.valid, found.overflow, found.boxes)
        )
        boxes = restore_boxes(boxes, sizes, original_sizes)
        counts = valid.sum(1)
        rles: list[list[bytes]] = [[] for _ in counts]
        height, width = np.max(original_sizes, 0)
        side = tile_side(batch.shape[1:3])
        restore = restore_block(batch.shape[1:3])
        corners = list(itertools.product(range(0, height, side), range(0, width, side)))
        for first in range(0, counts.max(), BLOCK):
            whole = [
                np.zeros((min(max(count - first, 0), BLOCK), h, -(-w // 8)), np.uint8)
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
        return [
            Found(
                scores[b, :count],
                labels[b, :count],
                rles[b],
                int(overflow[b]),
                None if boxes is None else np.asarray(boxes[b, :count]),
            )
            for b, count in enumerate(counts)
        ]

    return Programs(find, look, compile_all)


def _ahead(coming: Iterable[Any], count: int) -> Iterator[Any]:
    """What comes, in order; ``count`` more are begun before one is waited for."""
    begun: collections.deque[Any] = collections.deque()
    for one in coming:
        begun.append(one)
        if len(begun) > count:
            yield begun.popleft()
    yield from begun
