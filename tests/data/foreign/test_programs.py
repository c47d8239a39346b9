"""Claims about what CVAT, Label Studio, VIA and Supervisely write."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solojax.data import foreign
from solojax.data.foreign.contents import Split
from tests.data.foreign.scene import (
    BOX,
    HEIGHT,
    TRIANGLE,
    WIDTH,
    blobs,
    bring,
    drawn,
    found_in,
    lost,
    masks,
    percent,
    png,
    put,
    put_any,
    put_cvat,
    put_studio,
    put_supervisely,
    put_via,
    raw,
    read,
    refusal,
    studio,
    via,
)

PROGRAMS = ["cvat", "label_studio", "via", "supervisely"]


def train_of(form: str, source: Path) -> Split:
    return foreign.FORMS[form](source).splits["train"]


def are_alike(mask: np.ndarray, other: np.ndarray) -> bool:
    return bool((mask & other).sum() / (mask | other).sum() > 0.95)


def oval(centre: tuple[float, float], radii: tuple[float, float], degrees: float) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = x - centre[0], y - centre[1]
    along, across = x * cos + y * sin, y * cos - x * sin
    return ((along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1).astype(np.uint8)


def box_about(centre: tuple[float, float], degrees: float) -> np.ndarray:
    """The box turned clockwise, as it is seen, about a point."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return drawn(((np.array(BOX) - centre) @ [[cos, sin], [-sin, cos]] + centre).tolist())


@pytest.mark.parametrize("form", PROGRAMS)
def test_polygon_and_box_come_back_as_they_were(form: str, source: Path, out: Path) -> None:
    bring(form, put_any(form, source), out)
    (image,) = read(out).images
    names = [category.name for category in read(out).categories]
    assert names == (["dog", "cat"] if form in ("cvat", "supervisely") else ["cat", "dog"])
    assert [names[i.label] for i in image.instances] == ["cat", "dog"]
    np.testing.assert_array_equal(masks(image), [drawn(TRIANGLE), drawn(BOX)])


@pytest.mark.parametrize("form", PROGRAMS)
def test_missing_image_is_named(form: str, source: Path) -> None:
    put_any(form, source)
    next(source.rglob("a.png")).unlink()
    message = refusal(form, source)
    assert "a.png" in message
    assert "put" in message


@pytest.mark.parametrize("form", PROGRAMS)
@pytest.mark.parametrize(
    "content", ["{", "[]", "[3]", '{"a": 3}', "null", "\xff", "<a/>", "", "[" * 100_000]
)
def test_file_that_is_not_the_programs_is_named(form: str, content: str, source: Path) -> None:
    put_any(form, source)
    pattern = {"cvat": "*.xml", "supervisely": "*/ann/*.json"}.get(form, "*.json")
    next(source.glob(pattern)).write_bytes(content.encode("latin-1"))
    assert str(source) in refusal(form, source)


@pytest.mark.parametrize("form", ["cvat", "label_studio", "via"])
def test_source_may_be_the_file_itself(form: str, source: Path, out: Path) -> None:
    put_any(form, source)
    put(source / "other.json", "{}")
    put(source / "other.xml", "<a/>")
    files = [*source.glob("a*.xml"), *source.glob("project.json"), *source.glob("via.json")]
    bring(form, files[0], out)
    assert len(read(out).images) == 1


def test_archive_is_to_be_unpacked(source: Path) -> None:
    assert "task.zip is no folder; unpack it" in refusal("cvat", put(source / "task.zip", b"PK"))


# CVAT


def test_cvat_turns_boxes_and_ellipses_about_their_centres(source: Path, out: Path) -> None:
    put_cvat(
        source,
        '<box label="dog" xtl="40" ytl="10" xbr="60" ybr="25" rotation="30"/>'
        '<ellipse label="cat" cx="30" cy="25" rx="20" ry="6" rotation="30"/>',
    )
    bring("cvat", source, out)
    found = masks(read(out).images[0])
    np.testing.assert_array_equal(found[0], box_about((50, 17.5), 30))
    assert are_alike(found[1], oval((30, 25), (20, 6), 30))


