import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import nms
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_matrix_nms.npz")
# One program each: called plainly, each operation within is compiled alone.
matrix_nms, soft_nms = (
    jax.jit(f, static_argnames="kernel") for f in (nms.matrix_nms, nms.soft_nms)
)
hard_nms, fast_nms = jax.jit(nms.hard_nms), jax.jit(nms.fast_nms)
EVERY = [matrix_nms, hard_nms, soft_nms, fast_nms]


def line_masks(*spans: tuple[int, int]) -> jax.Array:
    """Masks of 1 x 20 pixels, one from start to stop each."""
    masks = np.zeros((len(spans), 1, 20), bool)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[:, start:stop] = True
    return jnp.asarray(masks)


CHAIN = dict(
    masks=line_masks((0, 10), (1, 11), (2, 12), (1, 10), (12, 20)),
    labels=jnp.array([0, 0, 0, 1, 0]),
    scores=jnp.array([0.9, 0.8, 0.7, 0.6, 0.5]),
)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("gaussian", [0.9, 0.209719, 0.287779, 0.6, 0.5]),
        ("linear", [0.9, 0.145455, 0.233333, 0.6, 0.5]),
    ],
)
def test_a_suppressed_mask_suppresses_less(kernel, expected):
    # The third ends above the second though it overlaps two masks: the compensation at work.
    np.testing.assert_allclose(matrix_nms(**CHAIN, kernel=kernel), expected, rtol=1e-5)


@pytest.mark.parametrize("suppress", [hard_nms, fast_nms])
def test_hard_and_fast_zero_what_overlaps_a_better_mask_of_its_class(suppress):
    np.testing.assert_array_equal(suppress(**CHAIN), np.float32([0.9, 0, 0, 0.6, 0.5]))


def test_what_hard_removes_removes_nothing_but_what_fast_removes_does():
    # Only neighbours of the chain overlap by more than 0.7.
    hard, fast = (f(**CHAIN, iou_threshold=0.7) for f in (hard_nms, fast_nms))
    np.testing.assert_array_equal(hard, np.float32([0.9, 0, 0.7, 0.6, 0.5]))
    np.testing.assert_array_equal(fast, np.float32([0.9, 0, 0, 0.6, 0.5]))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("gaussian", [0.9, 0.0549777, 0.287779, 0.6, 0.5]),
        ("linear", [0.9, 0.0264463, 0.233333, 0.6, 0.5]),
    ],
)
def test_soft_takes_the_best_by_its_score_so_far(kernel, expected):
    # The third, once decayed, is better than the second and decays it again.
    np.testing.assert_allclose(soft_nms(**CHAIN, kernel=kernel), expected, rtol=1e-5)


@pytest.mark.parametrize("suppress", [hard_nms, fast_nms])
def test_an_overlap_of_just_the_threshold_stays(suppress):
    halves = dict(
        masks=line_masks((0, 8), (0, 4)), labels=jnp.array([0, 0]), scores=jnp.array([0.9, 0.8])
    )
    np.testing.assert_array_equal(suppress(**halves), halves["scores"])
    np.testing.assert_array_equal(suppress(**halves, iou_threshold=0.49), np.float32([0.9, 0]))


@pytest.mark.parametrize(
    ("suppress", "expected"),
    [
        (hard_nms, [0.8, 0, 0]),
        (fast_nms, [0.8, 0, 0]),
        # After the first, the third is the better of the two.
        (lambda **chain: soft_nms(**chain, kernel="linear"), [0.8, 0.0264463, 0.266667]),
        (lambda **chain: matrix_nms(**chain, kernel="linear"), [0.8, 0.145455, 0.266667]),
    ],
)
def test_of_equal_scores_the_earlier_place_is_the_better(suppress, expected):
    chain = dict(
        masks=CHAIN["masks"][:3], labels=jnp.zeros(3, int), scores=jnp.full(3, 0.8, jnp.float32)
    )
    np.testing.assert_allclose(suppress(**chain), expected, rtol=1e-5)


