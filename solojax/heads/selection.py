"""From what a head predicts to detections: the way that all heads of the SOLO family share."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from solojax.fields import MOST_CANDIDATES, check_count, check_fields, check_range
from solojax.heads import protocol
from solojax.heads.grid import Grid, flatten
from solojax.ops import masks, nms, pick, resize
from solojax.ops.nms import Kernel
from solojax.ops.precision import widen
from solojax.types import MASK_STRIDE, Detections, InputError

BLOCK = 100  # candidates whose masks are measured at once
AT_ONCE = 2**29  # bytes of soft masks of all candidates, that a GPU makes with no loop

SoftMasks = Callable[[Any, jax.Array], jax.Array]
"""(one image's predictions, cells ``K``) -> mask probabilities ``K H/4 W/4``."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Thresholds and caps in the order they act; defaults are the published ones."""

    points_nms: bool = True  # a cell must be no worse than its neighbours above and left
    score_threshold: float = 0.1  # of the category score, before maskness
    max_candidates: int = 1000  # category scores whose masks are computed; an overflow is counted
    mask_threshold: float = 0.5
    nms_candidates: int = 500  # of those, best by score x maskness, that enter the NMS
    nms: Literal["matrix", "hard", "soft", "fast"] = "matrix"
    nms_kernel: Kernel = "gaussian"  # of matrix and soft NMS
    nms_sigma: float = 2.0  # of the gaussian kernel
    nms_iou_threshold: float = 0.5  # of hard and fast NMS
    final_threshold: float = 0.05  # of the score after NMS
    max_detections: int = 100

    def __post_init__(self) -> None:
        check_fields(self, "head.selection")
        thresholds = ("score_threshold", "mask_threshold", "nms_iou_threshold", "final_threshold")
        check_range(self, "head.selection", *thresholds, most=1)
        check_range(self, "head.selection", "nms_sigma")
        counts = ("max_candidates", "nms_candidates", "max_detections")
        check_count(self, "head.selection", *counts, most=MOST_CANDIDATES)
        if not self.max_detections <= self.nms_candidates <= self.max_candidates:
            raise InputError(
                f"head.selection.max_candidates={self.max_candidates} must be at least "
                f"nms_candidates={self.nms_candidates}, and that at least max_detections="
                f"{self.max_detections}"
            )


def selection_of(head: Any) -> Selection:
    """The settings of what finds the instances; else those by which looks at tiles are merged.

    These then leave no score out: what is too low is for the head to know.
    """
    selection = getattr(protocol.finder(head)[1], "selection", None)
    return selection if isinstance(selection, Selection) else Selection(final_threshold=0)


def select(
    selection: Selection,
    grid: Grid,
    category_logits: dict[str, jax.Array],
    predictions: Any,
    soft_masks: SoftMasks,
    quality_logits: dict[str, jax.Array] | None = None,
    at_once: bool = False,
) -> Detections:
    """Finds the instances of a batch; fixed shapes, for use inside ``jit``.

    Args:
      selection: thresholds and caps.
      grid: the cells.
      category_logits: by level, ``B S S num_classes``, of any type.
      predictions: whatever ``soft_masks`` makes masks from; every leaf starts with ``B``.
      soft_masks: makes the masks of some cells of one image.
      quality_logits: by level, ``B S S 1``: the score of each mask, which counts before NMS.
      at_once: whether masks are so cheap that a GPU had better make those of all candidates, where
        ``AT_ONCE`` allows it, than ask the host before each block whether there is a further one.
    """
    scores = {level: jax.nn.sigmoid(widen(logits)) for level, logits in category_logits.items()}
    if selection.points_nms:
        scores = {level: nms.points_nms(score) for level, score in scores.items()}
    sides = jnp.array(grid.sizes)
    strides = jnp.repeat(
        jnp.array(grid.strides), sides * sides, total_repeat_length=grid.starts[-1]
    )

    found = jax.vmap(lambda one: _candidates(selection, one))(flatten(scores))

    def measure(cells: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Masks ``B k H/4 W/32``, packed along the width, their areas and maskness ``B k``."""
        in_rows = functools.partial(_measure, selection.mask_threshold)
        # All sums are then of whole rows of candidates, several of which a CPU adds at once.
        in_columns = functools.partial(in_rows, candidates_last=True)
        soft = jax.vmap(soft_masks)(predictions, cells)
        return jax.lax.platform_dependent(soft, cpu=in_columns, default=in_rows)

    in_blocks = functools.partial(_in_blocks, measure)
    soft = jax.eval_shape(jax.vmap(soft_masks), predictions, found.cells)
    by_platform: dict[str, Callable] = {"default": in_blocks}
    # An export may leave open how many images there are.
    if at_once and isinstance(soft.size, int) and 4 * soft.size <= AT_ONCE:
        by_platform["cuda"] = lambda cells, _: measure(cells)
    used = jnp.max(found.passing)
    packed, areas, sureness = jax.lax.platform_dependent(found.cells, used, **by_platform)
    if quality_logits:
        quality = jax.nn.sigmoid(widen(flatten(quality_logits)))[..., 0]
        sureness *= pick.take(quality, found.cells)

    def select_one(predictions: Any, found: _Candidates, *measured: jax.Array) -> Detections:
        make = functools.partial(soft_masks, predictions)
        return _select_one(selection, found, strides, make, *measured)

    return jax.vmap(select_one)(predictions, found, packed, areas, sureness)


class _Candidates(NamedTuple):
    """The ``K`` best category scores of an image, best first."""

    scores: jax.Array  # K float32
    cells: jax.Array  # K int32
    labels: jax.Array  # K int32
    passing: jax.Array  # int32, scores above the threshold, also beyond K


def _candidates(selection: Selection, scores: jax.Array) -> _Candidates:
    num_classes = scores.shape[-1]
    # A small model may have fewer (cell, class) pairs than the caps allow.
    best, index = jax.lax.top_k(scores.reshape(-1), min(selection.max_candidates, scores.size))
    passing = jnp.sum(scores > selection.score_threshold)
    return _Candidates(best, index // num_classes, index % num_classes, passing)


def _measure(
    threshold: float, soft: jax.Array, candidates_last: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Soft masks ``B k H W`` -> packed ``B k H W/8``, areas and maskness ``B k``."""
    pixels = (1, 2) if candidates_last else (2, 3)
    probabilities = jnp.moveaxis(soft, 1, -1) if candidates_last else soft
    foreground = probabilities > threshold
    packed = jnp.packbits(foreground, axis=pixels[1])
    areas = jnp.sum(jax.lax.population_count(packed), pixels, dtype=jnp.int32)
    sureness = masks.maskness(probabilities, foreground, areas, pixels)
    return jnp.moveaxis(packed, -1, 1) if candidates_last else packed, areas, sureness


def _select_one(
    selection: Selection,
    found: _Candidates,
    strides: jax.Array,
    soft_masks: Callable[[jax.Array], jax.Array],
    packed: jax.Array,
    areas: jax.Array,
    sureness: jax.Array,
) -> Detections:
    """What is left of one image's ``K`` candidates, of which ``measure`` gave the last three."""
    # The published rule compares a count of pixels with a stride.
    valid = (found.scores > selection.score_threshold) & (areas > strides[found.cells])
    scores = jnp.where(valid, found.scores * sureness, -1)

    scores, best = jax.lax.top_k(scores, min(selection.nms_candidates, len(scores)))
    cells, labels = found.cells[best], found.labels[best]
    decayed = _suppress(selection, packed[best], labels, scores)
    decayed = jnp.where(decayed >= selection.final_threshold, decayed, 0)

    final, kept = jax.lax.top_k(decayed, min(selection.max_detections, len(decayed)))
    return Detections(
        scores=final,
        labels=labels[kept].astype(jnp.int32),
        masks=soft_masks(cells[kept]),  # made again, for to keep those of all candidates costs more
        valid=final > 0,
        overflow=jnp.maximum(found.passing - len(found.scores), 0).astype(jnp.int32),
        cells=cells[kept].astype(jnp.int32),
    )


def _in_blocks(
    measure: Callable[[jax.Array], tuple[jax.Array, ...]], cells: jax.Array, used: jax.Array
) -> tuple[jax.Array, ...]:
    """``measure(cells)`` in blocks of columns, as many as hold the first ``used``; zero beyond.

    A batch takes the time of its busiest image rather than that of the cap, and the soft masks of
    one block exist at a time.

    Args:
      measure: ``B k`` cells -> arrays ``B k ...``.
      cells: ``B K``.
      used: scalar.
    """
    length = cells.shape[1]
    block = min(BLOCK, length)
    count = -(-length // block)
    padded = jnp.pad(cells, ((0, 0), (0, count * block - length)))
    shapes = jax.eval_shape(measure, padded[:, :block])
    empty = tuple(
        jnp.zeros((cells.shape[0], count * block, *one.shape[2:]), one.dtype) for one in shapes
    )

    def step(number: jax.Array, measured: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        first = number * block
        here = measure(jax.lax.dynamic_slice_in_dim(padded, first, block, axis=1))
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, first, axis=1)
            for whole, part in zip(measured, here, strict=True)
        )

    blocks = (jnp.minimum(used, length) + block - 1) // block
    measured = jax.lax.fori_loop(0, blocks, step, empty)
    return tuple(one[:, :length] for one in measured)


def _suppress(
    selection: Selection, packed: jax.Array, labels: jax.Array, scores: jax.Array
) -> jax.Array:
    kernel, sigma = selection.nms_kernel, selection.nms_sigma
    if selection.nms == "matrix":
        return nms.matrix_nms(packed, labels, scores, kernel=kernel, sigma=sigma)
    if selection.nms == "soft":
        return nms.soft_nms(packed, labels, scores, kernel=kernel, sigma=sigma)
    suppress = nms.hard_nms if selection.nms == "hard" else nms.fast_nms
    return suppress(packed, labels, scores, iou_threshold=selection.nms_iou_threshold)


def by_level(grid: Grid, masks: Sequence[jax.Array], cells: jax.Array) -> jax.Array:
    """Brings masks together that each level makes at half its own stride.

    Args:
      grid: the cells.
      masks: of each level, the probabilities it gives for all ``cells``: ``K h w``.
      cells: ``K``, numbers of cells; each takes the mask of its own level.

    Returns:
      ``K H/4 W/4``, resized after the sigmoid as in the published models.
    """
    size = detection_size(grid, *masks[0].shape[1:])
    together = jnp.zeros((*size, len(cells)))
    for start, end, one in zip(grid.starts[:-1], grid.starts[1:], masks, strict=True):
        here = (cells >= start) & (cells < end)
        resized = resize.bilinear(jnp.moveaxis(one, 0, -1)[None], size)[0]
        together = jnp.where(here[None, None], resized, together)
    return jnp.moveaxis(together, -1, 0)


def detection_size(grid: Grid, height: int, width: int) -> tuple[int, int]:
    """(height, width) of detected masks, from that of masks at half the finest level's stride."""
    stride = grid.strides[0] // 2
    return height * stride // MASK_STRIDE, width * stride // MASK_STRIDE