def test_cvat_masks_go_row_by_row_in_their_box(source: Path, out: Path) -> None:
    patch = np.array([[0, 1, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    put_cvat(
        source,
        '<mask label="cat" rle="1, 3, 2, 4, 5" left="10" top="20" width="5" height="3"/>',
    )
    bring("cvat", source, out)
    (mask,) = masks(read(out).images[0])
    np.testing.assert_array_equal(mask[20:23, 10:15], patch)
    assert mask.sum() == patch.sum()


def test_cvat_shapes_of_a_group_are_one_instance(source: Path, out: Path) -> None:
    one, two = (";".join(f"{x},{y}" for x, y in points) for points in (TRIANGLE, BOX))
    put_cvat(
        source,
        f'<polygon label="cat" group_id="3" points="{one}"/>'
        f'<polygon label="cat" group_id="3" points="{two}"/>'
        f'<polygon label="cat" group_id="0" points="{one}"/>'
        f'<polygon label="cat" group_id="0" points="{two}"/>',
    )
    bring("cvat", source, out)
    assert [len(a["segmentation"]) for a in raw(out)["annotations"]] == [2, 1, 1]


def test_cvat_subsets_are_splits(source: Path, out: Path) -> None:
    put_cvat(source / "one", subset="Train", name="sub/a.png")
    put_cvat(source / "two", subset="Validation", name="b.png")
    bring("cvat", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["one/images/sub/a.png"]
    assert [i["file_name"] for i in raw(out, "val")["images"]] == ["two/images/b.png"]


def test_cvat_tasks_may_have_images_of_one_name(source: Path, out: Path) -> None:
    put_cvat(source / "one")
    put_cvat(source / "two")
    bring("cvat", source, out)
    names = [image["file_name"] for image in raw(out)["images"]]
    assert names == ["one/images/a.png", "two/images/a.png"]


def test_image_that_may_be_one_of_two_is_named(source: Path) -> None:
    put_cvat(source)
    (source / "images").rename(source / "one")
    put(source / "two/a.png", b"")
    assert "'a.png' may be" in refusal("cvat", source)


def test_cvat_shapes_without_a_mask_are_skipped(source: Path) -> None:
    put_cvat(source, '<points label="cat" points="1,2"/><tag label="cat"/><skeleton label="dog"/>')
    assert lost(train_of("cvat", source)) == {
        "shape of type points": 1,
        "shape of type skeleton": 1,
    }


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ('<polygon label="cat" points="1,2;3"/>', "a point is not x,y"),
        ('<polygon label="cat" points="1,2;3,nan;4,4"/>', "a coordinate is no number"),
        ('<polygon label="cat" points="1,2;3,x"/>', "are no numbers"),
        ('<polygon points="1,2;3,4;5,9"/>', "has no label"),
        ('<box label="cat" xtl="1" ytl="1" xbr="9"/>', "are no numbers"),
        ('<mask label="cat" rle="1, 2" left="0" top="0" width="9" height="9"/>', "add up to 3"),
        ('<mask label="cat" rle="9801" left="0" top="0" width="99" height="99"/>', "99x99 is"),
        ('</image><track id="0" label="cat"/><image>', "is of a video"),
    ],
)  # fmt: skip
def test_bad_cvat_shape_is_named(shapes: str, words: str, source: Path) -> None:
    message = refusal("cvat", put_cvat(source, shapes))
    assert "annotations.xml" in message
    assert words in message


def test_cvat_xml_that_declares_entities_is_refused(source: Path) -> None:
    path = put_cvat(source) / "annotations.xml"
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'
    path.write_text(path.read_text().replace("<annotations>", f"{bomb}<annotations>"))
    message = refusal("cvat", source)
    assert "declares entities" in message
    assert "cannot be parsed" not in message


# Label Studio


def test_label_studio_turns_boxes_about_their_corner(source: Path, out: Path) -> None:
    (x, y), (width, height) = percent([BOX[0], [20, 15]])
    box = {"x": x, "y": y, "width": width, "height": height, "rotation": 30}
    (x, y), (across, down) = percent([[30, 25], [20, 6]])
    curve = {"x": x, "y": y, "radiusX": across, "radiusY": down, "rotation": 30}
    put_studio(source, studio("rectangle", box, "dog"), studio("ellipse", curve, "cat"))
    bring("label_studio", source, out)
    found = masks(read(out).images[0])
    np.testing.assert_array_equal(found[0], box_about((40, 10), 30))
    assert are_alike(found[1], oval((30, 25), (20, 6), 30))


def pack(mask: np.ndarray) -> list[int]:
    """A brush as Label Studio packs it; its second run is a block of single numbers."""
    values = np.repeat(mask.ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for number, (start, end) in enumerate(zip(borders, borders[1:], strict=False)):
        if number == 1 and end - start <= 256:
            bits += f"0{2:02b}{end - start - 1:08b}"
            bits += "".join(f"{value:08b}" for value in values[start:end])
        else:
            bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_label_studio_brush_is_read_pixel_by_pixel(source: Path, out: Path) -> None:
    mask = (blobs(1, 2) == 2).astype(np.uint8)
    put_studio(source, studio("brush", {"format": "rle", "rle": pack(mask)}, "cat"))
    bring("label_studio", source, out)
    np.testing.assert_array_equal(masks(read(out).images[0]), [mask])


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/3/0a1b2c3d-a.png",
        "/data/local-files/?d=set/images/a.png",
        "s3://bucket/photos/a.png",
        "https://host/x/a.png?token=1",
        "C:\\photos\\A.PNG",
        "a%2Epng",
    ],
)
def test_label_studio_image_is_found_by_its_name(image: str, source: Path, out: Path) -> None:
    bring("label_studio", put_studio(source, data={"image": image, "text": "a note"}), out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["images/a.png"]


def test_label_studio_label_may_be_a_result_of_its_own(source: Path, out: Path) -> None:
    region = {**studio("polygon", {"points": percent(BOX)}), "type": "polygon"}
    put_studio(source, region, {"id": "r", "type": "labels", "value": {"labels": ["cat"]}})
    bring("label_studio", source, out)
    assert [c["name"] for c in raw(out)["categories"]] == ["cat"]


def test_label_studio_tasks_and_regions_without_use_are_counted(source: Path) -> None:
    box = studio("polygon", {"points": percent(BOX)}, "cat")
    answers = [
        {"result": [box, box, box]},
        {"result": [box], "was_cancelled": True},
        {"result": [box, {**box, "image_rotation": 90}, studio("keypoint", {"x": 1, "y": 1}, "c")]},
    ]
    put_studio(source, annotations=answers)
    tasks = json.loads((source / "project.json").read_text())
    unlabelled = {**tasks[0], "id": 8, "annotations": []}
    (source / "project.json").write_text(json.dumps([*tasks, unlabelled]))
    split = train_of("label_studio", source)
    assert [len(picture.instances) for picture in split.pictures] == [1]
    assert lost(split) == {
        "region drawn while its image was turned in Label Studio": 1,
        "region of type keypoint": 1,
        "tasks without an annotation left out": 1,
    }
    assert list(found_in(split, "doubtful").values()) == [1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": [], "predictions": [{"result": []}]}, "1 tasks of predictions alone"),
        ({"annotations": None, "predictions": [{"result": []}]}, "1 tasks of predictions alone"),
        ({"annotations": [{"result": [], "was_cancelled": True}]}, "were all cancelled"),
    ],
)
def test_label_studio_tasks_that_nobody_did_are_told(
    changes: dict, words: str, source: Path
) -> None:
    message = refusal("label_studio", put_studio(source, **changes))
    assert "has no image for train" in message
    assert words in message


def test_label_studio_regions_of_other_kinds_or_several_labels_are_told(source: Path) -> None:
    box = {"points": percent(BOX)}
    kinds = ("bitmask", "magicwand", "videorectangle", "any")
    others = [{**studio("", box), "type": kind} for kind in (*kinds, "bitmasklabels", "choices")]
    put_studio(source, studio("polygon", box, "cat", "dog"), studio("polygon", box, ""), *others)
    split = train_of("label_studio", source)
    assert [len(picture.instances) for picture in split.pictures] == [1]
    counts = {f"region of type {kind}": 1 for kind in kinds}
    assert lost(split) == {**counts, "region of type bitmask": 2, "region without a label": 1}
    assert [f.places for f in split.findings if f.effect == "doubtful"] == [
        ("task 7: result 0: cat, dog",)
    ]


@pytest.mark.parametrize(
    ("width", "height", "is_told"), [(WIDTH, WIDTH, True), (2 * WIDTH, 2 * HEIGHT, False)]
)
def test_label_studio_image_of_another_shape_is_told(
    width: int, height: int, is_told: bool, source: Path
) -> None:
    sides = {"original_width": width, "original_height": height}
    put_studio(source, {**studio("polygon", {"points": percent(BOX)}, "cat"), **sides})
    split = train_of("label_studio", source)
    assert bool(found_in(split, "doubtful")) == is_told
    assert split.pictures[0].instances[0]["bbox"] == [40, 10, 20, 15]


def test_label_studio_json_min_is_refused(source: Path) -> None:
    put_studio(source)
    put(source / "project.json", '[{"image": "a.png", "label": [{"points": []}], "id": 1}]')
    assert "not as JSON-MIN" in refusal("label_studio", source)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (studio("polygon", {"points": [[1, 2], [3]]}, "cat"), "not [x, y]"),
        (studio("polygon", {"points": [[1, 2], [3, None]]}, "cat"), "no number"),
        (studio("rectangle", {"x": 1, "y": 2, "width": 3}, "cat"), "no number"),
        (studio("brush", {"rle": [1, 2, 3]}, "cat"), "is cut"),
        (studio("brush", {"rle": [0] * 40}, "cat"), "has 0 values"),
        (studio("brush", {"rle": pack(blobs(1))[:-3]}, "cat"), "is cut"),
        (studio("brush", {"rle": "x"}, "cat"), "without 'rle'"),
        (
            studio("brush", {"rle": pack(np.eye(9, dtype=int))}, "c", original_width=9,
                   original_height=9),
            "is of 9x9 pixels where",
        ),
    ],
)  # fmt: skip
def test_bad_label_studio_region_is_named(result: dict, words: str, source: Path) -> None:
    message = refusal("label_studio", put_studio(source, result))
    assert "project.json: task 7: result 0" in message
    assert words in message


