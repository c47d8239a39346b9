"""Claims about pairs of an image and a PNG of ids."""

from pathlib import Path

import numpy as np
import pytest

from solojax.config import Category
from tests.data.foreign.scene import (
    HEIGHT,
    WIDTH,
    blobs,
    bring,
    masks,
    png,
    put,
    put_ids,
    put_pairs,
    raw,
    read,
    refusal,
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ids_of_a_pair_are_instances_pixel_by_pixel(dtype: type, source: Path, out: Path) -> None:
    values = [1, 2, 250] if dtype is np.uint8 else [1, 300, 65535]
    ids = blobs(*values, dtype=dtype)
    bring("pairs", put_pairs(source, ids), out, name="nucleus")
    found = read(out)
    assert found.categories == (Category(1, "nucleus"),)
    (image,) = found.images
    assert image.path == out / "images/a.jpg"
    np.testing.assert_array_equal(masks(image), [ids == value for value in values])
    assert not any(i.is_crowd for i in image.instances)


def test_class_of_a_pair_is_object_by_default(source: Path, out: Path) -> None:
    bring("pairs", put_pairs(source, blobs(4)), out)
    assert raw(out)["categories"] == [{"id": 1, "name": "object"}]


def test_divisor_parts_class_from_instance(source: Path, out: Path) -> None:
    ids = blobs(1000, 1001, 3007, 12)
    bring("pairs", put_pairs(source, ids), out, name="kind", divisor=1000)
    found = read(out)
    assert found.categories == (Category(0, "kind 0"), Category(1, "kind 1"), Category(3, "kind 3"))
    (image,) = found.images
    assert [i.label for i in image.instances] == [0, 1, 1, 2]
    np.testing.assert_array_equal(masks(image), [ids == v for v in (12, 1000, 1001, 3007)])


@pytest.mark.parametrize("layout", ["train/images", "images/train"])
def test_pairs_may_have_splits_above_or_below(layout: str, source: Path, out: Path) -> None:
    for split, value in (("train", 1000), ("val", 2000)):
        folder = source / layout.replace("train", split)
        put(folder / "deep/a.png", png(value))
        put_ids(Path(str(folder).replace("images", "masks")) / "deep/a.png", blobs(value))
    bring("pairs", source, out, divisor=1000)
    for split in ("train", "val"):
        assert [i["file_name"] for i in raw(out, split)["images"]] == [f"{split}/deep/a.png"]
        assert [c["id"] for c in raw(out, split)["categories"]] == [1, 2]


def test_mask_without_ids_is_an_image_without_instances(source: Path, out: Path) -> None:
    put_pairs(source, blobs(1))
    put_pairs(source, np.zeros((HEIGHT, WIDTH), np.uint8), "b")
    bring("pairs", source, out)
    assert [len(image.instances) for image in read(out).images] == [1, 0]


def test_mask_of_another_size_is_named(source: Path) -> None:
    message = refusal("pairs", put_pairs(source, blobs(1).T.copy()))
    assert "masks/a.png is 64x48 (height x width) where" in message
    assert "images/a.jpg is 48x64" in message


@pytest.mark.parametrize("bad", [b"", b"no image", png()], ids=["empty", "text", "colours"])
def test_mask_that_is_no_id_png_is_named(bad: bytes, source: Path) -> None:
    put_pairs(source, blobs(1))
    put(source / "masks/a.png", bad)
    assert "masks/a.png is no PNG of one channel" in refusal("pairs", source)


@pytest.mark.parametrize("kept", ["images/a.jpg", "masks/a.png"])
def test_half_of_a_pair_is_named(kept: str, source: Path) -> None:
    put_pairs(source, blobs(1))
    put_pairs(source, blobs(1), "b")
    (lost,) = {"images/a.jpg", "masks/a.png"} - {kept}
    (source / lost).unlink()
    assert f"{kept} is one of 1 files without a partner" in refusal("pairs", source)


def test_two_images_of_one_mask_are_refused(source: Path) -> None:
    put(put_pairs(source, blobs(1)) / "images/a.png", png())
    message = refusal("pairs", source)
    assert "a.png and" in message
    assert "differ by their endings alone" in message


def test_divisor_below_one_is_refused(source: Path) -> None:
    assert "the divisor 0 must be at least 1" in refusal(
        "pairs", put_pairs(source, blobs(1)), divisor=0
    )


def test_folder_without_images_is_named(source: Path) -> None:
    put(source / "pictures/a.png", png())
    assert "source/images: no such folder" in refusal("pairs", source)
