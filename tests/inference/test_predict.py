import jax
import numpy as np
import pytest

from solojax import parallel
from solojax.data import rle
from solojax.inference import predict
from solojax.ops.masks import AT_ONCE, restore
from tests import examples

SIZES = np.array([[64, 50], [37, 64]], np.int32)  # network pixels
ORIGINAL_SIZES = np.array([[101, 79], [33, 57]], np.int32)
OUTPUT_SIZE = 128, 96


@pytest.fixture(scope="module")
def inputs():
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    return images, SIZES, ORIGINAL_SIZES


@pytest.fixture(scope="module")
def run():
    # Wilder than a fresh network, which is sure of nothing and finds nothing.
    variables = examples.make_variables(spread=0.3)
    compiled = jax.jit(predict.make_predict(examples.MODEL, OUTPUT_SIZE))
    return lambda *batch: compiled(variables, *batch)


def test_masks_of_a_batch_equal_those_of_its_images_alone(inputs, run):
    together = run(*inputs)
    assert together.valid.any(1).all(), "the test needs detections"
    assert together.masks.shape == (2, 20, 128, 12)
    for b in range(2):
        alone = run(*(x[b : b + 1] for x in inputs))
        np.testing.assert_allclose(alone.scores[0], together.scores[b], atol=1e-5)
        np.testing.assert_array_equal(alone.labels[0], together.labels[b])
        # A pixel at the threshold itself may fall either way.
        bits = [np.unpackbits(np.asarray(x), axis=-1) for x in (alone.masks[0], together.masks[b])]
        assert (bits[0] != bits[1]).mean() < 1e-4


def test_a_result_does_not_depend_on_what_else_is_in_the_batch(inputs, run):
    images, sizes, original_sizes = inputs
    other = images.copy()
    other[1] = 255 - other[1]
    first, second = run(*inputs), run(other, sizes, original_sizes)
    np.testing.assert_array_equal(first.scores[0], second.scores[0])
    np.testing.assert_array_equal(first.masks[0], second.masks[0])


def test_what_lies_in_the_padding_does_not_matter(inputs, run):
    images, sizes, original_sizes = inputs
    dirty = images.copy()
    for image, (height, width) in zip(dirty, sizes, strict=True):
        image[height:], image[:, width:] = 255, 7
    np.testing.assert_array_equal(run(*inputs).scores, run(dirty, sizes, original_sizes).scores)


def test_masks_stay_inside_the_original_image(inputs, run):
    bits = np.unpackbits(np.asarray(run(*inputs).masks), axis=-1)
    for masks, (height, width) in zip(bits, ORIGINAL_SIZES, strict=True):
        assert masks.any() and not masks[:, height:].any() and not masks[:, :, width:].any()


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["vmap", "pmap"])
def test_the_whole_works_inside_of_other_programs(transform, inputs, run):
    predict_batch = predict.make_predict(examples.MODEL, OUTPUT_SIZE)
    batches = [x[:, None] for x in inputs]  # two batches of one image
    axes = (None, 0, 0, 0)
    if transform == "vmap":
        mapped = jax.jit(jax.vmap(predict_batch, in_axes=axes))
    else:
        mapped = jax.pmap(predict_batch, in_axes=axes, devices=jax.local_devices()[:2])
    found = mapped(examples.make_variables(spread=0.3), *batches)
    expected = run(*inputs)
    np.testing.assert_allclose(found.scores[:, 0], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found.labels[:, 0], expected.labels)
    bits = [np.unpackbits(np.asarray(x), axis=-1) for x in (found.masks[:, 0], expected.masks)]
    assert (bits[0] != bits[1]).mean() < 1e-4


def test_original_sizes_of_any_kind_run_the_two_programs_of_a_canvas(inputs, compiled):
    images, sizes, _ = inputs
    find = predict.make_find(examples.MODEL, all_devices=False)
    variables = examples.make_variables(spread=0.3)
    with compiled() as programs:
        for original in [(64, 50), (37, 64), (700, 1300), (1, 1)]:
            find(variables, images, sizes, np.array([original, (90, 90)]))
    assert len(programs) == 2


def test_what_is_found_is_what_the_one_program_finds(inputs, run):
    images, sizes, _ = inputs
    original_sizes = np.array([[33, 57], [90, 1300]], np.int32)  # two tiles wide
    variables = examples.make_variables(spread=0.3)
    found = predict.make_find(examples.MODEL, all_devices=False)(
        variables, images, sizes, original_sizes
    )
    whole = jax.jit(predict.make_predict(examples.MODEL, (96, 1304)))
    expected = whole(variables, images, sizes, original_sizes)
    for b, (height, width) in enumerate(original_sizes.tolist()):
        count = int(expected.valid[b].sum())
        assert count > 1 and len(found[b].rles) == count
        np.testing.assert_array_equal(found[b].labels, expected.labels[b, :count])
        np.testing.assert_allclose(found[b].scores, expected.scores[b, :count], atol=1e-6)
        bits = np.unpackbits(np.asarray(expected.masks[b, :count]), axis=-1)
        masks = rle.decode(found[b].rles, height, width)
        assert (masks != bits[:, :height, :width]).mean() < 1e-4


def test_all_devices_find_what_one_does(inputs):
    images, sizes, original_sizes = (np.concatenate([x] * 4) for x in inputs)
    variables = examples.make_variables(spread=0.3)
    one = predict.make_find(examples.MODEL, all_devices=False)(
        variables, images, sizes, original_sizes
    )
    all_of_them = predict.make_find(examples.MODEL, all_devices=True)(
        parallel.replicate(variables), images, sizes, original_sizes
    )
    for first, second in zip(one, all_of_them, strict=True):
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
        np.testing.assert_array_equal(first.labels, second.labels)
        # A pixel at the threshold may fall either way.
        same = [one == other for one, other in zip(first.rles, second.rles, strict=True)]
        assert same and np.mean(same) > 0.8


def test_more_detections_than_a_block_are_all_made(monkeypatch, inputs):
    variables = examples.make_variables(spread=0.3)
    expected = predict.make_find(examples.MODEL, all_devices=False)(variables, *inputs)
    monkeypatch.setattr(predict, "BLOCK", 7)  # of 20
    monkeypatch.setattr(predict, "TILE", 32)
    found = predict.make_find(examples.MODEL, all_devices=False)(variables, *inputs)
    assert max(len(one.rles) for one in found) > 14
    for one, other in zip(found, expected, strict=True):
        assert one.rles == other.rles


def test_twelve_megapixels_take_bounded_memory():
    masks = jax.ShapeDtypeStruct((100, 200, 336), np.float32)
    pair = jax.ShapeDtypeStruct((2,), np.int32)
    make = jax.jit(lambda *one: restore(*one, output_size=(3000, 4000)))
    memory = make.lower(masks, pair, pair).compile().memory_analysis()
    assert memory.output_size_in_bytes == 100 * 3000 * 500
    assert memory.temp_size_in_bytes < AT_ONCE + 2**26  # as floats all would be 4.8 GB