# VIA


@pytest.mark.parametrize("project", [False, True])
def test_via_circles_and_ellipses(project: bool, source: Path, out: Path) -> None:
    put_via(
        source,
        via("circle", cx=20, cy=20, r=9),
        via("ellipse", cx=30, cy=25, rx=20, ry=6, theta=np.radians(30)),
        project=project,
    )
    bring("via", source, out)
    found = masks(read(out).images[0])
    assert are_alike(found[0], oval((20, 20), (9, 9), 0))
    assert are_alike(found[1], oval((30, 25), (20, 6), 30))


def test_via_class_is_the_one_attribute_or_the_one_called_so(source: Path) -> None:
    plain = via("rect", None, x=40, y=10, width=20, height=15)
    for attributes, name in (
        ({}, "object"),
        ({"animal": "cat"}, "cat"),
        ({"note": "old", "Label": "dog"}, "dog"),
        ({"kind": {"cat": True, "dog": False}}, "cat"),
    ):
        put_via(source, {**plain, "region_attributes": attributes})
        assert [c["name"] for c in train_of("via", source).categories] == [name]
    put_via(source, {**plain, "region_attributes": {"a": "x", "b": "y"}})
    assert "the attributes 'a', 'b'; call the one of the class 'class'" in refusal("via", source)


