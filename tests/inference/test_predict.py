import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import parallel
from solojax.data import rle
from solojax.inference import predict, room
from solojax.inference.programs import make_find
from solojax.ops.masks import AT_ONCE, restore
from solojax.types import Detections, InputError
from tests import examples
from tests.inference.networks import Colors

SIZES = np.array([[64, 50], [37, 64]], np.int32)  # network pixels
ORIGINAL_SIZES = np.array([[101, 79], [33, 57]], np.int32)
OUTPUT_SIZE = 104, 304  # three tiles wide


@pytest.fixture(scope="module")
def inputs():
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    return images, SIZES, ORIGINAL_SIZES


@pytest.fixture(scope="module")
def variables():
    """Wilder than those of a fresh network, which is sure of nothing and finds nothing."""
    return examples.make_variables(spread=0.3)


@pytest.fixture(scope="module")
def run(variables):
    compiled = jax.jit(predict.make_predict(examples.MODEL, OUTPUT_SIZE))
    return lambda *batch: compiled(variables, *batch)


@pytest.fixture(scope="module")
def find(variables):
    on_one = make_find(examples.MODEL, all_devices=False)
    return lambda *batch: on_one(variables, *batch)


@pytest.mark.slow
def test_masks_of_a_batch_equal_those_of_its_images_alone_inside_of_other_programs(
    variables, inputs, run
):
    together = run(*inputs)
    assert together.valid.any(1).all(), "the test needs detections"
    assert together.masks.shape == (2, 20, 104, 38)
    mapped = predict.make_predict(examples.MODEL, OUTPUT_SIZE)
    mapped = jax.vmap(mapped, in_axes=(None, 0, 0, 0))
    mapped = jax.pmap(mapped, in_axes=(None, 0, 0, 0), devices=jax.local_devices()[:2])
    # Each device has one batch of one image.
    alone = mapped(variables, *(x[:, None, None] for x in inputs))
    np.testing.assert_allclose(alone.scores[:, 0, 0], together.scores, atol=1e-5)
    np.testing.assert_array_equal(alone.labels[:, 0, 0], together.labels)
    # A pixel at the threshold itself may fall either way.
    bits = [np.unpackbits(np.asarray(x), axis=-1) for x in (alone.masks[:, 0, 0], together.masks)]
    for mine, those, (height, width) in zip(*bits, ORIGINAL_SIZES, strict=True):
        assert (mine != those)[:, :height, :width].mean() < 1e-4


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


def test_original_sizes_of_any_kind_run_the_two_programs_of_a_canvas(variables, inputs, compiled):
    images, sizes, _ = inputs
    find = make_find(examples.MODEL, all_devices=False)
    with compiled() as programs:
        for original in [(64, 50), (37, 64), (700, 1300), (1, 1)]:
            find(variables, images, sizes, np.array([original, (90, 90)]))
    assert len(programs) == 2


def test_what_is_found_is_what_the_one_program_finds(inputs, run, find):
    images, sizes, _ = inputs
    original_sizes = np.array([[33, 57], [90, 300]], np.int32)
    found = find(images, sizes, original_sizes)
    expected = run(images, sizes, original_sizes)
    for b, (height, width) in enumerate(original_sizes.tolist()):
        count = int(expected.valid[b].sum())
        assert count > 1 and len(found[b].rles) == count
        np.testing.assert_array_equal(found[b].labels, expected.labels[b, :count])
        np.testing.assert_allclose(found[b].scores, expected.scores[b, :count], atol=1e-6)
        bits = np.unpackbits(np.asarray(expected.masks[b, :count]), axis=-1)
        masks = rle.decode(found[b].rles, height, width)
        assert (masks != bits[:, :height, :width]).mean() < 1e-4


def test_all_devices_find_what_one_does(variables, inputs, find):
    images, sizes, original_sizes = (np.concatenate([x] * 4) for x in inputs)
    one = find(*inputs) * 4
    all_of_them = make_find(examples.MODEL, all_devices=True)(
        parallel.replicate(variables), images, sizes, original_sizes
    )
    for first, second in zip(one, all_of_them, strict=True):
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
        np.testing.assert_array_equal(first.labels, second.labels)
        # A pixel at the threshold may fall either way.
        same = [one == other for one, other in zip(first.rles, second.rles, strict=True)]
        assert same and np.mean(same) > 0.8


def test_more_detections_than_a_block_are_all_made(monkeypatch, variables, inputs, find):
    expected = find(*inputs)
    monkeypatch.setattr(predict, "BLOCK", 7)  # of 20
    monkeypatch.setattr(predict, "TILE", 32)
    found = make_find(examples.MODEL, all_devices=False)(variables, *inputs)
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


class Sketch(Colors):
    """Finds one mask, the same in all images, on a canvas of any size."""

    mask = np.random.default_rng(0).random((1, 1, 33, 35)).astype(np.float32)

    def apply(self, variables, images):
        return len(images)

    def detect(self, outputs):
        return Detections(
            scores=jnp.ones((outputs, 1)),
            labels=jnp.zeros((outputs, 1), jnp.int32),
            masks=jnp.broadcast_to(jnp.asarray(self.mask), (outputs, 1, 33, 35)),
            valid=jnp.ones((outputs, 1), bool),
            overflow=jnp.zeros(outputs, jnp.int32),
        )


def test_masks_span_a_canvas_that_is_no_multiple_of_their_stride():
    images = np.zeros((2, 131, 137, 3), np.uint8)
    sizes, originals = np.array([[131, 137], [100, 137]]), np.array([[300, 290], [77, 301]])
    found = make_find(Sketch(), all_devices=False)({}, images, sizes, originals)
    for one, size, original in zip(found, sizes, originals, strict=True):
        tall = jax.image.resize(Sketch.mask[0], (1, 131, 137), "bilinear", antialias=False)
        expected = jax.image.resize(
            tall[:, : size[0], : size[1]], (1, *original), "bilinear", antialias=False
        )
        certain = np.abs(expected - 0.5) > 1e-5
        masks = rle.decode(one.rles, *original)
        np.testing.assert_array_equal(masks[certain], (expected > 0.5)[certain])


def test_masks_that_no_device_holds_are_refused_before_they_are_made():
    images = 10**9
    with pytest.raises(InputError, match="20 detections in each of 1000000000 .* 64x64 take .* GB"):
        room.check_room(examples.MODEL, [(64, 64)], images)
    room.check_room(examples.MODEL, [(64, 64)], 2)
