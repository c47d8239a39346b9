"""Non-maximum suppression of masks, without boxes: points NMS, Matrix NMS and its three rivals.

All but points NMS take one image's ``K >= 1`` masks, labels and scores and return new scores in
the order given. Masks are ``K H W`` bool, or uint8 ``K ...`` that hold eight pixels each, as
``jnp.packbits`` makes them. Only masks of one label suppress each other. A mask is above another
where its score is greater or, at equal scores, its place earlier. Padding takes part harmlessly
when its score is below all others, -1 for instance; it never comes out positive.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Kernel = Literal["gaussian", "linear"]

WORDS_AT_ONCE = 8  # 256 bits, which LLVM counts together; of 4, 7 or 16 it counts one by one


def points_nms(scores: jax.Array) -> jax.Array:
    """Keeps a score only where none of its neighbours left, above and above-left exceeds it.

    Equal neighbours all survive. A cheap first thinning before masks are computed.

    Args:
      scores: ``B S S C``.

    Returns:
      ``B S S C``, zero where suppressed.
    """
    window = lax.reduce_window(
        scores,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 1, 1, 1),
        padding=((0, 0), (1, 0), (1, 0), (0, 0)),
    )
    return jnp.where(scores == window, scores, 0)


def pairwise_intersections(masks: jax.Array) -> jax.Array:
    """Counts the pixels each two masks share, ``K K`` float32.

    Exact up to 2^24 pixels, in two ways. GPUs and TPUs multiply matrices: bfloat16 holds 0 and 1,
    the sums are float32. A CPU counts the common bits of packed masks, an eighth of the work.

    Args:
      masks: ``K H W`` bool or packed.

    Raises:
      ValueError: they are of another type, soft masks for instance.
    """
    if masks.dtype not in (jnp.bool_, jnp.uint8):
        raise ValueError(f"masks are {masks.dtype}, neither bool nor packed bits (uint8)")
    flat = masks.reshape(len(masks), -1)
    return lax.platform_dependent(flat, cpu=_count_common_bits, default=_multiply)


def _multiply(masks: jax.Array) -> jax.Array:
    pixels = masks if masks.dtype == bool else jnp.unpackbits(masks, axis=1)
    factors = pixels.astype(jnp.bfloat16)
    return jnp.einsum("ip,jp->ij", factors, factors, preferred_element_type=jnp.float32)


def _count_common_bits(masks: jax.Array) -> jax.Array:
    octets = jnp.packbits(masks, axis=1) if masks.dtype == bool else masks
    octets = jnp.pad(octets, ((0, 0), (0, -octets.shape[1] % (4 * WORDS_AT_ONCE))))
    # Not a bitcast: that is exported for one batch size alone.
    fours = octets.reshape(len(masks), -1, 4).astype(jnp.uint32)
    words = jnp.sum(fours << jnp.array([[[0, 8, 16, 24]]], jnp.uint32), -1, dtype=jnp.uint32)

    def count(total: jax.Array, some: jax.Array) -> tuple[jax.Array, None]:
        common = (lax.population_count(word[:, None] & word[None, :]) for word in some)
        return total + functools.reduce(jnp.add, common), None

    total = jnp.zeros((len(masks), len(masks)), jnp.uint32)
    blocks = words.T.reshape(-1, WORDS_AT_ONCE, len(masks))
    return lax.scan(count, total, blocks)[0].astype(jnp.float32)


def mask_iou(masks: jax.Array) -> jax.Array:
    """Intersection over union of each two masks: ``K H W`` bool or packed -> ``K K`` float32.

    An empty mask has IoU 0 with every mask, itself included.
    """
    intersections = pairwise_intersections(masks)
    areas = jnp.diagonal(intersections)
    unions = areas[:, None] + areas[None, :] - intersections
    return intersections / jnp.maximum(unions, 1)


def matrix_nms(
    masks: jax.Array,
    labels: jax.Array,
    scores: jax.Array,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
) -> jax.Array:
    """Decays each score by its overlap with better masks of its class (SOLOv2, section 3.3).

    All masks at once: a mask's decay is the least, over the masks i above it, of f(iou with i)
    over f(the greatest iou of i itself with a mask above i).

    Args:
      masks: ``K H W`` bool or packed, non-empty; an empty mask has IoU 0 with every other.
      labels: ``K`` int, only masks of one label suppress each other.
      scores: ``K`` float32.
      kernel: ``gaussian``: f(x) = exp(-sigma x^2); ``linear``: f(x) = 1 - x.
      sigma: of the gaussian; 2 is the 0.5 of the paper, where it divides.

    Returns:
      ``K`` float32 decayed scores, in the order given.
    """
    return matrix_nms_of(mask_iou(masks), labels, scores, kernel=kernel, sigma=sigma)


def matrix_nms_of(
    overlaps: jax.Array,
    labels: jax.Array,
    scores: jax.Array,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
) -> jax.Array:
    """``matrix_nms`` of masks whose IoU is known: ``K K`` float32."""
    iou = jnp.where(_above(labels, scores), overlaps, 0.0)  # row above column
    worst = jnp.max(iou, axis=0)[:, None]  # of the row itself
    return scores * jnp.min(_compensated(iou, worst, kernel, sigma), axis=0)


def matrix_nms_of_pairs(
    above: jax.Array,
    below: jax.Array,
    overlaps: jax.Array,
    scores: jax.Array,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
) -> jax.Array:
    """``matrix_nms`` of many masks of which few overlap, in memory that grows with those.

    Args:
      above: ``P`` int, the number of the better mask of each two of one label that overlap.
      below: ``P`` int, that of the other one.
      overlaps: ``P`` float32, their IoU; pairs of IoU 0 take part harmlessly.
      scores: ``K`` float32.
      kernel: as of ``matrix_nms``.
      sigma: as of ``matrix_nms``.

    Returns:
      ``K`` float32 decayed scores, in the order given.
    """
    worst = jnp.zeros_like(scores).at[below].max(overlaps)[above]
    decay = _compensated(overlaps, worst, kernel, sigma)
    # 1 at most, as in the dense form, where the best mask of all overlaps most others by nothing.
    return scores * jnp.ones_like(scores).at[below].min(decay)


def hard_nms(
    masks: jax.Array, labels: jax.Array, scores: jax.Array, *, iou_threshold: float = 0.5
) -> jax.Array:
    """Zeroes each score whose mask overlaps a better one that is kept: the greedy classic.

    From the best mask down, one after the other: what a mask removes removes nothing itself.

    Args:
      masks: ``K H W`` bool or packed.
      labels: ``K`` int.
      scores: ``K`` float32.
      iou_threshold: an IoU greater than this is an overlap.

    Returns:
      ``K`` float32, the score where kept, 0 where suppressed.
    """
    overlaps = _above(labels, scores) & (mask_iou(masks) > iou_threshold)
    order = jnp.argsort(-scores)  # stable: equal scores stay in their places' order

    def visit(rank: jax.Array, kept: jax.Array) -> jax.Array:
        mask = order[rank]
        return kept & ~(overlaps[mask] & kept[mask])

    kept = lax.fori_loop(0, len(scores), visit, jnp.ones(len(scores), bool))
    return jnp.where(kept, scores, 0)


def soft_nms(
    masks: jax.Array,
    labels: jax.Array,
    scores: jax.Array,
    *,
    kernel: Kernel = "gaussian",
    sigma: float = 2.0,
) -> jax.Array:
    """Decays each score by every mask taken before it (Soft-NMS, Bodla et al. 2017).

    Takes the mask with the best score *as decayed so far*, multiplies the score of each mask of
    its class that still waits by f(iou), and repeats until none waits.

    Args:
      masks: ``K H W`` bool or packed.
      labels: ``K`` int.
      scores: ``K`` float32, not negative but for padding.
      kernel: ``gaussian``: f(x) = exp(-sigma x^2); ``linear``: f(x) = 1 - x, of all overlaps as
        in Matrix NMS; the paper's applies from a least overlap on.
      sigma: of the gaussian; it multiplies, as in ``matrix_nms``; the paper's divides.

    Returns:
      ``K`` float32 decayed scores, in the order given.
    """
    related = labels[:, None] == labels[None, :]
    decay = jnp.where(related, _decay(mask_iou(masks), kernel, sigma), 1.0)
    place = jnp.arange(len(scores))

    def take(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        scores, waiting = state
        best = jnp.argmax(jnp.where(waiting, scores, -jnp.inf))  # the first of equals
        waiting = waiting & (place != best)
        return jnp.where(waiting, scores * decay[best], scores), waiting

    waiting = jnp.ones(len(scores), bool)
    return lax.fori_loop(0, len(scores), take, (scores, waiting))[0]


def fast_nms(
    masks: jax.Array, labels: jax.Array, scores: jax.Array, *, iou_threshold: float = 0.5
) -> jax.Array:
    """Zeroes each score whose mask overlaps any better one, kept or not (YOLACT, its Fast NMS).

    Hard NMS without its loop: removed masks remove too, so it suppresses a little more.

    Args:
      masks: ``K H W`` bool or packed.
      labels: ``K`` int.
      scores: ``K`` float32.
      iou_threshold: an IoU greater than this is an overlap.

    Returns:
      ``K`` float32, the score where kept, 0 where suppressed.
    """
    overlaps = _above(labels, scores) & (mask_iou(masks) > iou_threshold)
    return jnp.where(jnp.any(overlaps, axis=0), 0, scores)


def _above(labels: jax.Array, scores: jax.Array) -> jax.Array:
    """Whether the row's mask is above the column's and of its class: ``K K`` bool."""
    place = jnp.arange(len(scores))
    above = (scores[:, None] > scores[None, :]) | (
        (scores[:, None] == scores[None, :]) & (place[:, None] < place[None, :])
    )
    return above & (labels[:, None] == labels[None, :])


def _compensated(iou: jax.Array, worst: jax.Array, kernel: Kernel, sigma: float) -> jax.Array:
    """Matrix NMS: f(iou) with a mask above, over f of that mask's own worst; broadcast."""
    suffered = _decay(worst, kernel, sigma)
    # A mask that equals one above it has been suppressed itself; its linear decay of zero must not
    # divide.
    decay = _decay(iou, kernel, sigma) / jnp.where(suffered > 0, suffered, 1)
    return jnp.where(suffered > 0, decay, 1.0)


def _decay(iou: jax.Array, kernel: Kernel, sigma: float) -> jax.Array:
    """The f of Matrix and Soft-NMS."""
    if kernel == "gaussian":
        return jnp.exp(-sigma * jnp.square(iou))
    if kernel == "linear":
        return 1 - iou
    raise ValueError(f"kernel {kernel!r} is neither 'gaussian' nor 'linear'")
