"""Claims about labelme: its shapes, its images wherever they are, its faults."""

import base64
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from solojax.config import Category
from solojax.data.foreign import labelme, regions
from tests.data.foreign.scene import (
    BOX,
    CIRCLE,
    HEIGHT,
    TRIANGLE,
    WIDTH,
    bring,
    content_of,
    drawn,
    found_in,
    lost,
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
    assert np.abs(away - radius).max() < min(0.5, 1.01 * regions.CURVE_ERROR)


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
        (shape(" ", BOX), "shape without a label"),
        (shape("x", BOX, "linestrip"), "shape of type linestrip"),
        (shape("x", BOX, "mask"), "mask shape without its mask"),
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
    assert lost(found) == {reason: 2}
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
        ('{"shapes": [{"label": true, "points": []}], "imagePath": "a.png"}', "no 'label'"),
        ('{"shapes": [{"label": null, "points": []}], "imagePath": "a.png"}', "no 'label'"),
        ('{"shapes": [], "imagePath": 3}', "no 'imagePath'"),
        (b'{"shapes": [], "imagePath": "\xb0\xa1.png"}', "is not UTF-8 (byte 0xb0 at 29); save it"),
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


@pytest.mark.parametrize("named", ["..", "../..", "a/..", "a\0b"])
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


def mask_of(drawn: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", drawn.astype(np.uint8) * 255)[1]).decode()


PATCH = np.tri(8, 5, dtype=np.uint8)  # of rows 3 to 10 and columns 20 to 24
AI = shape("x", [[20.0, 3.0], [24.0, 10.0]], "mask", mask=mask_of(PATCH))


def test_ai_mask_lies_where_its_points_say(source: Path, out: Path) -> None:
    url = {**AI, "mask": "data:image/png;base64," + AI["mask"]}
    short = {**AI, "points": [[20, 3], [25, 11]]}  # as some programs count
    put_drawing(source / "a.json", AI, url, short)
    bring("labelme", source, out)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:11, 20:25] = PATCH
    np.testing.assert_array_equal(masks(read(out).images[0]), [expected] * 3)


@pytest.mark.parametrize(("x", "y"), [(-2, -3), (WIDTH - 2, HEIGHT - 3)])
def test_ai_mask_is_cut_to_its_image(x: int, y: int, source: Path, out: Path) -> None:
    put_drawing(source / "a.json", {**AI, "points": [[x, y], [x + 4, y + 7]]})
    bring("labelme", source, out)
    padded = np.zeros((HEIGHT + 40, WIDTH + 40), np.uint8)
    padded[20 + y : 28 + y, 20 + x : 25 + x] = PATCH
    np.testing.assert_array_equal(masks(read(out).images[0])[0], padded[20:-20, 20:-20])


def test_ai_mask_outside_of_its_image_is_skipped(source: Path) -> None:
    put_drawing(source / "a.json", {**AI, "points": [[900, 3], [904, 10]]}, shape("x", BOX))
    assert lost(labelme.read(source).splits["train"]) == {"mask without a pixel": 1}


def test_masks_and_polygons_of_a_group_are_one_instance(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", {**AI, "group_id": 3}, shape("x", BOX, group_id=3))
    bring("labelme", source, out)
    (mask,) = masks(read(out).images[0])
    assert mask.sum() == PATCH.sum() + drawn(BOX).sum()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": "abc"}, "mask is not base64"),
        ({"mask": base64.b64encode(b"no image").decode()}, "mask is no image"),
        ({"points": [[20, 3], [40, 10]]}, "its mask is 5x8 where its points span 21x8"),
    ],
)
def test_bad_ai_mask_is_named(change: dict, words: str, source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), {**AI, **change})
    message = refusal("labelme", source)
    assert "a.json: shapes[1]" in message
    assert words in message


TURNED = [[20.0, 5.0], [40.0, 15.0], [35.0, 25.0], [15.0, 15.0]]


@pytest.mark.parametrize("kind", ["rotation", "oriented rectangle", "oriented_rectangle"])
def test_rotated_box_is_the_polygon_of_its_corners(kind: str, source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", TURNED, kind, direction=0.5))
    put_drawing(source / "b.json", shape("x", TURNED, "rectangle"))
    bring("labelme", source, out)
    for image in read(out).images:
        np.testing.assert_array_equal(masks(image), [drawn(TURNED)])


def test_two_corners_and_an_angle_are_skipped(source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX[::2], "rectangle", rotation=30), shape("x", BOX))
    (reason,) = lost(labelme.read(source).splits["train"])
    assert "turned by 30 of an unknown unit" in reason


