"""Claims about importing other forms: a scene written in each of them comes back as it was."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask

from solojax.config import Category
from solojax.data import annotations, foreign, rle
from solojax.types import InputError

HEIGHT, WIDTH = 48, 64
TRIANGLE = [[5.0, 5.0], [30.5, 8.0], [12.0, 30.25]]
BOX = [[40.0, 10.0], [60.0, 10.0], [60.0, 25.0], [40.0, 25.0]]  # clockwise from the upper left
CIRCLE = [[40.0, 36.0], [50.0, 36.0]]  # its centre, and a point on it


# The scene and its forms


def png(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH), end: str = ".png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode(end, pixels)[1].tobytes()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_ids(path: Path, ids: np.ndarray) -> Path:
    return put(path, cv2.imencode(".png", ids)[1].tobytes())


def shape(label: str, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def put_drawing(path: Path, *shapes: dict, image: bytes | None = None, **more: Any) -> Path:
    """A labelme file, and its image beside it unless ``image`` is empty."""
    if image != b"":
        put(path.with_suffix(".png"), image or png())
    content = {"shapes": shapes, "imagePath": f"{path.stem}.png", "imageData": None, **more}
    return put(path, json.dumps(content))


def yolo_line(index: int, points: list[list[float]]) -> str:
    scaled = (np.array(points) / [WIDTH, HEIGHT]).ravel()
    return " ".join(map(str, [index, *scaled.tolist()]))


def put_yolo(root: Path, lines: str | None = None, **changes: Any) -> Path:
    about = {"path": ".", "train": "images/train", "val": "images/val", "names": ["cat", "dog"]}
    about = {k: v for k, v in {**about, **changes}.items() if v is not None}
    put(root / "data.yaml", yaml.safe_dump(about))
    for seed, split in enumerate(("train", "val")):
        put(root / f"images/{split}/a.png", png(seed))
        both = f"{yolo_line(0, TRIANGLE)}\n{yolo_line(1, BOX)}\n"
        put(root / f"labels/{split}/a.txt", both if lines is None else lines)
    return root


def blobs(*values: int, dtype: type = np.uint16) -> np.ndarray:
    """Ids in touching blobs of odd outlines, background between some of them."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).random((HEIGHT, WIDTH)), (0, 0), 4)
    rank = np.argsort(np.argsort(noise.ravel())).reshape(noise.shape)
    return np.array([0, *values], dtype)[rank * (len(values) + 1) // rank.size]


def put_city(root: Path, ids: np.ndarray, split: str = "train", city: str = "ulm") -> Path:
    frame = f"{split}/{city}/{city}_000000_000019"
    put(root / f"leftImg8bit/{frame}_leftImg8bit.png", png())
    put_ids(root / f"gtFine/{frame}_gtFine_instanceIds.png", ids)
    put_ids(root / f"gtFine/{frame}_gtFine_labelIds.png", ids)
    return root


def put_pairs(root: Path, ids: np.ndarray, stem: str = "a") -> Path:
    put(root / f"images/{stem}.jpg", png(end=".jpg"))
    put_ids(root / f"masks/{stem}.png", ids)
    return root


def lvis(**changes: Any) -> dict[str, Any]:
    flat = np.ravel(TRIANGLE).tolist()
    return {
        "info": {"version": "v1", "description": "LVIS"},
        "licenses": [{"id": 1, "name": "by"}],
        "images": [
            {
                "id": 397133,
                "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "neg_category_ids": [7],
                "not_exhaustive_category_ids": [3],
            }
        ],
        "annotations": [
            {
                "id": 12,
                "image_id": 397133,
                "category_id": 1203,
                "segmentation": [flat],
                "bbox": [5.0, 5.0, 25.5, 25.25],
                "area": 290.5,
            }
        ],
        "categories": [
            {"id": 1203, "name": "zucchini", "frequency": "c", "synset": "courgette.n.02"},
            {"id": 7, "name": "aerosol_can", "frequency": "r", "synset": "aerosol.n.02"},
        ],
        **changes,
    }


def put_lvis(root: Path, content: dict[str, Any] | None = None, split: str = "val") -> Path:
    put(root / f"lvis_v1_{split}.json", json.dumps(content or lvis()))
    put(root / "val2017/000000397133.jpg", png(end=".jpg"))
    return root


# Reading back


def bring(form: str, source: Path, out: Path, **options: Any) -> None:
    foreign.write(foreign.FORMS[form](source, **options), out)


def read(out: Path, split: str = "train") -> annotations.Annotations:
    return annotations.read(out / f"annotations/instances_{split}.json", out / "images")


def raw(out: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((out / f"annotations/instances_{split}.json").read_bytes())


def masks(image: annotations.Image) -> np.ndarray:
    return rle.decode([i.rle for i in image.instances], image.height, image.width)


def drawn(points: list[list[float]], size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects([np.ravel(points).tolist()], *size))[..., 0]


def content_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refusal(form: str, source: Path, **options: Any) -> str:
    """The one line of an import that fails; nothing has been written then."""
    out = source.parent / "refused"
    with pytest.raises(InputError) as caught:
        bring(form, source, out, **options)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def put_any(form: str, source: Path) -> Path:
    match form:
        case "labelme":
            put_drawing(source / "a.json", shape("cat", TRIANGLE), shape("cat", [[1, 1]], "point"))
        case "yolo":
            put_yolo(source)
        case "cityscapes":
            put_city(source, blobs(24000, 26001, 26))
        case "lvis":
            put_lvis(source)
        case _:
            put_pairs(source, blobs(3, 8, 700))
    return source


# Every form


@pytest.mark.parametrize("form", foreign.FORMS)
def test_image_files_are_copied_byte_by_byte(form: str, source: Path, out: Path) -> None:
    given = {v for k, v in content_of(put_any(form, source)).items() if "mask" not in k}
    bring(form, source, out)
    images = content_of(out / "images")
    assert images
    assert set(images.values()) <= given


@pytest.mark.parametrize("form", foreign.FORMS)
def test_importing_again_gives_the_same_bytes(form: str, source: Path, out: Path) -> None:
    put_any(form, source)
    bring(form, source, out)
    once = content_of(out)
    bring(form, source, out)
    assert content_of(out) == once
    bring(form, source, out.with_name("elsewhere"))
    assert content_of(out.with_name("elsewhere")) == once


@pytest.mark.parametrize("form", foreign.FORMS)
def test_annotations_have_all_that_coco_asks_for(form: str, source: Path, out: Path) -> None:
    bring(form, put_any(form, source), out)
    content = raw(out, "val" if form == "lvis" else "train")
    keys = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"}
    assert all(set(annotation) == keys for annotation in content["annotations"])
    assert all(len(annotation["bbox"]) == 4 for annotation in content["annotations"])
    assert content["info"]["description"] == foreign.DESCRIPTION
    assert content["info"]["form"] == form


@pytest.mark.parametrize("form", foreign.FORMS)
def test_missing_source_is_named(form: str, source: Path) -> None:
    message = refusal(form, source)
    assert str(source) in message
    assert "no such" in message


@pytest.mark.parametrize("form", foreign.FORMS)
def test_empty_source_is_refused(form: str, source: Path) -> None:
    source.mkdir()
    assert str(source) in refusal(form, source)


@pytest.mark.parametrize("form", foreign.FORMS)
def test_damaged_image_is_named(form: str, source: Path) -> None:
    put_any(form, source)
    files = [path for path in sorted(source.rglob("*")) if path.suffix in (".jpg", ".png")]
    image = next(path for path in files if "gtFine" not in path.parts)
    image.write_bytes(b"no image")
    message = refusal(form, source)
    assert image.name in message
    assert "is damaged or no image" in message


# Writing


def test_annotations_by_others_are_never_overwritten(source: Path, out: Path) -> None:
    put_any("labelme", source)
    theirs = put(out / "annotations/instances_val.json", '{"info": {"description": "mine"}}')
    with pytest.raises(InputError, match=r"instances_val\.json is not by this importer"):
        bring("labelme", source, out)
    assert list(content_of(out)) == ["annotations/instances_val.json"]
    theirs.write_text('{"info": []}')
    with pytest.raises(InputError, match="is not by this importer"):
        bring("labelme", source, out)


def test_images_by_others_are_never_overwritten(source: Path, out: Path) -> None:
    put_any("labelme", source)
    theirs = put(out / "images/a.png", b"mine")
    with pytest.raises(InputError, match=r"a\.png is there already"):
        bring("labelme", source, out)
    assert content_of(out) == {"images/a.png": b"mine"}
    theirs.write_bytes(png())
    bring("labelme", source, out)
    assert len(read(out).images) == 1


def test_val_of_an_earlier_import_goes_when_the_set_has_none(source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source), out)
    assert len(read(out, "val").images) == 1
    bring("yolo", put_yolo(source, val=None), out)
    assert not (out / "annotations/instances_val.json").exists()
    assert len(read(out).images) == 1


def test_output_within_the_source_is_refused(source: Path) -> None:
    put_any("labelme", source)
    before = content_of(source)
    link = source.with_name("link")
    link.symlink_to(source)
    pairs = [(source, source), (source, source / "x/../coco"), (source, link), (link, source / "x")]
    for given, inside in pairs:
        with pytest.raises(InputError, match="choose a folder outside of it"):
            bring("labelme", given, inside)
    assert content_of(source) == before


def test_nothing_half_written_stays(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_any("labelme", source)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(foreign.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        bring("labelme", source, out)
    assert content_of(out) == {}


def test_skips_are_counted_and_printed(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_any("labelme", source)
    found = foreign.read_labelme(source)
    assert found.splits["train"].skipped == {"shape of type point": 1}
    foreign.write(found, out)
    path = out / "annotations/instances_train.json"
    assert capsys.readouterr().out == f"{path}: 1 instances skipped: shape of type point\n"


def test_set_without_a_mask_tells_why(source: Path) -> None:
    message = refusal("yolo", put_yolo(source, lines="0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n"))
    assert "train has no instance with a mask (2 skipped: box without a mask)" in message


# labelme


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
    (found,) = foreign.read_labelme(source).splits["train"].pictures[0].instances
    (polygon,) = found["segmentation"]
    corners = np.reshape(polygon, (-1, 2))
    middles = (corners + np.roll(corners, 1, 0)) / 2  # where a polygon is furthest from its circle
    away = np.hypot(*(np.concatenate([corners, middles]) - [20.5, 20]).T)
    assert np.abs(away - radius).max() < min(0.5, 1.01 * foreign.CIRCLE_ERROR)


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
    found = foreign.read_labelme(source).splits["train"]
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


# YOLO


@pytest.mark.parametrize("named", ["folder", "file"])
def test_yolo_set_keeps_polygons_names_and_ids(named: str, source: Path, out: Path) -> None:
    put_yolo(source)
    bring("yolo", source if named == "folder" else source / "data.yaml", out)
    for split in ("train", "val"):
        found = read(out, split)
        assert found.categories == (Category(0, "cat"), Category(1, "dog"))
        (image,) = found.images
        assert image.path == out / f"images/{split}/a.png"
        assert [i.label for i in image.instances] == [0, 1]
        np.testing.assert_array_equal(masks(image), [drawn(TRIANGLE), drawn(BOX)])
    polygons = [np.ravel(a["segmentation"]) for a in raw(out)["annotations"]]
    np.testing.assert_allclose(polygons[0], np.ravel(TRIANGLE), rtol=1e-12)


def test_names_may_be_a_dict_with_gaps(source: Path, out: Path) -> None:
    put_yolo(source, names={7: "late", 0: "cat", 1: 2017})
    bring("yolo", source, out)
    assert raw(out)["categories"] == [
        {"id": 0, "name": "cat"},
        {"id": 1, "name": "2017"},
        {"id": 7, "name": "late"},
    ]


@pytest.mark.parametrize(
    "train",
    [
        "images/train",
        "images/train/",
        ["images/train"],
        ["images/train", "images/more"],
        "train.txt",
        "lists\\train.txt",
        ["train.txt", "images/more"],
        "../images/train",
        "absolute",
        "absolute list",
    ],
)
def test_train_may_be_folders_or_lists(train: Any, source: Path, out: Path) -> None:
    put(source / "images/more/c.png", png(3))
    put(source / "labels/more/c.txt", yolo_line(1, BOX))
    put(source / "train.txt", "./images/train/a.png\n\nimages/train/a.png\n")
    put(source / "lists/train.txt", "\ufeffimages\\train\\a.png\r\n")
    put(source / "all.txt", str(source / "images/train/a.png"))
    absolute = {"absolute": "images/train", "absolute list": "all.txt"}
    entry = str(source / absolute[train]) if str(train) in absolute else train
    bring("yolo", put_yolo(source, train=entry), out)
    more = ["more/c.png"] if "images/more" in train else []
    assert [i["file_name"] for i in raw(out)["images"]] == ["train/a.png", *more]
    assert all(image.instances for image in read(out).images)


@pytest.mark.parametrize("path", [None, "", ".", "../datasets/elsewhere", "absolute", "below"])
def test_path_of_a_yolo_set_may_be_relative_absolute_or_lost(
    path: str | None, source: Path, out: Path
) -> None:
    root = source / "below" if path in ("absolute", "below") else source
    put_yolo(root)
    about = yaml.safe_load((root / "data.yaml").read_text())
    about["path"] = str(root) if path == "absolute" else path
    put(source / "data.yaml", yaml.safe_dump(about))
    bring("yolo", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["train/a.png"]


def test_images_folder_below_the_split_is_found(source: Path, out: Path) -> None:
    put(source / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [cat]\n")
    for split in ("train", "valid"):
        put(source / split / "images/deep/a.png", png())
        put(source / split / "labels/deep/a.txt", yolo_line(0, BOX))
    bring("yolo", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["train/deep/a.png"]
    assert [i["file_name"] for i in raw(out, "val")["images"]] == ["valid/deep/a.png"]


def test_last_of_several_folders_of_images_has_the_labels_beside_it(
    source: Path, out: Path
) -> None:
    put(source / "data.yaml", "train: images\nnames: [cat]\n")
    put(source / "images/new/images/a.png", png())
    put(source / "images/new/labels/a.txt", yolo_line(0, BOX))
    bring("yolo", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["images/new/a.png"]


def test_labels_may_lie_beside_the_images(source: Path, out: Path) -> None:
    put(source / "data.yaml", "train: pictures\nnames: [cat]\n")
    put(source / "pictures/a.b.PNG", png())
    put(source / "pictures/._a.b.png", b"left by a file manager")
    put(source / "pictures/a.b.txt", yolo_line(0, BOX))
    bring("yolo", source, out)
    (image,) = read(out).images
    assert image.path == out / "images/pictures/a.b.PNG"
    np.testing.assert_array_equal(masks(image), [drawn(BOX)])


def test_image_without_a_label_file_has_no_instances(source: Path, out: Path) -> None:
    put_yolo(source)
    put(source / "images/train/b.png", png(2))
    put(source / "images/train/c.png", png(3))
    put(source / "labels/train/c.txt", "\n")
    bring("yolo", source, out)
    assert [len(image.instances) for image in read(out).images] == [2, 0, 0]


def test_yolo_boxes_are_skipped_and_counted(source: Path) -> None:
    put_yolo(source, lines=f"0 .5 .5 .2 .2\n{yolo_line(0, BOX)}\n1 .1 .1 .1 .1")
    found = foreign.read_yolo(source).splits["train"]
    assert found.skipped == {"box without a mask": 2}
    assert len(found.pictures[0].instances) == 1


def test_yolo_masks_without_a_pixel_are_skipped_and_counted(source: Path) -> None:
    put_yolo(source, lines=f"0 .5 .5 .5 .5 .5 .5\n{yolo_line(0, BOX)}\n1 .5 .5\n0")
    found = foreign.read_yolo(source).splits["train"]
    assert found.skipped == {"mask without a pixel": 1, "no polygon of three points": 2}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 .1 .1 .2 .2 .1 .2", "class 2 is not among names"),
        ("-1 .1 .1 .2 .2 .1 .2", "class -1 is not among names"),
        ("0.5 .1 .1 .2 .2 .1 .2", "class 0.5 is not among names"),
        ("nan .1 .1 .2 .2 .1 .2", "class nan is not among names"),
        ("cat .1 .1 .2 .2 .1 .2", "is not a class and numbers"),
        ("0 .1 .1 .2 .2 .1 nan", "coordinates must be in 0..1"),
        ("0 .1 .1 .2 .2 .1 inf", "coordinates must be in 0..1"),
        ("0 10 10 20 20 10 20", "coordinates must be in 0..1"),
        ("0 .1 .1 .2 .2 .1 -.2", "coordinates must be in 0..1"),
        ("0 .1 .1 .2 .2 .1", "5 numbers follow the class, not x y pairs"),
        ("0 .1 .1 .2 .2 .1 .2 .3", "7 numbers follow the class, not x y pairs"),
        ("\xff", "is not a class and numbers"),
    ],
)
def test_bad_yolo_line_is_named_by_its_number(line: str, words: str, source: Path) -> None:
    put_yolo(source, lines=f"{yolo_line(0, BOX)}\n{line}\n")
    message = refusal("yolo", source)
    assert "labels/train/a.txt, line 2" in message
    assert words in message


def test_yolo_polygon_may_leave_the_image_as_rounding_does(source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source, lines="0 -.0001 0 1.0001 0 1 1.0001 0 1"), out)
    assert masks(read(out).images[0]).all()


@pytest.mark.parametrize("names", [None, [], {}, "cat", {"cat": 0}, {-1: "cat"}, 3])
def test_data_yaml_without_names_is_refused(names: Any, source: Path) -> None:
    message = refusal("yolo", put_yolo(source, names=names))
    assert "data.yaml has no names of classes; add them, as in names: [cat, dog]" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("names: [a\ntrain: b", "data.yaml cannot be parsed"),
        ("a: 2020-99-99", "data.yaml cannot be parsed"),
        ("just text", "data.yaml has no names"),
        ("names: [a]", "data.yaml has neither train nor val"),
        ("names: [a]\ntrain: lost", "lost is no folder or .txt list"),
        ("names: [a]\ntrain: a.png", "a.png is no folder or .txt list"),
        ("names: [a]\ntrain: empty", "has no image for train"),
        ("names: [a]\ntrain: list.txt", "list.txt: the image './lost.png' is missing"),
        ("names: [a]\ntrain: out.txt", "outside.png is not below"),
    ],
)
def test_bad_data_yaml_is_named(content: str, words: str, source: Path) -> None:
    put(source / "data.yaml", content)
    put(source / "a.png", png())
    put(source / "list.txt", "./lost.png")
    put(source / "out.txt", "../outside.png")
    put(source.parent / "outside.png", png())
    (source / "empty").mkdir()
    assert words in refusal("yolo", source)


def test_two_images_that_would_share_a_name_are_refused(source: Path) -> None:
    put_yolo(source, train=["images/a", "a/images"])
    for folder in ("images/a", "a/images"):
        put(source / folder / "b.png", png())
        put(source / folder.replace("images", "labels") / "b.txt", yolo_line(0, BOX))
    assert "both become images/a/b.png; rename one" in refusal("yolo", source)


def test_train_and_val_may_be_the_same_images(source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source, val="images/train"), out)
    assert raw(out)["images"] == raw(out, "val")["images"]


# Cityscapes


def test_cityscapes_instances_are_pixel_exact(source: Path, out: Path) -> None:
    values = [7, 24000, 24001, 26000, 26, 33012, 25]
    ids = blobs(*values)
    put_city(source, ids)
    put_city(source, blobs(31000), "val", "bonn")
    put_city(source, ids, "test")
    bring("cityscapes", source, out)
    found = read(out)
    assert found.categories == tuple(Category(i, n) for i, n in foreign.CITYSCAPES.items())
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
    found = foreign.read_cityscapes(source).splits["train"]
    assert [i["category_id"] for i in found.pictures[0].instances] == [26]
    assert found.skipped == {
        "caravan, which the benchmark does not score": 2,
        "trailer, which the benchmark does not score": 1,
    }


def test_cityscapes_file_without_a_partner_is_named(source: Path) -> None:
    put_city(source, blobs(26000))
    put_city(source, blobs(26000), city="bonn")
    (source / "gtFine/train/bonn/bonn_000000_000019_gtFine_instanceIds.png").unlink()
    message = refusal("cityscapes", source)
    assert "bonn_000000_000019_leftImg8bit.png is one of 1 files without a partner" in message
    (source / "leftImg8bit/train/bonn/bonn_000000_000019_leftImg8bit.png").unlink()
    (source / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png").unlink()
    assert "ulm_000000_000019_gtFine_instanceIds.png is one of" in refusal("cityscapes", source)


def test_folder_that_is_not_cityscapes_is_refused(source: Path) -> None:
    message = refusal("cityscapes", put_pairs(source, blobs(1)))
    assert "has no leftImg8bit/train or leftImg8bit/val" in message


# LVIS


def test_lvis_keeps_ids_names_and_all_further_keys(source: Path, out: Path) -> None:
    bring("lvis", put_lvis(source), out)
    given, found = lvis(), raw(out, "val")
    name = {"file_name": "val2017/000000397133.jpg"}
    assert found["images"] == [{**given["images"][0], **name}]
    assert found["annotations"] == [{**given["annotations"][0], "iscrowd": 0}]
    assert found["categories"] == given["categories"]
    assert found["licenses"] == given["licenses"]
    assert found["info"]["version"] == "v1"
    assert not (out / "annotations/instances_train.json").exists()
    (image,) = read(out, "val").images
    np.testing.assert_array_equal(masks(image), [drawn(TRIANGLE)])


def test_lvis_file_name_precedes_the_url(source: Path, out: Path) -> None:
    (image,) = lvis()["images"]
    put_lvis(source, lvis(images=[{**image, "file_name": "mine/a.jpg"}]), "train")
    put(source / "mine/a.jpg", png(3, end=".jpg"))
    (source / "lvis_v1_train.json").rename(put(source / "annotations/lvis_v1_train.json", ""))
    bring("lvis", source, out)
    assert content_of(out / "images") == {"mine/a.jpg": png(3, end=".jpg")}


def test_lvis_boxes_areas_and_crowds_are_added_where_absent(source: Path, out: Path) -> None:
    (entry,) = lvis()["annotations"]
    for key in ("bbox", "area"):
        del entry[key]
    entry["segmentation"] = [np.ravel(BOX).tolist()]
    crowd = {**entry, "id": 13, "iscrowd": 1}
    bring("lvis", put_lvis(source, lvis(annotations=[entry, crowd])), out)
    found = raw(out, "val")["annotations"]
    assert [a["bbox"] for a in found] == [[40, 10, 20, 15]] * 2
    assert [a["area"] for a in found] == [300] * 2
    assert [a["iscrowd"] for a in found] == [0, 1]


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "a segmentation that is no list of polygons"),
        ([], "no polygon of three points"),
        ([[1, 1, 9, 9]], "no polygon of three points"),
        ({"size": [3, 3], "counts": "abc"}, "a segmentation that is no list of polygons"),
        ([[5, 5, 5, 5, 5, 5]], "mask without a pixel"),
    ],
)
def test_lvis_instance_without_a_mask_is_skipped(
    segmentation: Any, reason: str, source: Path
) -> None:
    (entry,) = lvis()["annotations"]
    bad = {**entry, "id": 13, "segmentation": segmentation}
    put_lvis(source, lvis(annotations=[bad, entry]))
    found = foreign.read_lvis(source).splits["val"]
    assert found.skipped == {reason: 1}
    assert [i["id"] for i in found.pictures[0].instances] == [12]


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("images", {"id": None}, "an entry has no integer 'id'"),
        ("images", {"coco_url": None}, "the image"),
        ("images", {"coco_url": "http://x/val2017/lost.jpg"}, "lost.jpg is missing"),
        ("images", {"coco_url": "http://x/../.."}, "leads out of the folder of images"),
        ("images", {"file_name": "../a.jpg"}, "leads out of the folder of images"),
        ("images", {"file_name": "/etc/passwd"}, "leads out of the folder of images"),
        ("images", {"file_name": "a\0.jpg"}, "leads out of the folder of images"),
        ("images", {"height": 47}, "height, width are (48, 64), not (47, 64)"),
        ("images", {"width": None}, "height, width are (48, 64), not (48, None)"),
        ("annotations", {"id": "a"}, "an entry has no integer 'id'"),
        ("annotations", {"image_id": 5}, "annotation 12 has no image or category"),
        ("annotations", {"image_id": [5]}, "an entry has no integer 'image_id'"),
        ("annotations", {"category_id": 5}, "annotation 12 has no image or category"),
        (
            "annotations",
            {"segmentation": [[1, 1, 9, 9, 5, float("nan")]]},
            "annotation 12: a coord",
        ),
        ("annotations", {"segmentation": ["abcdef"]}, "annotation 12: a coordinate is no number"),
        ("categories", {"id": 1.5}, "an entry has no integer 'id'"),
    ],
)
def test_bad_lvis_entry_is_named(part: str, changes: dict, words: str, source: Path) -> None:
    content = lvis()
    content[part][0].update(changes)
    message = refusal("lvis", put_lvis(source, content))
    assert words in message
    assert str(source) in message


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_json_without_a_list_of_lvis_is_refused(part: str, source: Path) -> None:
    no_lists: tuple[Any, ...] = (None, {}, [3])
    for bad in no_lists:
        message = refusal("lvis", put_lvis(source, lvis(**{part: bad})))
        assert f"lvis_v1_val.json is not an LVIS file: it has no list {part!r}" in message


def test_two_lvis_files_of_a_split_are_refused(source: Path) -> None:
    put_lvis(source)
    put(source / "annotations/lvis_v0.5_val.json", json.dumps(lvis()))
    assert "are both of val; move one elsewhere" in refusal("lvis", source)


# Pairs


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
