"""The assignment inside a program, against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from solojax.ops import assignment

assign = jax.jit(jax.vmap(assignment.assign))
IMAGES = 16


def draw(kind: str, rows: int, columns: int) -> np.ndarray:
    """Gains of so many images, with a kind's difficulty."""
    rng = np.random.default_rng(rows * 100 + columns)
    gains = rng.random((IMAGES, rows, columns)).astype(np.float32)
    if kind == "ties":
        return np.round(gains * 4) / 4
    if kind == "equal":
        return np.full_like(gains, 0.3)
    if kind == "not_finite":
        strange = rng.choice([0, np.nan, np.inf, -np.inf], gains.shape, p=[0.7, 0.1, 0.1, 0.1])
        return gains + strange.astype(np.float32)
    return gains


def scipy_rows(gains: np.ndarray, valid: np.ndarray) -> np.ndarray:
    used = np.flatnonzero(valid)
    rows, columns = linear_sum_assignment(gains[:, used], maximize=True)
    expected = np.full(len(valid), -1)
    expected[used[columns]] = rows
    return expected


@pytest.mark.parametrize("shape", [(1, 1), (9, 4), (4, 9), (12, 12)])
@pytest.mark.parametrize("kind", ["drawn", "ties", "equal", "not_finite"])
def test_assignment_is_that_of_scipy(kind, shape):
    """Of none, some and all of the columns; where several are best, the same of them."""
    gains = draw(kind, *shape)
    valid = (
        np.random.default_rng(0).random((IMAGES, shape[1])) < np.linspace(0, 1.1, IMAGES)[:, None]
    )
    found = np.asarray(assign(gains, valid))
    plain = np.nan_to_num(gains.astype(np.float64), nan=-1e6, posinf=1e6, neginf=-1e6)
    for image in range(IMAGES):
        expected = scipy_rows(plain[image], valid[image])
        if kind != "not_finite":
            np.testing.assert_array_equal(found[image], expected)
            continue
        pairs, wanted = (np.flatnonzero(rows >= 0) for rows in (found[image], expected))
        assert len(set(found[image][pairs])) == len(pairs) == len(wanted)
        gained, best = (
            plain[image][rows[columns], columns].sum()
            for rows, columns in ((found[image], pairs), (expected, wanted))
        )
        np.testing.assert_allclose(gained, best, rtol=1e-9)


def test_what_does_not_count_is_not_looked_at():
    gains = draw("drawn", 9, 4)
    valid = np.arange(4)[None] < np.full((IMAGES, 1), 2)
    for strange in (np.nan, np.inf, 1e30):
        changed = np.where(valid[:, None], gains, strange)
        np.testing.assert_array_equal(assign(changed, valid), assign(gains, valid))


@pytest.mark.parametrize("gain", [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0])
def test_it_ends_whatever_the_gains(gain):
    found = assign(np.full((1, 9, 4), gain, np.float32), np.ones((1, 4), bool))
    np.testing.assert_array_equal(found, [np.arange(4)])


def test_without_rows_or_columns_nothing_is_assigned():
    assert assignment.assign(jnp.zeros((0, 3)), jnp.ones(3, bool)).tolist() == [-1] * 3
    assert assignment.assign(jnp.zeros((3, 0)), jnp.ones(0, bool)).shape == (0,)
