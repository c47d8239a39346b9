import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import images, masks


def soft_masks(count: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.random((count, 5, 6)).astype(np.float32)
    return np.stack([cv2.resize(mask, (width, height)) for mask in coarse])


def test_maskness_is_the_mean_over_the_foreground():
    soft = jnp.array([[0.9, 0.8, 0.6, 0.4, 0.2], [0.1, 0.7, 0.1, 0.1, 0.1], [0, 0, 0, 0, 0]])
    soft = soft.T.reshape(1, 1, 5, 3)
    found = masks.maskness(soft, soft > 0.5, jnp.array([[3, 1, 0]]))
    np.testing.assert_allclose(found, [[0.76666667, 0.7, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "original", "canvas"),
    [
        ((96, 128), (96, 128), (96, 128)),
        ((90, 121), (37, 53), (96, 128)),
        ((61, 128), (161, 339), (96, 128)),
        ((96, 40), (301, 9), (96, 128)),
        ((94, 125), (161, 339), (94, 125)),  # whose quarters the masks cover, and a little more
    ],
)
def test_restored_masks_equal_the_published_two_steps(size, original, canvas):
    soft = soft_masks(4, 24, 32)
    own = None if canvas == (96, 128) else canvas
    restore = jax.jit(functools.partial(masks.restore, output_size=(320, 352), canvas=own))
    packed = restore(soft, np.array(size), np.array(original))
    assert packed.shape == (4, 320, 44) and packed.dtype == jnp.uint8
    bits = np.unpackbits(np.asarray(packed), axis=-1)
    assert bits.sum() == bits[:, : original[0], : original[1]].sum(), "bits outside the original"
    long = jax.image.resize(soft, (4, *canvas), "bilinear", antialias=False)
    cropped = long[:, : size[0], : size[1]]
    expected = jax.image.resize(cropped, (4, *original), "bilinear", antialias=False)
    certain = np.abs(expected - 0.5) > 1e-5
    found = bits[:, : original[0], : original[1]]
    np.testing.assert_array_equal(found[certain], (expected > 0.5)[certain])
    assert certain.mean() > 0.999


def test_softened_masks_are_those_of_bilinear_shrinking():
    whole = np.random.default_rng(0).integers(0, 2, (2, 3, 16, 24)).astype(np.uint8)
    found = masks.soften(jnp.asarray(whole), 4)
    expected = jax.image.resize(whole.astype(np.float32), (2, 3, 4, 6), "bilinear", antialias=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert set(np.unique(found)) == {0, 0.25, 0.5, 0.75, 1}


def test_an_output_width_that_does_not_pack_is_refused():
    with pytest.raises(ValueError, match="not a multiple of 8"):
        masks.restore(jnp.zeros((1, 8, 8)), (32, 32), (9, 9), output_size=(12, 12))


def test_normalized_padding_is_zero_whatever_its_pixels():
    batch = jnp.full((1, 32, 32, 3), 200, jnp.uint8)
    found = images.normalize(batch, jnp.array([[20, 10]]))
    assert (found[0, 20:] == 0).all() and (found[0, :, 10:] == 0).all()
    expected = (200 - np.array(images.MEAN)) / images.STD
    np.testing.assert_allclose(found[0, 19, 9], expected, rtol=1e-6)


def test_images_are_normalized_as_the_weights_want_it():
    batch = jnp.full((1, 8, 8, 3), 200, jnp.uint8)
    found = images.normalize(batch, jnp.array([[8, 8]]), mean=(0, 100, 200), std=(1, 2, 4))
    np.testing.assert_array_equal(found[0, 0, 0], [200, 50, 0])


def test_images_are_normalized_in_float32_and_rounded_last():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    sizes = jnp.array([[20, 10], [32, 32]])
    found = images.normalize(jnp.asarray(pixels), sizes, jnp.bfloat16)
    assert found.dtype == jnp.bfloat16
    exact = images.normalize(jnp.asarray(pixels), sizes)
    assert exact.dtype == jnp.float32
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
