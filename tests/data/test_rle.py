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


def test_centers_of_mass_are_those_of_the_masks() -> None:
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 40), (40, 1), *rng.integers(1, 60, (100, 2)).tolist()]
    masks = [mask for size in sizes for mask in random_masks(rng, *size)]
    found = rle.centers_of([encode(mask) for mask in masks], [len(mask) for mask in masks])
    for mask, center in zip(masks, found, strict=True):
        y, x = np.nonzero(mask)
        assert center.tolist() == [x.sum() / len(x), y.sum() / len(y)]


@pytest.mark.parametrize("size", [(1, 2**31 - 1), (2**31 - 1, 1), (46340, 46340)])
def test_centers_of_the_largest_masks_are_exact(size: tuple[int, int]) -> None:
    whole = {"size": list(size), "counts": [0, size[0] * size[1]]}
    counts = coco_mask.frPyObjects(whole, *size)["counts"]
    middle = [(size[1] - 1) / 2, (size[0] - 1) / 2]
    assert rle.centers_of([counts] * 5, [size[0]] * 5).tolist() == [middle] * 5


def test_run_lengths_add_up_to_the_pixels_of_their_own_image() -> None:
    strings = [b"51", b"", b"32", b"6", b"O7"]  # 5 1, none, 3 2, 6, -1 7
    assert rle.add_up(strings, [6] * 5).tolist() == [True, False, False, True, False]
    assert rle.add_up(strings, [6, 0, 5, 7, 6]).tolist() == [True, True, True, False, False]
    assert rle.add_up([*strings, b"o"], [6] * 6).tolist() == [False] * 6
    assert rle.add_up([], []).tolist() == []


def test_run_lengths_whose_sum_leaves_64_bits_do_not_add_up() -> None:
    # From the second run on, two of 2**33 each, two of twice as many, and so on.
    counts = b"0" + b"PPPPPP8" * 2 * 46341
    total = sum(rle.read_runs([counts]).lengths.tolist())
    assert 2**64 <= total < 2**64 + 2**63
    assert not rle.add_up([counts], [total - 2**64])[0]


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
