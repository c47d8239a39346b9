import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads import selection
from solojax.heads.grid import flatten
from tests import examples


def measure(cells: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cells * 2, jnp.stack([cells, -cells], 2)


@pytest.mark.parametrize("block", [3, 4, 100])
def test_blocks_measure_all_that_is_used_and_leave_the_rest_zero(block, monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", block)
    run = jax.jit(lambda cells, used: selection._in_blocks(measure, cells, used))
    cells = np.arange(1, 21).reshape(2, 10)
    for used in (0, 1, 3, 4, 10, 99):
        doubled, pairs = run(cells, used)
        done = min(-(-min(used, 10) // min(block, 10)) * block, 10)
        expected = np.where(np.arange(10) < done, 2 * cells, 0)
        np.testing.assert_array_equal(doubled, expected)
        np.testing.assert_array_equal(pairs, np.stack([expected, -expected], 2) // 2)


def test_blocks_without_a_candidate_are_not_measured(monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", 4)
    seen = []

    def watched(cells: jax.Array) -> tuple[jax.Array]:
        jax.debug.callback(lambda here: seen.append(here.tolist()), cells)
        return (cells,)

    run = jax.jit(lambda n: selection._in_blocks(watched, jnp.arange(100)[None], n))
    jax.block_until_ready(run(jnp.array(6)))
    jax.effects_barrier()
    assert sorted(seen) == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]


def made_up_outputs():
    rng = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(examples.MODEL.apply, examples.make_variables(0.3), images)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


def test_what_a_gpu_does_another_way_finds_the_same(monkeypatch):
    detect, outputs = examples.MODEL.head.detect, made_up_outputs()
    expected = jax.jit(lambda outputs: detect(outputs))(outputs)

    def of_a_gpu(*arrays, default, cuda=None, cpu=None):
        return (cuda or default)(*arrays)

    monkeypatch.setattr(jax.lax, "platform_dependent", of_a_gpu)
    found = jax.jit(lambda outputs: detect(outputs))(outputs)
    assert expected.valid.sum() > 10
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("platform", "loops"), [("cuda", 0), ("tpu", 1)])
def test_a_gpu_asks_the_host_for_no_block_where_all_masks_fit(platform, loops, monkeypatch):
    def count():
        traced = jax.jit(lambda outputs: examples.MODEL.head.detect(outputs)).trace(
            made_up_outputs()
        )
        return traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")

    assert count() == loops
    monkeypatch.setattr(selection, "AT_ONCE", 1000)
    assert count() == 1


def test_a_busy_image_does_not_change_what_is_found_in_a_quiet_one(monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", 7)  # of 60 candidates
    head = examples.MODEL.head
    outputs = made_up_outputs()

    def quieter(logits: jax.Array) -> jax.Array:
        return logits.at[1].add(-1.3 * jnp.max(logits[1]))

    outputs = outputs._replace(
        category_logits={k: quieter(logits) for k, logits in outputs.category_logits.items()}
    )
    detect = jax.jit(lambda outputs: head.detect(outputs))
    together = detect(outputs)
    counts = together.valid.sum(1)
    made = jax.vmap(lambda features, kernels, cells: head._cut(features, kernels, cells))(
        outputs.mask_features[0], flatten(outputs.mask_kernels), together.cells
    )  # a detection tells the cell whose mask it has
    np.testing.assert_allclose(jax.nn.sigmoid(made), together.masks, atol=1e-6)
    assert counts[0] > counts[1] > 0
    alone = detect(jax.tree.map(lambda x: x[1:], outputs))
    for one, both in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
        np.testing.assert_allclose(one[0], both[1], atol=1e-6)
