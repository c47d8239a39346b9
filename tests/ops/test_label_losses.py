"""Losses of label maps, against the papers' formulas in plain NumPy, pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import label_losses
from solojax.types import IGNORED

CLASSES = 4


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (3, 5, 6, CLASSES)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Of three images; the first lacks the last class, and in the last all is ignored."""
    labels = np.random.default_rng(1).integers(0, CLASSES, (3, 5, 6))
    labels[0] %= CLASSES - 1
    labels[:2, 1:3, 2:5] = IGNORED
    labels[2] = IGNORED
    return labels


@pytest.fixture(scope="module")
def found(logits, labels) -> dict:
    """All losses and the gradient of their sum, of one program."""

    def all_losses(logits):
        wanted = jax.nn.one_hot(labels, CLASSES)
        entropies = label_losses.cross_entropy(logits, wanted)
        known = jnp.asarray(labels != IGNORED)
        losses = {
            "entropy": entropies,
            "dice": label_losses.dice(logits, wanted),
            "lovasz": label_losses.lovasz_softmax(logits, wanted),
        }
        hard = {
            share: label_losses.hardest(entropies, known, share=share, probability=0.1)
            for share in (0.01, 0.5, 1.0)
        }
        return sum(map(jnp.sum, losses.values())), {**losses, "hard": hard}

    gradient, losses = jax.jit(jax.grad(all_losses, has_aux=True))(logits)
    return {**jax.device_get(losses), "gradient": np.asarray(gradient)}


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def pixels_of(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of an image's labelled pixels."""
    known = labels != IGNORED
    return probabilities(logits)[known], labels[known]


def test_cross_entropy_is_of_the_pixels_own_class(found, logits, labels):
    for image, each in enumerate(found["entropy"]):
        own, classes = pixels_of(logits[image], labels[image])
        expected = np.zeros((5, 6))
        expected[labels[image] != IGNORED] = -np.log(own[np.arange(len(own)), classes])
        np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "least"), [(0.01, 1), (0.5, 15), (1.0, 30)])
def test_hard_pixels_are_those_below_a_probability_and_the_hardest_share(
    found, logits, labels, share, least
):
    for image, kept in enumerate(found["hard"][share]):
        p, classes = pixels_of(logits[image], labels[image])
        own = p[np.arange(len(p)), classes]
        expected = np.zeros((5, 6), bool)
        if len(own):
            last = np.sort(own)[min(least, len(own)) - 1]
            expected[labels[image] != IGNORED] = (own < 0.1) | (own <= last)
        np.testing.assert_array_equal(kept, expected)


def test_dice_is_that_of_each_class_as_a_mask(found, logits, labels):
    for image, each in enumerate(found["dice"]):
        p, classes = pixels_of(logits[image], labels[image])
        for label in range(CLASSES):
            region = classes == label
            overlap = 2 * (p[:, label] * region).sum()
            total = (p[:, label] ** 2).sum() + region.sum() + 2e-3
            np.testing.assert_allclose(each[label], 1 - overlap / total, rtol=1e-5)


def test_lovasz_softmax_extends_the_jaccard_loss(found, logits, labels):
    """Berman et al., equations 8 and 9: the Jaccard losses of the sets of the k worst pixels."""

    def jaccard(region: np.ndarray, wrong: set[int]) -> float:
        """1 - IoU where these pixels, and no others, are on the wrong side."""
        own = set(np.flatnonzero(region))
        return len(wrong) / len(own | wrong)

    for image, each in enumerate(found["lovasz"][:2]):
        p, classes = pixels_of(logits[image], labels[image])
        for label in range(CLASSES):
            region = classes == label
            errors = np.where(region, 1 - p[:, label], p[:, label])
            order, expected, before = np.argsort(-errors), 0.0, 0.0
            for k in range(len(order)):
                now = jaccard(region, set(order[: k + 1]))
                expected, before = expected + errors[order[k]] * (now - before), now
            np.testing.assert_allclose(each[label], expected, rtol=1e-4)


def test_lovasz_softmax_of_certain_answers_is_one_less_iou():
    labels = np.array([[[0, 0, 0, 1]]])
    answers = np.array([[[0, 0, 1, 1]]])
    found = jax.jit(label_losses.lovasz_softmax)(
        100.0 * jax.nn.one_hot(answers, 2), jax.nn.one_hot(labels, 2)
    )
    np.testing.assert_allclose(found, [[1 - 2 / 3, 1 - 1 / 2]], rtol=1e-5)


def test_what_is_ignored_has_no_gradient(found, labels):
    gradient = found["gradient"]
    assert np.isfinite(gradient).all()
    known = labels != IGNORED
    assert (gradient[~known] == 0).all() and (np.abs(gradient[known]).max(-1) > 0).all()
    assert np.isfinite(found["lovasz"]).all() and (found["lovasz"][2] == 0).all()
