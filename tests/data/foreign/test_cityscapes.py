"""Claims about Cityscapes: its ids pixel by pixel."""

from pathlib import Path

import numpy as np

from solojax.config import Category
from solojax.data.foreign import cityscapes
from tests.data.foreign.scene import (
    HEIGHT,
    WIDTH,
    blobs,
    bring,
    lost,
    masks,
    put_city,
    put_pairs,
    raw,
    read,
    refusal,
)


def test_cityscapes_instances_are_pixel_exact(source: Path, out: Path) -> None:
    values = [7, 24000, 24001, 26000, 26, 33012, 25]
    ids = blobs(*values)
    put_city(source, ids)
    put_city(source, blobs(31000), "val", "bonn")
    put_city(source, ids, "test")
    bring("cityscapes", source, out)
    found = read(out)
    assert found.categories == tuple(Category(i, n) for i, n in cityscapes.SCORED.items())
    (image,) = found.images
    assert image.path == out / "images/train/ulm/ulm_000000_000019_leftImg8bit.png"
    expected = [v for v in sorted(values) if v != 7]
    np.testing.assert_array_equal(masks(image), [ids == value for value in expected])
    assert [i.is_crowd for i in image.instances] == [True, True, False, False, False, False]
    categories = [a["category_id"] for a in raw(out)["annotations"]]
    assert categories == [25, 26, 24, 24, 26, 33]
    assert len(read(out, "val").images) == 1


def test_compressed_run_lengths_are_text_with_tight_boxes(source: Path, out: Path) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    ids[10:30, 20:25] = 26000
    bring("cityscapes", put_city(source, ids), out)
    (found,) = raw(out)["annotations"]
    assert found["segmentation"]["size"] == [HEIGHT, WIDTH]
    assert isinstance(found["segmentation"]["counts"], str)
    assert found["bbox"] == [20, 10, 5, 20]
    assert found["area"] == 100


def test_caravans_and_trailers_are_left_out_and_counted(source: Path) -> None:
    put_city(source, blobs(29000, 29001, 30, 26000, 65535, 4))
    found = cityscapes.read(source).splits["train"]
    assert [i["category_id"] for i in found.pictures[0].instances] == [26]
    assert lost(found) == {
        "caravan, which the benchmark does not score": 2,
        "trailer, which the benchmark does not score": 1,
    }


def test_cityscapes_file_without_a_partner_is_named(source: Path) -> None:
    put_city(source, blobs(26000))
    put_city(source, blobs(26000), city="bonn")
    (source / "gtFine/train/bonn/bonn_000000_000019_gtFine_instanceIds.png").unlink()
    message = refusal("cityscapes", source)
    assert "bonn_000000_000019_leftImg8bit.png is a file without a partner" in message
    (source / "leftImg8bit/train/bonn/bonn_000000_000019_leftImg8bit.png").unlink()
    (source / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png").unlink()
    assert "ulm_000000_000019_gtFine_instanceIds.png is a file" in refusal("cityscapes", source)


def test_folder_that_is_not_cityscapes_is_refused(source: Path) -> None:
    message = refusal("cityscapes", put_pairs(source, blobs(1)))
    assert "has no leftImg8bit/train or leftImg8bit/val" in message