def test_via_regions_of_version_one_are_read(source: Path) -> None:
    put_via(source)
    content = json.loads((source / "via.json").read_text())
    (image,) = content.values()
    image["regions"] = {str(n): region for n, region in enumerate(image["regions"])}
    (source / "via.json").write_text(json.dumps(content))
    assert len(train_of("via", source).pictures[0].instances) == 2


def test_via_regions_without_a_mask_or_class_are_skipped(source: Path) -> None:
    box = {"x": 40, "y": 10, "width": 20, "height": 15}
    put_via(source, via("point", cx=1, cy=2), via("rect", "", **box), via("rect", **box))
    assert lost(train_of("via", source)) == {
        "region of shape point": 1,
        "region without one class": 1,
    }


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (via("polygon", all_points_x=[1, 2], all_points_y=[1]), "has 2 x and 1 y"),
        (via("polygon", all_points_x=[1, "2"], all_points_y=[1, 2]), "no number"),
        (via("rect", x=1, y=2, width=None, height=1), "no number"),
        (via("ellipse", cx=1, cy=2, rx=3, ry=4, theta="x"), "no number"),
    ],
)
def test_bad_via_region_is_named(region: dict, words: str, source: Path) -> None:
    put_via(source, via("rect", x=1, y=2, width=9, height=9), region)
    message = refusal("via", source)
    assert "via.json: a.png: region 1" in message
    assert words in message


