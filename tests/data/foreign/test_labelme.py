"""Claims about labelme: its shapes, its images wherever they are, its faults."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solojax.config import Category
from solojax.data.foreign import labelme
from tests.data.foreign.scene import (
    BOX,
    CIRCLE,
    HEIGHT,
    TRIANGLE,
    WIDTH,
    bring,
    content_of,
    drawn,
    masks,
    png,
    put,
    put_drawing,
    raw,
    read,
    refusal,
    shape,
)


def test_polygon_stays_the_polygon_it_was(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("cat", TRIANGLE), shape("dog", BOX, None))
    bring("labelme", source, out)
    assert [a["segmentation"] for a in raw(out)["annotations"]] == [
        [np.ravel(TRIANGLE).tolist()],
        [np.ravel(BOX).tolist()],
    ]
    (image,) = read(out).images
    np.testing.assert_array_equal(masks(image), [drawn(TRIANGLE), drawn(BOX)])


@pytest.mark.parametrize("corners", [(0, 2), (2, 0), (1, 3), (3, 1), (0, 1, 2, 3)])
def test_rectangle_is_given_by_any_opposite_corners(
    corners: tuple[int, ...], source: Path, out: Path
) -> None:
    put_drawing(source / "a.json", shape("x", [BOX[i] for i in corners], "rectangle"))
    bring("labelme", source, out)
    (found,) = raw(out)["annotations"]
    assert found["segmentation"] == [np.ravel(BOX).tolist()]
    assert found["bbox"] == [40, 10, 20, 15]
    assert found["area"] == 300
    assert found["iscrowd"] == 0


@pytest.mark.parametrize("radius", [1.5, 3.0, 10.0, 400.0, 5000.0])
def test_circle_is_off_by_less_than_half_a_pixel(radius: float, source: Path) -> None:
    put_drawing(source / "a.json", shape("x", [[20.5, 20], [20.5, 20 + radius]], "circle"))
    (found,) = labelme.read(source).splits["train"].pictures[0].instances
    (polygon,) = found["segmentation"]
    corners = np.reshape(polygon, (-1, 2))
    middles = (corners + np.roll(corners, 1, 0)) / 2  # where a polygon is furthest from its circle
    away = np.hypot(*(np.concatenate([corners, middles]) - [20.5, 20]).T)
    assert np.abs(away - radius).max() < min(0.5, 1.01 * labelme.CIRCLE_ERROR)


def test_circle_covers_its_disc(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", CIRCLE, "circle"))
    bring("labelme", source, out)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = np.hypot(x - 40, y - 36) <= 10
    (mask,) = masks(read(out).images[0]).astype(bool)
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95


def test_shapes_of_a_group_are_one_instance(source: Path, out: Path) -> None:
    put_drawing(
        source / "a.json",
        shape("cat", TRIANGLE, group_id=1),
        shape("cat", CIRCLE, "circle", group_id=2),
        shape("cat", [BOX[0], BOX[2]], "rectangle", group_id=1),
        shape("dog", TRIANGLE, group_id=1),
        shape("dog", BOX, group_id=None),
        shape("dog", BOX, group_id=None),
    )
    bring("labelme", source, out)
    (image,) = read(out).images
    assert [i.label for i in image.instances] == [0, 0, 1, 1, 1]
    found = masks(image)
    np.testing.assert_array_equal(found[0], drawn(TRIANGLE) | drawn(BOX))
    np.testing.assert_array_equal(found[2], drawn(TRIANGLE))
    assert len(raw(out)["annotations"][0]["segmentation"]) == 2


def test_labels_are_numbered_by_name_over_both_splits(source: Path, out: Path) -> None:
    put_drawing(source / "train/a.json", shape("dog", TRIANGLE), shape("ant", [[1, 1]], "point"))
    put_drawing(source / "val/a.json", shape("cat", BOX), image=png(1))
    bring("labelme", source, out)
    for split, label in (("train", 1), ("val", 0)):
        found = read(out, split)
        assert found.categories == (Category(1, "cat"), Category(2, "dog"))
        assert [i.label for i in found.images[0].instances] == [label]
        assert found.images[0].path == out / f"images/{split}/a.png"


def test_labels_are_numbered_in_the_order_of_their_names(source: Path, out: Path) -> None:
    names = "fox eel dog cat bee ant".split()
    put_drawing(source / "a.json", *[shape(name, BOX) for name in names])
    bring("labelme", source, out)
    assert [c.name for c in read(out).categories] == sorted(names)
    assert [a["category_id"] for a in raw(out)["annotations"]] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("folders", [("",), ("train",), ("val",), ("cats", "dogs/old")])
def test_drawings_in_other_folders_are_all_train(
    folders: tuple[str, ...], source: Path, out: Path
) -> None:
    for folder in folders:
        put_drawing(source / folder / "a.json", shape("x", BOX))
    bring("labelme", source, out)
    assert [i.path for i in read(out).images] == [out / "images" / f / "a.png" for f in folders]
    assert not (out / "annotations/instances_val.json").exists()


@pytest.mark.parametrize(
    "named",
    ["pictures\\b.png", "pictures/b.png", "..\\source\\pictures\\b.png", "./pictures//b.png"],
)
def test_image_path_may_be_of_windows_or_roundabout(named: str, source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), image=b"", imagePath=named)
    put(source / "pictures/b.png", png(5))
    bring("labelme", source, out)
    assert content_of(out / "images") == {"pictures/b.png": png(5)}


@pytest.mark.parametrize(
    "named", ["C:\\me\\a.png", "/home/me/a.png", "..\\..\\a.png", "/etc/../a.png", "../other/a.png"]
)
def test_image_path_that_leads_outside_means_the_file_beside(
    named: str, source: Path, out: Path
) -> None:
    put(source.parent / "other/a.png", png(9))
    put_drawing(source / "sub/a.json", shape("x", BOX), imagePath=named, image=png(4))
    if named == "../other/a.png":
        put_drawing(source / "a.json", shape("x", BOX), imagePath=named, image=png(4))
    bring("labelme", source, out)
    assert set(content_of(out / "images").values()) == {png(4)}


def test_embedded_image_is_decoded_to_its_bytes(source: Path, out: Path) -> None:
    data = base64.b64encode(png(6)).decode()
    put_drawing(source / "s/a.json", shape("x", BOX), image=b"", imageData=data)
    bring("labelme", source, out)
    assert content_of(out / "images") == {"s/a.png": png(6)}
    assert read(out).images[0].width == WIDTH


def test_image_file_precedes_the_embedded_one(source: Path, out: Path) -> None:
    data = base64.b64encode(png(6)).decode()
    put_drawing(source / "a.json", shape("x", BOX), image=png(7), imageData=data)
    bring("labelme", source, out)
    assert content_of(out / "images") == {"a.png": png(7)}


@pytest.mark.parametrize(
    "stated", [{}, {"imageHeight": 3, "imageWidth": 5}, {"imageHeight": None, "imageWidth": "x"}]
)
def test_size_of_the_image_counts_not_the_stated_one(stated: dict, source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), **stated)
    bring("labelme", source, out)
    (image,) = read(out).images
    assert (image.height, image.width) == (HEIGHT, WIDTH)


def test_masks_are_in_the_frame_of_the_turned_image(source: Path, out: Path) -> None:
    jpeg = png(end=".jpg", size=(WIDTH, HEIGHT))
    # A TIFF header, and a directory of one entry: orientation (0x112), a short, 1 of it, 6.
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    put_drawing(source / "a.json", shape("x", BOX), image=b"", imagePath="a.jpg")
    put(source / "a.jpg", turned)
    bring("labelme", source, out)
    (image,) = read(out).images
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(masks(image), [drawn(BOX)])
    assert content_of(out / "images") == {"a.jpg": turned}


def test_image_without_shapes_is_kept(source: Path, out: Path) -> None:
    put_drawing(source / "a.json")
    put_drawing(source / "b.json", shape("x", BOX))
    bring("labelme", source, out)
    assert [len(image.instances) for image in read(out).images] == [0, 1]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("x", [[1, 1], [9, 9]], "line"), "shape of type line"),
        (shape("x", [[1, 1]], "point"), "shape of type point"),
        (shape("x", BOX, "linestrip"), "shape of type linestrip"),
        (shape("x", BOX, "mask"), "shape of type mask"),
        (shape("x", [[1, 1], [9, 9]]), "polygon of fewer than 3 points"),
        (shape("x", [[1, 1]], "rectangle"), "rectangle of fewer than 2 points"),
        (shape("x", [], "circle"), "circle of fewer than 2 points"),
        (shape("x", [[5, 5], [5, 5], [5, 5]]), "mask without a pixel"),
        (shape("x", [[9, 9], [9, 9]], "rectangle"), "mask without a pixel"),
        (shape("x", [[9, 9], [9, 9]], "circle"), "mask without a pixel"),
        (shape("x", [[900, 900], [900, 950], [950, 950]]), "mask without a pixel"),
    ],
)  # fmt: skip
def test_shape_without_a_mask_is_skipped(bad: dict, reason: str, source: Path) -> None:
    put_drawing(source / "a.json", bad, shape("y", BOX), bad)
    found = labelme.read(source).splits["train"]
    assert found.skipped == {reason: 2}
    assert len(found.pictures[0].instances) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be parsed"),
        ("[" * 100_000, "cannot be parsed"),
        ("[]", "is not labelme's"),
        ('{"images": []}', "is not labelme's"),
        ('{"shapes": []}', "no 'imagePath'"),
        ('{"shapes": [3], "imagePath": "a.png"}', "shapes[0] has no 'label'"),
        ('{"shapes": [{"label": "x"}], "imagePath": "a.png"}', "no 'points'"),
        ('{"shapes": [{"label": 1, "points": []}], "imagePath": "a.png"}', "no 'label'"),
    ],
)
def test_file_that_is_not_labelmes_is_named(content: str, words: str, source: Path) -> None:
    put_drawing(source / "b.json", shape("x", BOX))
    put(source / "a.json", content)
    message = refusal("labelme", source)
    assert "a.json" in message
    assert words in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9, 10**400, "3", None, True])
def test_coordinate_that_is_no_number_is_named(value: Any, source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), shape("x", [[1, 1], [9, value], [5, 5]]))
    message = refusal("labelme", source)
    assert "a.json: shapes[1]: a coordinate is no number" in message


@pytest.mark.parametrize("point", [[1], [1, 2, 3], []])
def test_point_of_other_than_two_numbers_is_named(point: list, source: Path) -> None:
    put_drawing(source / "a.json", shape("x", [*TRIANGLE, point]))
    assert "shapes[0] has a point that is not [x, y]" in refusal("labelme", source)


def test_missing_image_is_named(source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), image=b"")
    assert "a.json: the image 'a.png' is missing" in refusal("labelme", source)


@pytest.mark.parametrize("data", ["abc", 3, ["x"]])
def test_embedded_image_that_is_not_base64_is_named(data: Any, source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), image=b"", imageData=data)
    assert "a.json: imageData is not base64" in refusal("labelme", source)


@pytest.mark.parametrize("named", ["", "..", "../..", "a/..", "a\0b"])
def test_embedded_image_without_a_name_of_a_file_is_refused(named: str, source: Path) -> None:
    data = base64.b64encode(png()).decode()
    put_drawing(source / "a.json", shape("x", BOX), imagePath=named, imageData=data)
    assert "leads out of the folder of images" in refusal("labelme", source)


def test_two_drawings_of_one_image_are_refused(source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX))
    put_drawing(source / "b.json", shape("x", BOX), imagePath="a.png")
    message = refusal("labelme", source)
    assert "a.json" in message
    assert "b.json both become images/a.png" in message
