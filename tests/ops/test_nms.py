import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import nms
from tests.conftest import FIXTURES

RECORDED = np.load(FIXTURES / "op_matrix_nms.npz")


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
    np.testing.assert_allclose(nms.matrix_nms(**CHAIN, kernel=kernel), expected, rtol=1e-5)


def test_order_of_the_input_does_not_matter():
    order = jnp.array([3, 1, 4, 0, 2])
    shuffled = {name: array[order] for name, array in CHAIN.items()}
    straight = nms.matrix_nms(**CHAIN)
    np.testing.assert_array_equal(nms.matrix_nms(**shuffled), straight[order])


def test_padding_below_all_scores_changes_nothing():
    padded = dict(
        masks=jnp.concatenate([CHAIN["masks"], CHAIN["masks"][:2]]),
        labels=jnp.concatenate([CHAIN["labels"], jnp.zeros(2, int)]),
        scores=jnp.concatenate([CHAIN["scores"], jnp.full(2, -1.0)]),
    )
    np.testing.assert_array_equal(nms.matrix_nms(**padded)[:5], nms.matrix_nms(**CHAIN))


def test_jit_and_vmap_equal_the_plain_call():
    plain = nms.matrix_nms(**CHAIN)
    np.testing.assert_allclose(jax.jit(nms.matrix_nms)(**CHAIN), plain, rtol=1e-6)
    batch = {name: jnp.stack([array, array]) for name, array in CHAIN.items()}
    batched = jax.vmap(lambda one: nms.matrix_nms(**one))(batch)
    np.testing.assert_allclose(batched[1], plain, rtol=1e-6)


def test_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="'boxy'"):
        nms.matrix_nms(**CHAIN, kernel="boxy")


@pytest.mark.parametrize("case", [str(case) for case in RECORDED["cases"]])
def test_matrix_nms_equals_the_recorded_case(case):
    masks, labels, scores, expected = (
        RECORDED[f"{case}/{name}"] for name in ("masks", "labels", "scores", "out_scores")
    )
    options = json.loads(str(RECORDED[f"{case}/kwargs"]))
    order = np.argsort(-scores, kind="stable")
    if options["nms_pre"] > 0:
        order = order[: options["nms_pre"]]
    decayed = nms.matrix_nms(
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