# Supervisely


def deflated(mask: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(cv2.imencode(".png", mask)[1].tobytes())).decode()


def test_supervisely_bitmaps_and_holes(source: Path, out: Path) -> None:
    patch = np.tri(8, 5, dtype=np.uint8)
    clear = np.zeros((8, 5, 4), np.uint8)
    clear[..., 3] = patch * 255
    hole = [[45, 13], [55, 13], [55, 20], [45, 20]]
    objects: list[Any] = [
        {"classTitle": "cat", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [20, 3]}}
        for data in (deflated(patch * 255), deflated(clear))
    ]
    points = {"exterior": BOX, "interior": [hole]}
    objects.append({"classTitle": "dog", "geometryType": "polygon", "points": points})
    bring("supervisely", put_supervisely(source, *objects), out)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:11, 20:25] = patch
    found = masks(read(out).images[0])
    np.testing.assert_array_equal(found, [expected, expected, drawn(BOX) - drawn(hole)])


def test_supervisely_object_without_a_class_is_skipped(source: Path) -> None:
    sound = {"classTitle": "cat", "geometryType": "polygon", "points": {"exterior": BOX}}
    put_supervisely(source, sound, {**sound, "classTitle": ""})
    put(source / "__MACOSX/ds/img/a.png", png())
    put(source / "__MACOSX/ds/ann/a.png.json", "{}")
    split = train_of("supervisely", source)
    assert lost(split) == {"object without a class": 1}
    assert len(split.pictures) == 1


def test_supervisely_classes_of_the_wrong_type_are_named(source: Path) -> None:
    put(put_supervisely(source) / "meta.json", '{"classes": 3}')
    assert "meta.json is not Supervisely's: 'classes' is no list" in refusal("supervisely", source)


def test_supervisely_data_sets_are_splits(source: Path, out: Path) -> None:
    put_supervisely(source, dataset="train")
    put_supervisely(source, dataset="val")
    bring("supervisely", source, out)
    assert [i["file_name"] for i in raw(out, "val")["images"]] == ["val/img/a.png"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"geometryType": "bitmap", "bitmap": {"data": "AAAA", "origin": [1, 2]}}, "no deflated"),
        ({"geometryType": "bitmap", "bitmap": {"data": 3, "origin": [1, 2]}}, "is not base64"),
        ({"geometryType": "bitmap", "bitmap": {"data": "", "origin": [1]}}, "no origin"),
        ({"points": {"exterior": [[1, 2], [3]]}}, "not [x, y]"),
        ({"points": {"exterior": BOX, "interior": [3]}}, "not [x, y]"),
        ({"points": {"exterior": BOX, "interior": 3}}, "is no list"),
        ({"geometryType": "rectangle"}, "has 4 corners, not 2"),
        ({"classTitle": None}, "has no 'classTitle'"),
    ],
)  # fmt: skip
def test_bad_supervisely_object_is_named(change: dict, words: str, source: Path) -> None:
    sound = {"classTitle": "cat", "geometryType": "polygon", "points": {"exterior": BOX}}
    message = refusal("supervisely", put_supervisely(source, sound, {**sound, **change}))
    assert "a.png.json: objects[1]" in message
    assert words in message