def test_labels_may_be_numbers(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape(10, BOX), shape("10", BOX), shape(9, BOX))  # type: ignore[arg-type]
    bring("labelme", source, out)
    assert [c.name for c in read(out).categories] == ["9", "10"]
    assert [a["category_id"] for a in raw(out)["annotations"]] == [2, 2, 1]
    split = labelme.read(source).splits["train"]
    assert found_in(split, "repaired") == {"labels that are numbers, read as text": 2}


def test_labels_that_look_alike_are_told_of(source: Path) -> None:
    put_drawing(source / "a.json", *[shape(name, BOX) for name in ("cat", "Cat", "cat ", "dog")])
    (finding,) = labelme.read(source).splits["train"].findings
    assert (finding.effect, finding.places) == ("doubtful", ("'Cat', 'cat', 'cat '",))


def test_flags_and_labels_of_no_object_are_counted(source: Path) -> None:
    flagged = shape("x", BOX, flags={"crowd": True, "hidden": False})
    put_drawing(source / "a.json", flagged, shape("__ignore__", BOX), flags={"dark": True})
    split = labelme.read(source).splits["train"]
    assert list(found_in(split, "told").values()) == [1, 1]
    assert lost(split) == {"shape of the label __ignore__, which stands for no object": 1}
    assert len(split.pictures[0].instances) == 1


def test_image_of_another_size_than_stated_is_told_of(source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), imageHeight=2 * HEIGHT, imageWidth=2 * WIDTH)
    (finding,) = labelme.read(source).splits["train"].findings
    assert (finding.effect, finding.places) == ("doubtful", ("a.png is 64x48, not 128x96",))


def test_points_of_the_image_as_stored_are_read_so(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), imageHeight=HEIGHT, imageWidth=WIDTH, image=b"")
    turned = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(turned, "JPEG", exif=exif)
    put(source / "a.jpg", turned.getvalue())
    bring("labelme", source, out)
    assert [(i["height"], i["width"]) for i in raw(out)["images"]] == [(HEIGHT, WIDTH)]


def test_image_is_found_whatever_the_case_of_its_name(source: Path, out: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX), image=b"", imagePath="A.jpg")
    put(source / "a.JPG", png(end=".jpg"))
    bring("labelme", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["a.JPG"]


@pytest.mark.parametrize("named", ["before.jpg", "", None])
def test_image_that_was_renamed_with_its_drawing_is_found(
    named: str | None, source: Path, out: Path
) -> None:
    put_drawing(source / "a.json", shape("x", BOX), imagePath=named)
    bring("labelme", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["a.png"]
    assert list(found_in(labelme.read(source).splits["train"], "repaired").values()) == [1]


@pytest.mark.parametrize("layout", ["{}/a", "{}/train/a", "train/{}/a"])
def test_image_may_lie_in_images_beside_the_folder_of_labels(layout: str, source: Path) -> None:
    put(source / f"{layout.format('Images')}.png", png())
    put_drawing(source / f"{layout.format('labels')}.json", shape("x", BOX), image=b"")
    (picture,) = labelme.read(source).splits["train"].pictures
    assert picture.name == f"{layout.format('Images')}.png"


def test_what_is_left_out_of_a_folder_is_named(source: Path) -> None:
    put_drawing(source / "a.json", shape("x", BOX))
    put(source / "b.png", png(2))
    put(source / "c.xcf", b"gimp")
    put(source / "classes.txt", "x")
    found = {f.what: f.places for f in labelme.read(source).splits["train"].findings}
    assert found == {
        "images that no file describes left out": ("b.png",),
        "files left out: no images by their ending (.xcf)": ("c.xcf",),
    }


@pytest.mark.parametrize(
    "names", [("train", "valid"), ("Train", "Val"), ("training", "validation")]
)
def test_folders_of_the_splits_have_several_spellings(
    names: tuple[str, str], source: Path, out: Path
) -> None:
    for seed, name in enumerate(names):
        put_drawing(source / name / "a.json", shape("x", BOX), image=png(seed))
    bring("labelme", source, out)
    for name, split in zip(names, ("train", "val"), strict=True):
        assert [i["file_name"] for i in raw(out, split)["images"]] == [f"{name}/a.png"]
