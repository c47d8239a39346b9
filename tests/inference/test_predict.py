import jax
import numpy as np
import pytest

from solojax.config import Category
from solojax.data.rle import decode
from solojax.evaluation import predict
from solojax.types import Results
from tests import examples

SIZES = np.array([[64, 50], [37, 64]], np.int32)  # network pixels
ORIGINAL_SIZES = np.array([[101, 79], [33, 57]], np.int32)
OUTPUT_SIZE = predict.output_size_for(ORIGINAL_SIZES)


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


def test_output_size_holds_every_image_and_packs():
    assert OUTPUT_SIZE == (128, 96)


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


def test_coco_results_bear_original_ids_and_sizes():
    mask = np.zeros((3, 8, 16), np.uint8)
    mask[0, 2:5, 3:9] = mask[2, 0, 0] = 1
    found = predict.to_coco(
        Results(
            scores=np.array([0.9, 0.5, 0.0], np.float32),
            labels=np.array([1, 0, 0]),
            masks=np.packbits(mask, axis=-1),
            valid=np.array([True, True, False]),
            overflow=np.array(0),
        ),
        original_size=np.array([6, 11]),
        image_id=77,
        categories=(Category(4, "a"), Category(90, "b")),
    )
    assert [one["category_id"] for one in found] == [90, 4]
    assert {one["image_id"] for one in found} == {77}
    assert [one["score"] for one in found] == pytest.approx([0.9, 0.5])
    assert found[0]["segmentation"]["size"] == [6, 11]
    counts = [one["segmentation"]["counts"] for one in found]
    np.testing.assert_array_equal(decode(counts, 6, 11), mask[:2, :6, :11])
