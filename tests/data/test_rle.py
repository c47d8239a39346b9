"""Claims about run lengths, against pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.data import rle


def encode(mask: np.ndarray) -> bytes:
    return bytes(coco_mask.encode(np.asfortranarray(mask))["counts"])


def random_masks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From nearly empty to nearly full, of short runs and of long ones; each has a pixel."""
    masks = np.zeros((int(rng.integers(1, 6)), height, width), np.uint8)
    for mask in masks:
        shape = (rng.random((height, width)) < rng.random() ** 2).astype(np.uint8)
        long = np.repeat(shape, rng.integers(1, 30), axis=0)[:height]
        top, left = rng.integers(height), rng.integers(width)
        mask[top:, left:] = long[top:, left:]
        mask[rng.integers(height), rng.integers(width)] = 1
    return masks


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask by columns, background first, counted one by one."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def test_run_lengths_are_those_that_pycocotools_encodes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        masks = random_masks(rng, *(int(side) for side in rng.integers(1, 60, 2)))
        lengths, begins = rle.read_runs([encode(mask) for mask in masks])
        found = [part.tolist() for part in np.split(lengths, begins[1:-1])]
        assert found == [runs_of(mask) for mask in masks]


@pytest.mark.parametrize("run", [15, 16, 511, 512, 16383, 16384, 2**20, 2**25])
def test_run_lengths_of_any_number_of_characters_are_read(run: int) -> None:
    size = [1, run + 3]
    counts = coco_mask.frPyObjects({"size": size, "counts": [1, run, 1, 1]}, *size)["counts"]
    assert rle.read_runs([counts]).lengths.tolist() == [1, run, 1, 1]


@pytest.mark.parametrize(
    "counts", [b"o", b"0P", b"/", b"p", b"\xff", b"1 1", b"1\n", b"oooooooo0", b"o" * 10**5]
)
def test_strings_that_are_no_run_lengths_are_refused(counts: bytes) -> None:
    for strings in ([counts], [counts, b"51"], [b"51", counts]):
        with pytest.raises(ValueError, match="corrupt run lengths"):
            rle.read_runs(strings)


@pytest.mark.parametrize("strings", [[], [b""], [b"", b""]])
def test_no_characters_are_no_runs(strings: list[bytes]) -> None:
    lengths, begins = rle.read_runs(strings)
    assert lengths.tolist() == []
    assert begins.tolist() == [0] * (len(strings) + 1)


def test_a_mask_without_runs_among_others_takes_nothing_from_them() -> None:
    lengths, begins = rle.read_runs([b"51", b"", b"32"])
    assert (lengths.tolist(), begins.tolist()) == ([5, 1, 3, 2], [0, 2, 2, 4])


def test_center_of_mass_is_that_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        for mask in random_masks(rng, height, width):
            y, x = np.nonzero(mask)
            found = rle.center_of(encode(mask), height)
            np.testing.assert_allclose(found, (x.mean(), y.mean()), rtol=1e-12)


def test_decoding_gives_one_mask_per_instance_in_order() -> None:
    masks = random_masks(np.random.default_rng(1), 40, 60)
    found = rle.decode([encode(mask) for mask in masks], 40, 60)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, masks)


def test_patches_are_the_masks_cut_to_their_pixels() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        masks = random_masks(rng, height, width)
        patches, corners = rle.decode_patches([encode(mask) for mask in masks], height)
        assert len(patches) == len(corners) == len(masks)
        for mask, patch, (top, left) in zip(masks, patches, corners, strict=True):
            assert patch.dtype == np.uint8
            y, x = np.nonzero(mask)
            assert (top, left) == (y.min(), x.min())
            np.testing.assert_array_equal(patch, mask[top : y.max() + 1, left : x.max() + 1])


def test_runs_of_no_length_change_nothing() -> None:
    # In an image of 5 x 2: 2 and 8 after none; 3, none, 1, 2 and 4.
    patches, corners = rle.decode_patches([b"028", b"30123"], 5)
    assert patches[0].tolist() == [[1], [1]]
    assert patches[1].tolist() == [[0, 1], [0, 0], [0, 0], [0, 0], [1, 0]]
    assert corners.tolist() == [[0, 0], [0, 0]]


def test_nothing_is_decoded_to_nothing() -> None:
    assert rle.decode([], 40, 60).shape == (0, 40, 60)
    patches, corners = rle.decode_patches([], 40)
    assert patches == [] and corners.shape == (0, 2)