@pytest.mark.parametrize("suppress", EVERY)
def test_order_of_the_input_does_not_matter(suppress):
    order = jnp.array([3, 1, 4, 0, 2])
    shuffled = {name: array[order] for name, array in CHAIN.items()}
    straight = suppress(**CHAIN)
    np.testing.assert_array_equal(suppress(**shuffled), straight[order])


@pytest.mark.parametrize("suppress", EVERY)
def test_padding_below_all_scores_changes_nothing(suppress):
    padded = dict(
        masks=jnp.concatenate([CHAIN["masks"][:2], CHAIN["masks"]]),
        labels=jnp.concatenate([jnp.zeros(2, int), CHAIN["labels"]]),
        scores=jnp.concatenate([jnp.full(2, -1.0), CHAIN["scores"]]),
    )
    found = suppress(**padded)
    np.testing.assert_array_equal(found[2:], suppress(**CHAIN))
    assert (found[:2] <= 0).all()


@pytest.mark.parametrize("suppress", EVERY)
def test_nothing_but_padding_finds_nothing(suppress):
    padding = CHAIN | dict(scores=jnp.full(5, -1.0))
    assert (suppress(**padding) <= 0).all()


@pytest.mark.parametrize("suppress", EVERY)
def test_a_single_mask_keeps_its_score(suppress):
    single = {name: array[:1] for name, array in CHAIN.items()}
    np.testing.assert_array_equal(suppress(**single), single["scores"])


@pytest.mark.parametrize("suppress", [nms.matrix_nms, nms.hard_nms, nms.soft_nms, nms.fast_nms])
def test_jit_and_vmap_equal_the_plain_call(suppress):
    plain = suppress(**CHAIN)
    np.testing.assert_allclose(jax.jit(suppress)(**CHAIN), plain, rtol=1e-6)
    other = CHAIN | dict(scores=CHAIN["scores"][::-1])
    batch = {name: jnp.stack([CHAIN[name], other[name]]) for name in CHAIN}
    batched = jax.vmap(lambda one: suppress(**one))(batch)
    np.testing.assert_allclose(batched, [plain, suppress(**other)], rtol=1e-6)


