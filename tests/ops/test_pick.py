import jax
import numpy as np
import pytest

from solojax.ops import pick

draw = jax.jit(pick.draw, static_argnums=2)


def test_where_there_is_room_all_that_is_valid_is_drawn():
    valid = np.array([True, False, True, True, False])
    for most in (3, 4, 9):
        indices, kept = draw(jax.random.key(0), valid, most)
        assert len(indices) == len(kept) == min(most, 5)
        assert sorted(np.asarray(indices)[kept]) == [0, 2, 3]


def test_where_there_is_too_much_each_is_drawn_as_often():
    valid = np.arange(10) % 3 != 0  # six of them
    many = jax.vmap(lambda key: pick.draw(key, valid, 2))
    indices, kept = many(jax.random.split(jax.random.key(0), 3000))
    assert kept.all() and (indices[:, 0] != indices[:, 1]).all()
    counts = np.bincount(np.ravel(indices), minlength=10)
    assert (counts[~valid] == 0).all()
    np.testing.assert_allclose(counts[valid], 1000, rtol=0.12)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_each_image_gives_its_own(shape):
    values = np.random.default_rng(0).normal(size=(3, 5, *shape))
    indices = np.array([[0, 4], [2, 2], [1, 3]])
    expected = np.stack([one[some] for one, some in zip(values, indices, strict=True)])
    np.testing.assert_allclose(pick.take(values, indices), expected, rtol=1e-6)
