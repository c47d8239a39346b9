import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads import selection


def measure(cells: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cells * 2, jnp.stack([cells, -cells], 1)


@pytest.mark.parametrize("used", [0, 1, 3, 4, 10])
@pytest.mark.parametrize("block", [3, 4, 100])
def test_blocks_measure_all_that_is_used(used, block, monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", block)
    cells = jnp.arange(1, 11)
    doubled, pairs = selection._in_blocks(measure, cells, jnp.array(used))
    assert doubled.shape == (10,) and pairs.shape == (10, 2)
    np.testing.assert_array_equal(doubled[:used], 2 * cells[:used])
    np.testing.assert_array_equal(pairs[:used], np.stack([cells, -cells], 1)[:used])


def test_blocks_without_a_candidate_are_not_measured(monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", 4)
    seen = []

    def watched(cells: jax.Array) -> tuple[jax.Array]:
        jax.debug.callback(lambda here: seen.append(here.tolist()), cells)
        return (cells,)

    jax.block_until_ready(
        jax.jit(lambda n: selection._in_blocks(watched, jnp.arange(100), n))(jnp.array(6))
    )
    jax.effects_barrier()
    assert sorted(seen) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_images_of_a_batch_have_their_own_numbers_of_blocks(monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", 2)
    cells = jnp.arange(12).reshape(2, 6)
    (found,) = jax.vmap(lambda c, n: selection._in_blocks(lambda x: (x + 1,), c, n))(
        cells, jnp.array([1, 6])
    )
    np.testing.assert_array_equal(found[0, :2], [1, 2])
    np.testing.assert_array_equal(found[1], np.arange(7, 13))
