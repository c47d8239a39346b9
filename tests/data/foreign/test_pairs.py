"""Claims about pairs of an image and a PNG of ids."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data import rle
from solojax.data.foreign import pairs
from tests.data.foreign.scene import (
    HEIGHT,
    WIDTH,
    blobs,
    bring,
    found_in,
    lenient,
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


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "is empty"),
        (b"no image", "seems to be text"),
        (png(), "has colours, not one channel of ids"),
        (png(end=".jpg"), "is a JPEG, which changes ids"),
    ],
    ids=["empty", "text", "colours", "jpeg"],
)
def test_mask_without_ids_is_named(bad: bytes, why: str, source: Path) -> None:
    put_pairs(source, blobs(1))
    put(source / "masks/a.png", bad)
    message = refusal("pairs", source)
    assert "masks/a.png" in message
    assert why in message


@pytest.mark.parametrize("kept", ["images/a.jpg", "masks/a.png"])
def test_half_of_a_pair_is_named(kept: str, source: Path) -> None:
    put_pairs(source, blobs(1))
    put_pairs(source, blobs(1), "b")
    (lost,) = {"images/a.jpg", "masks/a.png"} - {kept}
    (source / lost).unlink()
    assert f"{kept} is a file without a partner" in refusal("pairs", source)


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
    assert "source has no folders images and masks" in refusal("pairs", source)


def put_mask(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_masks_may_be_tiffs_of_any_depth(kind: type, source: Path, out: Path) -> None:
    values = [1, 2, 200] if kind is np.uint8 else [1, 300, 60000 if kind is np.uint16 else 70000]
    put(source / "images/a.tif", png(end=".tif"))
    put_mask(source / "masks/a.tif", Image.fromarray(blobs(*values, dtype=kind)))
    bring("pairs", source, out)
    np.testing.assert_array_equal(
        masks(read(out).images[0]), [blobs(*values, dtype=kind) == value for value in values]
    )


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (blobs(1, 2, dtype=np.float32) / 2, "has fractions"),
        (blobs(-1, 2, dtype=np.int32), "value -1"),
    ],
)
def test_ids_that_are_none_are_named(ids: np.ndarray, words: str, source: Path) -> None:
    put(source / "images/a.tif", png(end=".tif"))
    put_mask(source / "masks/a.tif", Image.fromarray(ids))
    assert words in refusal("pairs", source)


def put_palette(source: Path, ids: np.ndarray, colours: list[int]) -> None:
    put(source / "images/a.jpg", png(end=".jpg"))
    image = Image.fromarray(ids, "P")
    image.putpalette(colours)
    put_mask(source / "masks/a.png", image)


def test_indices_of_a_palette_are_ids(source: Path, out: Path) -> None:
    ids = blobs(1, 2, 7, dtype=np.uint8)
    put_palette(source, ids, [0, 0, 0, 200, 0, 0, 0, 200, 0, *[9, 9, 9] * 5])
    bring("pairs", source, out)
    np.testing.assert_array_equal(masks(read(out).images[0]), [ids == v for v in (1, 2, 7)])


def test_seam_of_pascal_voc_is_left_out(source: Path) -> None:
    colours = [0, 0, 0, 128, 0, 0, *[7, 0, 0] * 253, 224, 224, 192]
    put_palette(source, blobs(1, 255, dtype=np.uint8), colours)
    split = pairs.read(source).splits["train"]
    assert len(split.pictures[0].instances) == 1
    assert list(found_in(split, "told").values())[0] == 1


def test_grays_of_a_palette_are_ids(source: Path) -> None:
    put_palette(source, blobs(1, 2, dtype=np.uint8), [0, 0, 0, 50, 50, 50, 30, 30, 30])
    (picture,) = pairs.read(source, divisor=1).splits["train"].pictures
    assert [i["category_id"] for i in picture.instances] == [30, 50]


def test_palettes_that_begin_bright_are_doubted(source: Path) -> None:
    ids = blobs(1, dtype=np.uint8)
    put_palette(source, ids, [255, 255, 255, 0, 0, 0])
    split = pairs.read(source).splits["train"]
    assert "whose colour 0 is not black" in next(iter(found_in(split, "doubtful")))
    assert split.pictures[0].instances[0]["area"] == ids.sum()


def test_index_of_a_gray_in_a_palette_of_colours_is_an_id(source: Path) -> None:
    put_palette(source, blobs(2, dtype=np.uint8), [0, 0, 0, 128, 0, 0, 128, 128, 128])
    split = pairs.read(source, divisor=1).splits["train"]
    assert [category["id"] for category in split.categories] == [2]


def test_inverted_masks_are_doubted(source: Path) -> None:
    put_pairs(source, 255 - spots(255))
    (what,) = found_in(pairs.read(source).splits["train"], "doubtful")
    assert "most of the image and reaches all its sides" in what
    put_pairs(source, spots(255))
    assert not found_in(pairs.read(source).splits["train"], "doubtful")


def test_first_of_several_pages_is_read_and_told(source: Path) -> None:
    put(source / "images/a.tif", png(end=".tif"))
    first, second = (Image.fromarray(blobs(*v, dtype=np.uint8)) for v in ([1, 2], [3]))
    put_mask(source / "masks/a.tif", first, save_all=True, append_images=[second])
    split = pairs.read(source).splits["train"]
    assert len(split.pictures[0].instances) == 2
    (finding,) = split.findings
    assert (finding.effect, finding.places) == ("doubtful", ("masks/a.tif: 2 pages",))


def spots(value: int) -> np.ndarray:
    """Three parts: a ring, a spot in it, and two squares that touch at a corner."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[5:25, 5:25], ids[8:22, 8:22], ids[12:15, 13:16] = value, 0, value
    ids[30:35, 30:35] = ids[35:40, 35:40] = value
    return ids