def test_a_soft_score_has_its_decay_for_gradient():
    def total(scores):
        return jnp.sum(soft_nms(CHAIN["masks"], CHAIN["labels"], scores))

    decay = soft_nms(**CHAIN) / CHAIN["scores"]
    np.testing.assert_allclose(jax.grad(total)(CHAIN["scores"]), decay, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("suppress", [matrix_nms, soft_nms])
def test_equal_and_empty_masks_have_finite_gradients(suppress, kernel):
    masks = line_masks((0, 10), (0, 10), (0, 10), (0, 0), (0, 0))

    def total(scores):
        return jnp.sum(suppress(masks, jnp.zeros(5, int), scores, kernel=kernel))

    assert np.isfinite(jax.grad(total)(CHAIN["scores"])).all()


def random_masks(seed: int, *, ties: bool) -> dict[str, np.ndarray]:
    """Twenty overlapping spans of three classes; equal masks, an empty one and padding."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((20, 1, 20), bool)
    for mask, start, length in zip(
        masks, rng.integers(0, 12, 20), rng.integers(2, 9, 20), strict=True
    ):
        mask[:, start : start + length] = True
    masks[7] = masks[3]
    masks[11] = False
    scores = rng.random(20)
    if ties:
        scores = np.round(scores, 1)
    scores[[5, 16]] = -1
    return dict(masks=masks, labels=rng.integers(0, 3, 20), scores=scores.astype(np.float32))


def iou_of(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def slow_hard(masks, labels, scores):
    found = np.zeros_like(scores)
    kept = []
    for this in sorted(range(len(scores)), key=lambda k: -scores[k]):
        rivals = [k for k in kept if labels[k] == labels[this]]
        if all(iou_of(masks[k], masks[this]) <= 0.5 for k in rivals):
            kept.append(this)
            found[this] = scores[this]
    return found


def slow_fast(masks, labels, scores):
    found = scores.copy()
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    for rank, this in enumerate(order):
        for better in order[:rank]:
            if labels[better] == labels[this] and iou_of(masks[better], masks[this]) > 0.5:
                found[this] = 0
    return found


def slow_soft(masks, labels, scores, kernel):
    scores = scores.astype(np.float64)
    waiting = list(range(len(scores)))
    while waiting:
        best = max(waiting, key=lambda k: scores[k])
        waiting.remove(best)
        for k in waiting:
            if labels[k] == labels[best]:
                iou = iou_of(masks[k], masks[best])
                scores[k] *= np.exp(-2 * iou**2) if kernel == "gaussian" else 1 - iou
    return scores


@pytest.mark.parametrize(("suppress", "slow"), [(hard_nms, slow_hard), (fast_nms, slow_fast)])
def test_hard_and_fast_equal_a_plain_loop(suppress, slow):
    removed = 0
    for seed in range(8):
        case = random_masks(seed, ties=True)
        expected = slow(**case)
        np.testing.assert_array_equal(suppress(**case), expected)
        removed += np.sum(expected == 0)
    assert removed > 20


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_soft_equals_a_plain_loop(kernel):
    for seed in range(8):
        # Without ties: two that stand equal after several decays may round either way.
        case = random_masks(seed, ties=False)
        np.testing.assert_allclose(
            soft_nms(**case, kernel=kernel), slow_soft(**case, kernel=kernel), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("suppress", [matrix_nms, soft_nms])
def test_unknown_kernel_is_refused(suppress):
    with pytest.raises(ValueError, match="'boxy'"):
        suppress(**CHAIN, kernel="boxy")


@pytest.mark.parametrize("case", [str(case) for case in RECORDED["cases"]])
def test_matrix_nms_equals_the_recorded_case(case):
    masks, labels, scores, expected = (
        RECORDED[f"{case}/{name}"] for name in ("masks", "labels", "scores", "out_scores")
    )
    options = json.loads(str(RECORDED[f"{case}/kwargs"]))
    order = np.argsort(-scores, kind="stable")
    if options["nms_pre"] > 0:
        order = order[: options["nms_pre"]]
    decayed = matrix_nms(
        jnp.asarray(masks[order], bool),
        jnp.asarray(labels[order]),
        jnp.asarray(scores[order]),
        kernel=options["kernel"],
        sigma=options["sigma"],
    )
    decayed = np.sort(np.asarray(decayed))[::-1]
    if options["filter_thr"] > 0:
        decayed = decayed[decayed >= options["filter_thr"]]
    if options["max_num"] > 0:
        decayed = decayed[: options["max_num"]]
    # Of three equal masks the last divides 0 by 0 in the reference; ours is suppressed like the
    # second. NaN sorts first there.
    expected = np.sort(np.nan_to_num(expected))[::-1]
    np.testing.assert_allclose(decayed, expected, rtol=1e-5, atol=1e-7)


def test_intersections_are_exact_counts():
    rng = np.random.default_rng(0)
    masks = rng.random((40, 57, 91)) < 0.7
    flat = masks.reshape(40, -1).astype(np.int64)
    found = nms.pairwise_intersections(jnp.asarray(masks))
    np.testing.assert_array_equal(np.asarray(found), flat @ flat.T)


def test_scores_are_those_of_a_float32_product_to_the_bit():
    rng = np.random.default_rng(0)
    coarse = (rng.random((60, 5, 7)) < 0.6).repeat(9, 1).repeat(11, 2)
    masks = jnp.asarray(coarse ^ (rng.random(coarse.shape) < 0.02))
    labels = jnp.asarray(rng.integers(0, 3, 60))
    scores = jnp.asarray(rng.random(60).astype(np.float32))
    flat = masks.reshape(60, -1).astype(jnp.float32)
    products = jnp.matmul(flat, flat.T, precision="highest")
    areas = flat.sum(1)
    overlaps = products / jnp.maximum(areas[:, None] + areas[None] - products, 1)
    expected = nms.matrix_nms_of(overlaps, labels, scores)
    assert (np.asarray(expected) < 0.9 * np.asarray(scores)).any(), "the test needs overlaps"
    np.testing.assert_array_equal(matrix_nms(masks, labels, scores), expected)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_of_pairs_is_that_of_all_masks(kernel):
    rng = np.random.default_rng(0)
    masks = (rng.random((60, 5, 7)) < 0.3).reshape(60, -1)
    masks[7] = masks[3]  # a linear decay of zero
    labels = rng.integers(0, 3, 60)
    scores = rng.integers(1, 20, 60).astype(np.float32) / 20  # with equal ones
    iou = np.asarray(nms.mask_iou(jnp.asarray(masks[:, None])))
    first, second = np.nonzero(np.triu(iou * (labels[:, None] == labels), 1))
    is_above = scores[first] >= scores[second]
    found = jax.jit(nms.matrix_nms_of_pairs, static_argnames="kernel")(
        np.append(np.where(is_above, first, second), 0),  # the last is padding
        np.append(np.where(is_above, second, first), 0),
        np.append(iou[first, second], np.float32(0)),
        jnp.asarray(scores),
        kernel=kernel,
    )
    expected = jax.jit(nms.matrix_nms_of, static_argnames="kernel")(
        jnp.asarray(iou), jnp.asarray(labels), scores, kernel=kernel
    )
    assert (np.asarray(expected) < 0.9 * scores).any(), "the test needs overlaps"
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("pixels", [1, 333, 512])
def test_what_accelerators_multiply_a_cpu_counts(pixels):
    masks = np.random.default_rng(1).random((30, pixels)) < 0.4
    expected = nms._multiply(jnp.asarray(masks))
    for given in (masks, np.packbits(masks, axis=1)):
        np.testing.assert_array_equal(nms._count_common_bits(jnp.asarray(given)), expected)
        np.testing.assert_array_equal(nms._multiply(jnp.asarray(given)), expected)


@pytest.mark.parametrize("suppress", EVERY)
def test_packed_masks_get_the_same_scores(suppress):
    rng = np.random.default_rng(0)
    coarse = (rng.random((40, 5, 7)) < 0.6).repeat(3, 1).repeat(5, 2)
    masks = coarse ^ (rng.random(coarse.shape) < 0.02)
    labels = jnp.asarray(rng.integers(0, 3, 40))
    scores = jnp.asarray(rng.random(40).astype(np.float32))
    expected = suppress(jnp.asarray(masks), labels, scores)
    assert (np.asarray(expected) < 0.9 * np.asarray(scores)).any(), "the test needs overlaps"
    for axis in (1, 2):  # of the pixels; their order does not matter
        packed = jnp.asarray(np.packbits(masks, axis=axis))
        np.testing.assert_array_equal(suppress(packed, labels, scores), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_masks_that_are_neither_bool_nor_packed_are_refused(dtype):
    with pytest.raises(ValueError, match=f"masks are {jnp.dtype(dtype)}, neither bool nor"):
        nms.mask_iou(jnp.ones((2, 3, 8), dtype))


def test_iou_of_known_masks():
    found = nms.mask_iou(line_masks((0, 10), (1, 11), (12, 20)))
    np.testing.assert_allclose(found, [[1, 9 / 11, 0], [9 / 11, 1, 0], [0, 0, 1]], rtol=1e-6)


def test_an_empty_mask_has_no_iou_even_with_itself():
    found = nms.mask_iou(line_masks((0, 10), (3, 3), (3, 3)))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_points_nms_consults_left_above_and_above_left():
    scores = jnp.array([[0.1, 0.5, 0.2], [0.7, 0.6, 0.9], [0.3, 0.9, 0.4]])
    expected = [[0.1, 0.5, 0], [0.7, 0, 0.9], [0, 0.9, 0]]
    found = nms.points_nms(scores[None, :, :, None])[0, :, :, 0]
    np.testing.assert_array_equal(found, np.float32(expected))


@pytest.mark.parametrize("case", range(4))
def test_points_nms_equals_the_recorded_case(case):
    recorded = np.load(FIXTURES / "op_misc.npz")
    scores, expected = (
        recorded[f"points_nms/{case}/{side}"].transpose(0, 2, 3, 1) for side in ("in", "out")
    )
    np.testing.assert_array_equal(nms.points_nms(jnp.asarray(scores)), expected)