@pytest.mark.parametrize("one_bit", [False, True])
def test_parts_of_a_mask_that_knows_no_ids_are_instances(
    one_bit: bool, source: Path, out: Path
) -> None:
    put_pairs(source, spots(255))
    if one_bit:
        put_mask(source / "masks/a.png", Image.fromarray(spots(255) > 0))
    bring("pairs", source, out)
    found = masks(read(out).images[0])
    assert sorted(int(mask.sum()) for mask in found) == [9, 50, 400 - 196]
    np.testing.assert_array_equal(found.sum(0), spots(1))
    (what,) = found_in(pairs.read(source).splits["train"], "told")
    assert "the one value 255" in what and "--no-components" in what
    (picture,) = pairs.read(source, components=False).splits["train"].pictures
    assert len(picture.instances) == 1


def squares() -> np.ndarray:
    """Twenty squares of 4 pixels, 0 and 255."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for y in range(4, HEIGHT - 5, 10):
        for x in range(3, WIDTH - 5, 12):
            mask[y : y + 4, x : x + 4] = 255
    return mask


def as_jpeg(mask: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(
    "soft",
    [
        cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (32, 24), 18, 255, -1, cv2.LINE_AA),
        cv2.resize(cv2.resize(squares(), None, fx=2, fy=2), (WIDTH, HEIGHT)),
        cv2.resize(squares()[: HEIGHT // 2, : WIDTH // 2], (WIDTH, HEIGHT)),
        cv2.GaussianBlur(squares(), (5, 5), 0),
        as_jpeg(squares()),
    ],
    ids=["smooth", "thumbnail", "enlarged", "blurred", "jpeg"],
)
def test_soft_edges_are_no_ids(soft: np.ndarray, source: Path) -> None:
    assert len(np.unique(soft)) > 2
    put_pairs(source, soft)
    assert "the soft edges of a smoothed or JPEG image" in refusal("pairs", source)


def test_ids_in_whatever_pieces_are_no_soft_edges(source: Path) -> None:
    draw = np.random.default_rng(0)
    cells = np.resize(np.arange(1, 256, dtype=np.uint8), (15, 17))
    dense = np.kron(cells, np.ones((2, 2), np.uint8))
    pieces = np.kron(draw.permuted(np.tile(cells, (2, 2))), np.ones((3, 3), np.uint8))
    specks = np.zeros((40, 40), np.uint8)
    specks[::2, ::2] = draw.permutation(np.resize(np.arange(256, dtype=np.uint8), 400)).reshape(
        20, 20
    )
    classes = np.kron(draw.integers(0, 4, (9, 9)).astype(np.uint8), np.ones((5, 5), np.uint8))
    classes[::5] = classes[:, ::5] = 255  # a thin seam around thick classes
    for number, ids in enumerate((dense, pieces, specks, classes)):
        put(source / f"images/{number}.png", png(size=ids.shape))
        put_ids(source / f"masks/{number}.png", ids)
    counts = [len(picture.instances) for picture in pairs.read(source).splits["train"].pictures]
    assert counts == [255, 255, 255, 4]


def test_parts_of_ids_are_instances_where_asked_for(source: Path) -> None:
    put_pairs(source, spots(4))
    split = pairs.read(source).splits["train"]
    assert len(split.pictures[0].instances) == 1
    assert "give --components" in next(iter(found_in(split, "told")))
    put_pairs(source, np.maximum(spots(4), np.eye(HEIGHT, WIDTH, 60, dtype=np.uint8)), "b")
    (one, two) = pairs.read(source, components=True, divisor=2).splits["train"].pictures
    assert [i["category_id"] for i in one.instances] == [2, 2, 2]
    assert [i["category_id"] for i in two.instances] == [0, 2, 2, 2]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "a_cp_masks.png"),
        ("a.tif", "a_masks.tif"),
        ("000_img.png", "000_masks.png"),
        ("images/a.png", "Labels/a.png"),
        ("imgs/a.png", "ground truth/A.tif"),
        ("images/a.png", "masks/a_mask.png"),
        ("PNGImages/a.png", "PedMasks/a_mask.png"),
        ("images/a b ü.png", "masks/a b ü.png"),
        (f"images/{'ü' * 125}.png", f"masks/{'ü' * 125}.png"),
    ],
)
def test_masks_are_found_by_usual_names(image: str, mask: str, source: Path, out: Path) -> None:
    put(source / image, png(end=Path(image).suffix))
    put_mask(source / mask, Image.fromarray(blobs(1, 2, dtype=np.uint8)))
    bring("pairs", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == [Path(image).name]
    assert len(raw(out)["annotations"]) == 2


@pytest.mark.parametrize("layout", ["{0}/images/{0}.png {0}/masks/", "images/{0}.png masks/{0}/"])
def test_a_mask_for_each_instance(layout: str, source: Path, out: Path) -> None:
    for name in ("x1", "x2"):
        image, folder = layout.format(name).split()
        put(source / image, png(end=".png"))
        for value in (1, 2):
            put_ids(source / folder / f"{value}.png", (blobs(1, 2) == value) * np.uint8(255))
    bring("pairs", source, out)
    for image in read(out).images:
        np.testing.assert_array_equal(masks(image), [blobs(1, 2) == value for value in (1, 2)])


@pytest.mark.parametrize("others", [(), ("test",), ("test", "val")])
def test_splits_are_no_folders_of_one_image(others: tuple[str, ...], source: Path) -> None:
    for split in ("train", *others):
        put(source / split / "images/a.png", png(len(split)))
        put_ids(source / split / "masks/a.png", blobs(1, 2, 3))
    found = pairs.read(source).splits
    assert list(found) == ["train", *(split for split in others if split == "val")]
    for content in found.values():
        assert [len(picture.instances) for picture in content.pictures] == [3]
    (told,) = [f.places for f in found["train"].findings] or [("none",)]
    assert told == (others[:1] or ("none",))


def test_masks_of_ids_in_a_folder_for_each_image(source: Path) -> None:
    put(source / "scene/images/a.png", png())
    put_ids(source / "scene/masks/a.png", blobs(1, 2, 3))
    (picture,) = pairs.read(source).splits["train"].pictures
    assert len(picture.instances) == 3
    put_ids(source / "scene/masks/b.png", blobs(1))
    assert "masks/a.png has 3 ids, and is one of 2 masks of a.png" in refusal("pairs", source)


def test_what_programs_leave_is_not_read(source: Path) -> None:
    put_pairs(source, blobs(1, 2))
    for place in (".ipynb_checkpoints/a-checkpoint", "__MACOSX/b", "._a", "deep/.thumbs/x/c"):
        put(source / f"images/{place}.png", png())
        put(source / f"masks/{place}.tif", b"")
    (picture,) = pairs.read(source).splits["train"].pictures
    assert picture.name == "a.jpg"


def test_pickles_of_cellpose_are_refused(source: Path) -> None:
    put(source / "a.png", png())
    put(source / "a_seg.npy", b"\x93NUMPY")
    assert "a_seg.npy is a Python pickle, which can run programs" in refusal("pairs", source)


def test_long_names_without_a_partner_are_named(source: Path) -> None:
    put(source / f"images/{'x' * 250}.png", png())
    (source / "masks").mkdir()
    assert "is a file without a partner" in refusal("pairs", source)


def test_jpegs_for_masks_are_refused(source: Path) -> None:
    put(source / "images/a.png", png())
    put(source / "masks/a.jpg", png(end=".jpg"))
    assert "masks/a.jpg is a JPEG, which changes ids" in refusal("pairs", source)


def test_many_ids_cost_no_more_than_few() -> None:
    ids = np.kron(np.arange(90_000, dtype=np.uint32).reshape(300, 300), np.ones((3, 3), np.uint32))
    start = time.process_time()
    found = dict(rle.rles_of(ids))
    assert time.process_time() - start < 10  # a mask of the whole image for each would take minutes
    assert len(found) == ids.max()
    np.testing.assert_array_equal(coco_mask.decode(found[70_000]), ids == 70_000)


def test_what_has_no_partner_is_left_out_where_that_is_asked_for(source: Path, out: Path) -> None:
    put_pairs(source, blobs(255))
    put(source / "images/b.jpg", png(1, end=".jpg"))
    put_ids(source / "masks/c.png", blobs(255))
    assert "2 files without a partner" in refusal("pairs", source)
    bring("pairs", source, out, lenient(0.7))
    assert [one["file_name"] for one in raw(out)["images"]] == ["a.jpg"]
    listed = json.loads((out / "annotations/left_out.json").read_text())
    assert [one["file_name"] for one in listed] == ["b.jpg", "c.png"]


def test_class_maps_without_a_divisor_are_doubted_and_instances_are_not(source: Path) -> None:
    def scatter(value: int, ids: np.ndarray, places: list[tuple[int, int]]) -> None:
        for y, x in places:
            ids[y : y + 6, x : x + 7] = value

    corners = [(y, x) for y in (2, 14, 26, 38) for x in (2, 14, 26, 38, 50)]
    for number, stem in enumerate("abc"):
        ids = np.zeros((HEIGHT, WIDTH), np.uint8)
        scatter(1, ids, corners[number : number + 6])
        scatter(2, ids, corners[number + 8 : number + 14])
        put_pairs(source / "classes", ids, stem)
        put_pairs(source / "one", (ids == 1).view(np.uint8), stem)
        for place in range(1, 12):  # each by itself but for two that another one parts
            scatter(place, ids, corners[place : place + 1 + (place < 3)])
        put_pairs(source / "instances", ids, stem)
    (what,) = found_in(pairs.read(source / "classes").splits["train"], "doubtful")
    assert what.startswith("masks whose values, 2 in all, lie in 6.0 parts each on average")
    split = pairs.read(source / "classes", divisor=1, components=True).splits["train"]
    assert not found_in(split, "doubtful")
    assert [len(picture.instances) for picture in split.pictures] == [12] * 3
    (what,) = found_in(pairs.read(source / "one").splits["train"], "doubtful")
    assert what.startswith("masks whose values, 1 in all")
    assert not found_in(pairs.read(source / "instances").splits["train"], "doubtful")
