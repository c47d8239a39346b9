"""Claims about reading a COCO file: what is read, what is refused, what is skipped and counted."""

import gzip
import itertools
import json
import os
import resource
import time
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from solojax.config import Category, Data
from solojax.data import annotations
from solojax.data.annotations import json_lists, mask_forms, polygons, segmentations
from solojax.data.rle import decode
from solojax.types import InputError, escaped

HEIGHT, WIDTH = 40, 60
TRIANGLE = [5.0, 5.0, 50.0, 8.0, 20.0, 35.0]
SQUARE = [30.0, 20.0, 55.0, 20.0, 55.0, 38.0, 30.0, 38.0]

NOTHING_ENCLOSED = "no polygon of three finite points"
WRONG_SUM = "run lengths that do not add up to the image"
WRONG_SIZE = "run lengths of another size than the image"
CORRUPT = "corrupt run lengths"
NO_RUNS = "no run lengths"
HOLES = "polygons in polygons, holes or parts; write run lengths"


def image_entry(image_id: int = 1, **changes: Any) -> dict[str, Any]:
    entry = {"id": image_id, "file_name": f"{image_id}.jpg", "height": HEIGHT, "width": WIDTH}
    return {**entry, **changes}


def annotation(annotation_id: int = 1, **changes: Any) -> dict[str, Any]:
    entry = {"id": annotation_id, "image_id": 1, "category_id": 1, "segmentation": [TRIANGLE]}
    return {**entry, **changes}


def coco(**changes: Any) -> dict[str, Any]:
    entries = {
        "images": [image_entry()],
        "annotations": [annotation()],
        "categories": [{"id": 1, "name": "thing"}],
    }
    return {**entries, **changes}


def read(folder: Path, content: Any, *, touch: bool = True) -> annotations.Annotations:
    """Reads ``content`` as a JSON, beside empty files for the images that it names."""
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if touch and isinstance(content, dict):
        for image in content["images"]:
            (folder / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / image["file_name"]).touch()
    return annotations.read(path, folder)


def refusal(folder: Path, content: Any, *, touch: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content, touch=touch)
    message = str(caught.value)
    assert "instances.json" in message
    assert "\n" not in message
    return message


def lost(found: annotations.Annotations) -> dict[str, int]:
    """The reasons for which instances were left out, and of how many."""
    start = "instances skipped: "
    return {
        one.what.removeprefix(start): one.count for one in found.findings if one.effect == "lost"
    }


def mask_of(folder: Path, segmentation: Any) -> np.ndarray:
    found = read(folder, coco(annotations=[annotation(segmentation=segmentation)]))
    (instance,) = found.images[0].instances
    return decode([instance.rle], HEIGHT, WIDTH)[0]


def true_mask(polygons: list[list[float]]) -> np.ndarray:
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH)))


def blob(seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8)


def runs_of(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask, column by column, background first."""
    pixels = mask.T.reshape(-1)
    borders = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *borders, len(pixels)]).tolist()
    return [0, *runs] if pixels[0] else runs


def compressed(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


def rle(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}


# What is read


@pytest.mark.parametrize(
    "polygons",
    [
        [TRIANGLE],
        [SQUARE],
        [TRIANGLE, SQUARE],
        [[2.5, 3.25, 30.75, 3.5, 30.5, 30.25, 3.0, 28.0]],
        [[5, 5, 55, 35, 55, 5, 5, 35]],
        [[-10, -10, 30, -10, 30, 20, -10, 20]],
        [[40, 20, 80, 20, 80, 60, 40, 60]],
        [[-30, 20, 30, -10, 90, 20, 30, 70]],
    ],
    ids=["triangle", "square", "two", "fractions", "crossing", "left", "right", "all around"],
)
def test_polygons_give_the_mask_of_pycocotools(polygons: list[list[float]], tmp_path: Path) -> None:
    np.testing.assert_array_equal(mask_of(tmp_path, polygons), true_mask(polygons))


@pytest.mark.parametrize("border", [[], [0, 0], [-1, -1]], ids=["random", "set", "end set"])
def test_run_lengths_give_their_mask(border: list[int], tmp_path: Path) -> None:
    mask = blob()
    if border:
        mask[tuple(border)] = 1
    np.testing.assert_array_equal(mask_of(tmp_path, rle(runs_of(mask))), mask)


@pytest.mark.parametrize("border", [[], [0, 0], [-1, -1]], ids=["random", "set", "end set"])
def test_compressed_run_lengths_give_their_mask(border: list[int], tmp_path: Path) -> None:
    mask = blob()
    if border:
        mask[tuple(border)] = 1
    np.testing.assert_array_equal(mask_of(tmp_path, rle(compressed(mask))), mask)


def test_good_polygons_count_where_others_of_the_instance_are_bad(tmp_path: Path) -> None:
    mask = mask_of(tmp_path, [[1, 2, 3, 4], TRIANGLE, [], [1, 2, 3, 4, 5]])
    np.testing.assert_array_equal(mask, true_mask([TRIANGLE]))


def test_category_ids_with_gaps_become_labels_sorted_by_id(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        coco(
            categories=[{"id": 90, "name": "c"}, {"id": 0, "name": "a"}, {"id": 7, "name": "b"}],
            annotations=[annotation(n, category_id=c) for n, c in enumerate((7, 90, 0, 7))],
        ),
    )
    assert found.categories == (Category(0, "a"), Category(7, "b"), Category(90, "c"))
    assert [instance.label for instance in found.images[0].instances] == [1, 2, 0, 1]


def test_images_and_instances_keep_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        coco(
            images=[image_entry(9), image_entry(3), image_entry(5)],
            annotations=[annotation(n, image_id=i) for n, i in ((8, 3), (2, 9), (1, 3))],
        ),
    )
    assert [image.id for image in found.images] == [9, 3, 5]
    assert [[one.id for one in image.instances] for image in found.images] == [[2], [8, 1], []]


def test_image_without_annotations_is_legal(tmp_path: Path) -> None:
    found = read(tmp_path, coco(images=[image_entry(1), image_entry(2)]))
    assert found.images[1].instances == []


def test_crowd_flags_are_kept(tmp_path: Path) -> None:
    crowds = [annotation(1, iscrowd=1), annotation(2, iscrowd=0), annotation(3)]
    found = read(tmp_path, coco(annotations=crowds))
    assert [one.is_crowd for one in found.images[0].instances] == [True, False, False]


def test_box_and_area_are_those_of_the_file(tmp_path: Path) -> None:
    stated = annotation(bbox=[4.5, 5, 20.25, 10], area=123.5)
    (instance,) = read(tmp_path, coco(annotations=[stated])).images[0].instances
    assert instance.box == (4.5, 5.0, 24.75, 15.0)
    assert instance.area == 123.5


@pytest.mark.parametrize("box", [None, [1, 2, 3], "box", [1, 2, 3, float("nan")]])
def test_box_and_area_come_from_the_mask_where_the_file_has_none(box: Any, tmp_path: Path) -> None:
    stated = annotation(bbox=box, area=None, segmentation=[SQUARE])
    (instance,) = read(tmp_path, coco(annotations=[stated])).images[0].instances
    assert instance.box == (30.0, 20.0, 55.0, 38.0)
    assert instance.area == true_mask([SQUARE]).sum()


def test_file_names_lead_into_the_folder_of_images(tmp_path: Path) -> None:
    names = ["a/b/1.jpg", "mit Leerzeichen/Äpfel 苹果.png", "./2.jpg"]
    images = [image_entry(n, file_name=name) for n, name in enumerate(names, 1)]
    found = read(tmp_path, coco(images=images))
    assert [image.path for image in found.images] == [tmp_path / name for name in names]


def test_windows_separators_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()
    found = read(tmp_path, coco(images=[image_entry(file_name="a\\1.jpg")]), touch=False)
    assert found.images[0].path == tmp_path / "a/1.jpg"


PAIRS = [[x, y] for x, y in zip(TRIANGLE[::2], TRIANGLE[1::2], strict=True)]
POINTS = [{"x": x, "y": y} for x, y in PAIRS]


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        (TRIANGLE, "no list of polygons"),
        ([[TRIANGLE]], "too deep"),
        ([[[[TRIANGLE]]]], "too deep"),
        (PAIRS, "pairs"),
        ([PAIRS], "pairs"),
        ([[PAIRS]], "pairs"),
        (POINTS, "objects"),
        ([POINTS], "objects"),
        ([[str(number) for number in TRIANGLE]], "text"),
        (json.dumps([TRIANGLE]), "written as text"),
        (json.dumps(PAIRS), "written as text"),
        ([TRIANGLE, [1, 2, 3]], "no three finite points"),
        (", ".join(map(str, TRIANGLE)), "written as text"),
        *(
            (one, "another program")
            for one in (
                {"x": TRIANGLE[::2], "y": TRIANGLE[1::2]},
                {"all_points_x": TRIANGLE[::2], "all_points_y": TRIANGLE[1::2]},
                {"points": PAIRS},
                {"exterior": [PAIRS], "interiors": []},
                {"points": {"exterior": PAIRS, "interior": []}},
                {"type": "Polygon", "coordinates": [[*PAIRS, PAIRS[0]]]},
                {"geometry": {"type": "MultiPolygon", "coordinates": [[[*PAIRS, PAIRS[0]]]]}},
            )
        ),
    ],
)
def test_polygons_in_forms_near_to_those_of_coco_are_read_and_told_of(
    segmentation: Any, told: str, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(mask_of(tmp_path, segmentation), true_mask([TRIANGLE]))
    found = read(tmp_path, coco(annotations=[annotation(7, segmentation=segmentation)]))
    assert any(told in one.what for one in found.findings)
    assert {(one.effect, one.places) for one in found.findings} == {
        ("repaired", ("annotation 7 of image 1",))
    }


def test_several_polygons_of_points_in_pairs_are_parts_of_a_mask(tmp_path: Path) -> None:
    other = [[x + 3.5, y + 3.0] for x, y in PAIRS]
    union = true_mask([TRIANGLE, [number for point in other for number in point]])
    np.testing.assert_array_equal(mask_of(tmp_path, [[PAIRS], [other]]), union)


@pytest.mark.parametrize(
    "form",
    [
        lambda mask: [rle(compressed(mask))],
        lambda mask: rle(str(compressed(mask).encode())),
        lambda mask: rle([float(run) for run in runs_of(mask)]),
        lambda mask: rle([str(run) for run in runs_of(mask)]),
        lambda mask: rle(" ".join(map(str, runs_of(mask)))),
        lambda mask: rle(compressed(mask), (str(HEIGHT), str(WIDTH))),
        lambda mask: rle(compressed(mask), (float(HEIGHT), float(WIDTH))),
        lambda mask: json.dumps(rle(compressed(mask))),
    ],
    ids=["list", "bytes", "fractions", "texts", "spaces", "size as text", "size", "text"],
)
def test_run_lengths_in_forms_near_to_those_of_coco_are_read(form: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(mask_of(tmp_path, form(blob())), blob())


# What makes the whole file doubtful


def test_missing_json_names_it_and_the_fields_to_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.json: no such file; set data\.root"):
        annotations.read(tmp_path / "nothing.json", tmp_path)


@pytest.mark.parametrize("text", ["", "{", json.dumps(coco())[:-20], "<html></html>"])
def test_json_that_is_cut_or_none_is_named(text: str, tmp_path: Path) -> None:
    assert "instances.json is not" in refusal(tmp_path, text)


def test_json_that_is_not_unicode_is_named(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_bytes(b'{"images": "\xff\xfe\xfa"}')
    with pytest.raises(InputError, match=r"instances\.json is not JSON"):
        annotations.read(tmp_path / "instances.json", tmp_path)


def test_folder_in_place_of_the_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "instances.json").mkdir()
    with pytest.raises(InputError, match=r"instances\.json cannot be read: Is a directory"):
        annotations.read(tmp_path / "instances.json", tmp_path)


def test_file_in_place_of_a_folder_of_the_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(InputError, match=r"instances\.json"):
        annotations.read(tmp_path / "root" / "instances.json", tmp_path)


@pytest.mark.parametrize("text", ["[]", "[{}]", "3", "null", '"images"'])
def test_json_that_is_no_object_is_not_coco(text: str, tmp_path: Path) -> None:
    assert "is not a COCO instances file" in refusal(tmp_path, text)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, "list", 3])
def test_missing_list_is_named(key: str, value: Any, tmp_path: Path) -> None:
    assert f"it has no list {key!r}" in refusal(tmp_path, coco(**{key: value}))
    without = {name: entries for name, entries in coco().items() if name != key}
    assert f"it has no list {key!r}" in refusal(tmp_path, without)


def test_missing_image_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    message = refusal(tmp_path, coco(images=[image_entry(1), image_entry(2)]))
    assert f"1 image files missing (image 2 (2.jpg)); others are in {tmp_path}; put the" in message
    (tmp_path / "1.jpg").unlink()
    message = refusal(tmp_path, coco())
    assert f"1 image files missing (image 1 (1.jpg)); none is in {tmp_path}; set data.t" in message


def test_of_many_missing_image_files_the_first_20_and_the_count_are_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(n) for n in range(1, 31)]))
    assert "30 image files missing" in message
    assert message.count(".jpg") == 20
    assert "image 20 (20.jpg)" in message
    assert "and 10 more" in message


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "", "."], ids=["long", "empty", "folder"])
def test_file_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(file_name=name)]))
    assert "1 image files missing" in message or "1 images without a file_name" in message


@pytest.mark.parametrize("image_id", [2, "x", None, 1.5])
def test_annotation_of_unknown_image_is_named(image_id: Any, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(annotations=[annotation(77, image_id=image_id)]))
    assert f"of unknown images (annotation 77: image_id {image_id!r})" in message


@pytest.mark.parametrize("category_id", [0, "x", None, [1]])
def test_annotation_of_unknown_category_is_named(category_id: Any, tmp_path: Path) -> None:
    message = refusal(
        tmp_path, coco(annotations=[annotation(77, category_id=category_id)]), touch=True
    )
    assert f"of unknown categories (annotation 77: category_id {category_id!r})" in message


def test_of_many_bad_annotations_the_first_20_and_the_count_are_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(annotations=[annotation(n, image_id=9) for n in range(50)]))
    assert "50 annotations of unknown images" in message
    assert message.count("image_id 9") == 20
    assert "annotation 19: " in message
    assert "and 30 more" in message


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([0, 0, 0], "annotation id 0 occurs twice"),
        ([None, 1, 2], "annotation [0] has no whole number below 2**63"),
        ([5, "a", "b"], "annotation a has no whole number below 2**63"),
        ([1, 2, 1.5], "annotation [2] has no whole number below 2**63"),
    ],
)
def test_annotations_without_ids_of_their_own_are_numbered_anew(
    ids: list[Any], told: str, tmp_path: Path
) -> None:
    shapes = [[TRIANGLE], [SQUARE], [[1, 1, 9, 1, 9, 9]]]
    entries = [annotation(i, segmentation=one) for i, one in zip(ids, shapes, strict=True)]
    found = read(tmp_path, coco(annotations=entries))
    assert [one.id for one in found.images[0].instances] == [1, 2, 3]
    assert ("repaired", (told,)) in {(one.effect, one.places) for one in found.findings}


def test_annotations_keep_their_ids_where_one_without_is_left_out(tmp_path: Path) -> None:
    entries = [annotation(7), annotation(8, id=None, segmentation=[])]
    found = read(tmp_path, coco(annotations=entries))
    assert [one.id for one in found.images[0].instances] == [7]


def test_an_annotation_that_is_listed_twice_is_read_once(tmp_path: Path) -> None:
    found = read(tmp_path, coco(annotations=[annotation(5), annotation(6), annotation(5)]))
    assert [one.id for one in found.images[0].instances] == [5, 6]
    assert "1 annotations that are listed twice (annotation 5)" in map(str, found.findings)


@pytest.mark.parametrize("spell", [str, float, lambda i: f" {i}.0 "], ids=["text", "float", "both"])
def test_whole_numbers_are_ids_however_they_are_written(spell: Any, tmp_path: Path) -> None:
    entries = [
        annotation(spell(7), image_id=spell(3), category_id=spell(2)),
        annotation(8, image_id=3, category_id=9),
    ]
    content = coco(
        images=[image_entry(3, id=spell(3), height=spell(HEIGHT))],
        annotations=entries,
        categories=[{"id": 9, "name": "b"}, {"id": spell(2), "name": 1}],
    )
    found = read(tmp_path, content)
    assert found.categories == (Category(2, "1"), Category(9, "b"))
    assert [(image.id, image.height) for image in found.images] == [(3, HEIGHT)]
    assert [(one.id, one.label) for one in found.images[0].instances] == [(7, 0), (8, 1)]
    assert {type(one.id) for one in found.images[0].instances} == {int}


def test_ids_that_are_text_are_numbered_anew_and_told_of(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        coco(
            images=[image_entry(id="b", file_name="b.jpg"), image_entry(id="a", file_name="a.jpg")],
            annotations=[annotation(1, image_id="a", category_id="cat")],
            categories=[{"id": "dog", "name": "dog"}, {"id": "cat", "name": "cat"}],
        ),
    )
    assert [(image.id, image.name) for image in found.images] == [(1, "b.jpg"), (2, "a.jpg")]
    assert found.categories == (Category(1, "cat"), Category(2, "dog"))
    assert [one.label for one in found.images[1].instances] == [0]
    assert {one.effect for one in found.findings if "anew" in one.what} == {"repaired"}


def test_image_id_that_occurs_twice_is_named(tmp_path: Path) -> None:
    other = image_entry(3, file_name="x.jpg")
    message = refusal(tmp_path, coco(images=[image_entry(3), image_entry(4), other]))
    assert "2 images with an id that others have" in message
    assert "image 3 (x.jpg): as '3.jpg' and as 'x.jpg'" in message


def test_image_ids_that_are_one_number_are_named_as_they_are(tmp_path: Path) -> None:
    entries = [image_entry(id="01", file_name="a.jpg"), image_entry(id="1", file_name="b.jpg")]
    assert "'01' and '1' being one number" in refusal(tmp_path, coco(images=entries))


def test_an_image_that_is_listed_twice_is_read_once(tmp_path: Path) -> None:
    again = image_entry(1, license=2)
    found = read(tmp_path, coco(images=[image_entry(1), image_entry(2), again]))
    assert [image.id for image in found.images] == [1, 2]
    assert "1 images that are listed twice (image 1 (1.jpg))" in map(str, found.findings)


def test_category_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    entries = [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]
    message = refusal(tmp_path, coco(categories=[*entries, {"id": 2, "name": "c"}]))
    assert "category ids that several have (category 1: 'a' and 'b')" in message


@pytest.mark.parametrize("entry", [{"name": "a"}, {"id": []}, {"id": True}, 3])
def test_category_without_an_id_is_named_by_its_place(entry: Any, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(categories=[{"id": 1, "name": "a"}, entry]))
    assert "categories without an id that is a text or a whole number below 2**63" in message
    assert f"(categories[1]: {entry!r})" in message


def test_no_categories_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(categories=[], annotations=[]))
    assert "the list of categories is empty" in message
    message = refusal(tmp_path, coco(categories=["thing"]))
    assert "has none with an id of its own: 'thing'; list each class" in message


@pytest.mark.parametrize("image_id", [None, True, [1], 1.5, 2**70, 1e18, {}])
def test_image_without_an_id_is_named_by_its_place(image_id: Any, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(1), image_entry(2, id=image_id)]))
    assert f"(image [1] (2.jpg): {image_id!r}); give it a whole number below 2**63" in message
    assert ("id is too large" in message) == (image_id in (2**70, 1e18))


@pytest.mark.parametrize("side", [-1, 1.5, "x", True, [], float("nan"), 10**400])
def test_side_that_is_none_is_named_with_its_image(side: Any, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(8, width=side)]))
    assert f"(image 8 (8.jpg): width {side!r:.40}); give pixels" in message


SPOILT_IMAGES: list[Any] = [
    None,
    image_entry(id=None),
    image_entry(3, width=-1),
    image_entry(3, height="n/a"),
    image_entry(1, file_name="other.jpg"),
]


@pytest.mark.parametrize("spoilt", SPOILT_IMAGES, ids=["none", "id", "width", "height", "twice"])
def test_entries_of_images_that_say_nothing_of_use_are_left_out_where_asked_for(
    spoilt: Any, tmp_path: Path
) -> None:
    for n in (1, 2):
        (tmp_path / f"{n}.jpg").touch()
    content = coco(
        images=[image_entry(1), image_entry(2), spoilt],
        annotations=[annotation(1), annotation(2, image_id=2), annotation(3, image_id=3)],
        categories=[{"id": 1, "name": "thing"}, {"name": "nothing"}],
    )
    (tmp_path / "instances.json").write_text(json.dumps(content))
    lenient = Data(faults="skip", most_skipped=1)
    found = annotations.read(tmp_path / "instances.json", tmp_path, data=lenient)
    twice = spoilt is SPOILT_IMAGES[4]
    assert [image.id for image in found.images] == ([2] if twice else [1, 2])
    assert found.images[-1].instances[0].id == 2
    assert found.faults.images == (2 if twice else 1)
    assert any(one.what.startswith("categories without an id") for one in found.findings)


@pytest.mark.parametrize("side", [0, None, "", "0", 0.0])
def test_sides_that_are_absent_are_those_of_the_file(side: Any, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    content = coco(images=[image_entry(height=side, width=side)])
    found = read(tmp_path, content, touch=False)
    assert (found.images[0].height, found.images[0].width) == (HEIGHT, WIDTH)
    assert "1 images without sides, taken from their files (image 1 (1.jpg))" in map(
        str, found.findings
    )
    with pytest.raises(InputError, match="image 1 .* has no height and width above 0; give both"):
        annotations.read(tmp_path / "instances.json", None)


@pytest.mark.parametrize(("height", "width"), [(0, WIDTH), (HEIGHT, 0), (1, 1)])
def test_one_side_alone_has_to_be_the_one_of_the_file(
    height: int, width: int, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    found = read(tmp_path, coco(images=[image_entry(height=height, width=width)]), touch=False)
    assert (found.images[0].height, found.images[0].width) == (HEIGHT, WIDTH)
    if max(height, width) > 1:
        content = coco(images=[image_entry(height=height // 2, width=width // 2)])
        message = refusal(tmp_path, content)
        assert f"1.jpg is {WIDTH}x{HEIGHT}, not {width // 2}x{height // 2}); give both" in message


@pytest.mark.parametrize(
    "name",
    ["../1.jpg", "a/../../1.jpg", "..\\1.jpg", "/etc/passwd", "\\1.jpg", "1\0.jpg", "c:\\1.jpg"],
)
def test_file_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "1.jpg").touch()
    images = [image_entry(4, file_name=name)]
    message = refusal(folder, coco(images=images, annotations=[annotation(image_id=4)]))
    assert f"leads out of the folder of images (image 4 ({escaped(name)}): {name!r})" in message


@pytest.mark.parametrize("name", ["http://x.example/1.jpg", "s3://bucket/1.jpg"])
def test_addresses_are_never_asked_for(name: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(file_name=name)]))
    assert "whose file_name is an address; nothing is downloaded" in message


@pytest.mark.parametrize("name", [5, ["1.jpg"], "\ud800.jpg"])
def test_names_that_no_file_has_are_shown(name: Any, tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(file_name=name)]))
    assert repr(name) in message
    assert "write its path from the folder of images on" in message


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_that_lead_out_of_the_folder_are_followed_only_where_allowed(
    what: str, inside: bool, tmp_path: Path
) -> None:
    folder, other = tmp_path / "images", tmp_path / ("images/real" if inside else "other")
    folder.mkdir()
    other.mkdir()
    (other / "1.jpg").touch()
    name = "1.jpg" if what == "file" else "x/1.jpg"
    (folder / name.split("/")[0]).symlink_to(other / "1.jpg" if what == "file" else other)
    (tmp_path / "linked").symlink_to(folder)
    content = coco(images=[image_entry(file_name=name)])
    (tmp_path / "instances.json").write_text(json.dumps(content))
    for root in (folder, tmp_path / "linked"):
        allowed = annotations.read(tmp_path / "instances.json", root, data=Data(follow_links=True))
        assert len(allowed.images) == 1
        if inside:
            assert annotations.read(tmp_path / "instances.json", root).images == allowed.images
        else:
            with pytest.raises(InputError, match="1 images that are links out of the folder"):
                annotations.read(tmp_path / "instances.json", root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("entry", [image_entry(), image_entry(height=0, width=0)])
def test_a_pipe_in_place_of_an_image_is_never_opened(entry: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    message = refusal(tmp_path, coco(images=[entry]))
    assert "1 images that are pipes or devices, not files (image 1 (1.jpg))" in message


def test_image_that_lies_in_one_folder_below_is_found(tmp_path: Path) -> None:
    for folder in ("x", ".ipynb_checkpoints", "__MACOSX"):  # of which the last two hold no data
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").touch()
    found = read(tmp_path, coco(), touch=False)
    assert found.images[0].path == tmp_path / "x/1.jpg"
    assert {(one.effect, one.places) for one in found.findings} == {
        ("repaired", ("image 1: x/1.jpg",))
    }
    (tmp_path / "y").mkdir()
    (tmp_path / "y/1.jpg").touch()
    message = refusal(tmp_path, coco())
    assert "found in several folders (image 1 (1.jpg): x/1.jpg, y/1.jpg)" in message
    assert "write the folder into the file_name" in message


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("A.JPG", "a.jpg"),
        ("a%20b.jpg", "a b.jpg"),
        ("\u00e9.jpg", "e\u0301.jpg"),
        ("a.jpg ", "a.jpg"),
        ("a", "a.jpg"),
        ("a.jpg", "a.png"),
        ("X/a.jpg", "x/a.jpg"),
        ("x/a.JPG", "y/a.jpg"),
    ],
)
def test_image_is_found_by_a_name_that_is_near_where_one_file_fits(
    name: str, file: str, tmp_path: Path
) -> None:
    def put(path: str) -> None:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()

    put(file)
    found = read(tmp_path, coco(images=[image_entry(file_name=name)]), touch=False)
    assert found.images[0].path == tmp_path / file
    assert [(one.effect, one.places) for one in found.findings] == [
        ("repaired", (f"image 1: {file}",))
    ]
    # One file is not of two images, and another image's is not this one's.
    both = [image_entry(file_name=name), image_entry(2, file_name=file)]
    assert "1 image files missing" in refusal(tmp_path, coco(images=both))
    assert "put these there" in refusal(tmp_path, coco(images=both))


def test_a_mask_that_is_called_as_its_image_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/1.png").touch()
    assert "1 image files missing" in refusal(tmp_path, coco())


def test_file_without_any_annotation_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(annotations=[]), touch=True)
    assert (
        "no annotation; there is nothing to learn from it or to be scored by it: annotate"
        in message
    )


def test_file_whose_annotations_are_all_unusable_tells_why(tmp_path: Path) -> None:
    bad = [annotation(n, segmentation=[]) for n in range(3)]
    message = refusal(tmp_path, coco(annotations=bad), touch=True)
    assert f"no annotation with a usable mask (3 instances skipped: {NOTHING_ENCLOSED} (" in message


# What is skipped and counted


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], NOTHING_ENCLOSED),
        ([[]], NOTHING_ENCLOSED),
        ([[5, 5, 20, 20]], NOTHING_ENCLOSED),
        ([[5, 5, 20, 20, 5]], NOTHING_ENCLOSED),
        ([[5, 5, 20, 20, 5, 20, 7]], mask_forms.ODD),
        ([[5, 5, 2], [20, 5, 2], [20, 20, 2]], mask_forms.TRIPLES),
        ([[[5, 5, 2], [20, 5, 2], [20, 20, 2], [20, 20, 2]]], mask_forms.TRIPLES),
        ([[5, 5, 20, float("nan"), 5, 20]], NOTHING_ENCLOSED),
        ([[5, 5, 20, float("inf"), 5, 20]], NOTHING_ENCLOSED),
        ([[5, 5, 20, -float("inf"), 5, 20]], NOTHING_ENCLOSED),
        ([[5, 5, 20, 10**400, 5, 20]], NOTHING_ENCLOSED),
        ([[5, 5, "nan", 20, 5, 20]], NOTHING_ENCLOSED),
        ([5, 5, 20, 20], NOTHING_ENCLOSED),
        ("[[5, 5", mask_forms.TEXT),
        ("5 5 20 20 5 20", mask_forms.NUMBERS),
        ("masks/1.PNG", mask_forms.FILE),
        ("POLYGON ((5 5, 20 5, 20 20, 5 5))", mask_forms.WKT),
        (" ", "no segmentation"),
        ([[[[[[[[[[5, 5, 20, 20, 5, 20]]]]]]]]]], NOTHING_ENCLOSED),
        ([[[[0, 0], [30, 0], [30, 30]], [[9, 5], [20, 5], [20, 9]]]], HOLES),
        ([rle([5]), rle([6])], WRONG_SUM),
        (rle("b'PPPPPPPP"), CORRUPT),
        ([[5, 5, None, 20, 5, 20]], NOTHING_ENCLOSED),
        ([[5, 5, True, 20, 5, 20]], NOTHING_ENCLOSED),
        (["polygon"], NOTHING_ENCLOSED),
        ([{}], NOTHING_ENCLOSED),
        ([[5, 5, 5, 5, 5, 5]], "mask without a pixel"),
        ([[100, 100, 120, 100, 120, 120]], "mask without a pixel"),
        (None, "no segmentation"),
        ("abc", mask_forms.TEXT),
        (3, "no segmentation"),
        (rle([HEIGHT * WIDTH]), "mask without a pixel"),
        (rle([HEIGHT * WIDTH, 0]), "mask without a pixel"),
        (rle([]), WRONG_SUM),
        (rle([10, 20]), WRONG_SUM),
        (rle([10, HEIGHT * WIDTH]), WRONG_SUM),
        (rle([10, HEIGHT * WIDTH - 11]), WRONG_SUM),
        (rle([10, HEIGHT * WIDTH - 9]), WRONG_SUM),
        (rle([-10, HEIGHT * WIDTH + 10]), WRONG_SUM),
        (rle([2**32, HEIGHT * WIDTH]), WRONG_SUM),
        (rle([10**400]), WRONG_SUM),
        (rle([10, HEIGHT * WIDTH - 10], (WIDTH, HEIGHT)), segmentations.EXCHANGED),
        (rle([10, HEIGHT * WIDTH - 10], (HEIGHT + 1, WIDTH)), WRONG_SIZE),
        (rle([10, HEIGHT * WIDTH - 10], (HEIGHT,)), WRONG_SIZE),
        ({}, "no segmentation"),
        ({"x": 5, "y": 5, "width": 9, "height": 9}, mask_forms.OBJECT),
        ({"shape_type": "linestrip", "points": PAIRS}, mask_forms.OBJECT),
        ({"points": {"exterior": PAIRS, "interior": [PAIRS]}}, HOLES),
        ({"type": "Polygon", "coordinates": [PAIRS, PAIRS]}, HOLES),
        ({"type": "Polygon", "coordinates": None}, mask_forms.OBJECT),
        ({"size": [HEIGHT, WIDTH]}, NO_RUNS),
        (rle([10.5, HEIGHT * WIDTH - 10.5]), NO_RUNS),
        (rle(["10"]), WRONG_SUM),
        (rle(["x"]), NO_RUNS),
        (rle("10 x"), CORRUPT),
        (rle(None), NO_RUNS),
        (rle("Größe"), CORRUPT),
        (rle(""), WRONG_SUM),
        (rle(compressed(blob())[:-1]), WRONG_SUM),
        (rle(compressed(blob()) + "1"), WRONG_SUM),
        (rle(compressed(np.ones((HEIGHT + 1, WIDTH), np.uint8))), WRONG_SUM),
        (rle("o"), CORRUPT),
        (rle(" "), CORRUPT),
        (rle("0p"), CORRUPT),
        (rle("\0"), CORRUPT),
        (rle("PPPPPPPP"), CORRUPT),
    ],
)  # fmt: skip
def test_instance_without_a_usable_mask_is_skipped_and_counted(
    segmentation: Any, reason: str, tmp_path: Path
) -> None:
    entries = [annotation(1, segmentation=segmentation), annotation(2)]
    found = read(tmp_path, coco(annotations=entries))
    assert lost(found) == {reason: 1}
    assert [instance.id for instance in found.images[0].instances] == [2]


def test_a_mask_of_another_size_is_told_with_both_sizes(tmp_path: Path) -> None:
    runs = rle([10, HEIGHT * WIDTH - 10], (WIDTH, HEIGHT))
    found = read(tmp_path, coco(annotations=[annotation(1, segmentation=runs), annotation(2)]))
    (finding,) = found.findings
    assert f"size [{WIDTH}, {HEIGHT}], of the image [{HEIGHT}, {WIDTH}]" in finding.places[0]


def test_instance_without_a_segmentation_is_skipped_and_counted(tmp_path: Path) -> None:
    boxed = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    found = read(tmp_path, coco(annotations=[annotation(1), boxed]))
    assert lost(found) == {"no segmentation": 1}


def test_skipped_instances_are_counted_by_reason(tmp_path: Path) -> None:
    shapes = [[TRIANGLE], [], [[1, 2, 3, 4]], rle([5]), None, rle([6]), [[]]]
    entries = [annotation(n, segmentation=shape) for n, shape in enumerate(shapes)]
    found = read(tmp_path, coco(annotations=entries))
    assert lost(found) == {NOTHING_ENCLOSED: 3, WRONG_SUM: 2, "no segmentation": 1}


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_masks_that_are_read_together_leave_each_other_alone(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "CHUNK", chunk)
    masks = [blob(seed) for seed in range(4)]
    shapes = [rle(compressed(masks[0])), rle(compressed(masks[1])), rle("51"), [TRIANGLE],
              rle("o"), rle(runs_of(masks[2])), rle(compressed(masks[3]))]  # fmt: skip
    wanted = [*masks[:2], true_mask([TRIANGLE]), *masks[2:]]
    entries = [annotation(n, segmentation=shape) for n, shape in enumerate(shapes)]
    found = read(tmp_path, coco(annotations=entries))
    assert list(lost(found).items()) == [(WRONG_SUM, 1), (CORRUPT, 1)]
    instances = found.images[0].instances
    assert [one.id for one in instances] == [0, 1, 3, 5, 6]
    for one, mask in zip(instances, wanted, strict=True):
        np.testing.assert_array_equal(decode([one.rle], HEIGHT, WIDTH)[0], mask)
        y, x = np.nonzero(mask)
        assert one.center == (x.sum() / len(x), y.sum() / len(y))


def test_run_lengths_of_more_characters_than_needed_are_shortened(tmp_path: Path) -> None:
    runs = rle([5, HEIGHT * WIDTH - 5])
    short = coco_mask.frPyObjects(runs, HEIGHT, WIDTH)["counts"].decode()
    assert short[0] == "5"
    entries = [annotation(1, segmentation=rle("U0" + short[1:]))]
    (instance,) = read(tmp_path, coco(annotations=entries)).images[0].instances
    assert instance.rle == short.encode()


def test_nothing_is_skipped_of_a_sound_file(tmp_path: Path) -> None:
    assert not list(read(tmp_path, coco()).findings)


# What is far outside


def square(far: float) -> list[list[float]]:
    return [[-far, -far, far, -far, far, far, -far, far]]


@pytest.mark.parametrize("far", [1e3, 1e5])
def test_polygon_outside_of_the_image_is_read_fast(far: float, tmp_path: Path) -> None:
    start = time.perf_counter()
    assert mask_of(tmp_path, square(far)).all()
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("far", [1.1e5, 1e9, 1e18, 1e300])
def test_polygon_absurdly_far_outside_is_skipped_and_counted(far: float, tmp_path: Path) -> None:
    entries = [annotation(1, segmentation=square(far)), annotation(2)]
    found = read(tmp_path, coco(annotations=entries))
    assert lost(found) == {"a polygon point beyond 100000 pixels": 1}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_long_polygons_are_masks_of_pycocotools_to_the_bit(
    data: st.DataObject, size: tuple[int, int]
) -> None:
    far = data.draw(st.sampled_from([1, 2, 30]))
    number = st.floats(-far * 40, far * 40).map(lambda value: round(value, far % 3))
    polygon = data.draw(st.lists(number, min_size=6, max_size=20).filter(lambda p: len(p) % 2 == 0))
    with mock.patch.multiple(polygons, MOST_STEPS=-1, MOST_CROSSINGS=3 * size[1]):
        found = polygons.to_rle([polygon], *size)
    assert found == coco_mask.merge(coco_mask.frPyObjects([polygon], *size))


def test_a_polygon_that_goes_far_out_again_and_again_takes_little_memory(tmp_path: Path) -> None:
    zigzag = [number for n in range(200) for number in (-1e5 if n % 2 else 1e5, n % 40)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert mask_of(tmp_path, [zigzag]).any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_long_corrupt_run_lengths_are_skipped_fast(tmp_path: Path) -> None:
    start = time.perf_counter()
    entries = [annotation(1, segmentation=rle("o" * 400_000)), annotation(2)]
    assert lost(read(tmp_path, coco(annotations=entries))) == {CORRUPT: 1}
    assert time.perf_counter() - start < 1


# Oddities of exporters


@pytest.mark.parametrize(
    ("flag", "crowd"),
    [(0, False), (1, True), (True, True), (1.0, True), ("0", False), ("1", True), (None, False)],
)
def test_crowds_are_told_by_numbers_and_by_text(flag: Any, crowd: bool, tmp_path: Path) -> None:
    content = read(tmp_path, coco(annotations=[annotation(1, iscrowd=flag)]))
    assert content.images[0].instances[0].is_crowd is crowd


def test_class_names_that_no_file_can_hold_are_made_so(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "a\ud800"}, {"id": 2, "name": None}]
    found = read(tmp_path, coco(categories=names)).categories
    assert [category.name for category in found] == ["a?", "2"]


def test_image_of_more_pixels_than_can_be_counted_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, coco(images=[image_entry(height=2**40, width=2**40)]), touch=True)
    assert "images of 2147483648 pixels or more (image 1 (1.jpg): " in message


def test_a_file_that_is_not_there_is_not_called_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        annotations.read(tmp_path / "nothing.json", tmp_path)
    assert "is not JSON" not in str(caught.value)


# The text of the file


@pytest.mark.parametrize("size", [16, 2**22])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_text_is_read_in_the_encoding_of_its_first_bytes(
    encoding: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", size)
    path = tmp_path / "instances.json"
    content = {"annotations": [annotation()], **coco(categories=[{"id": 1, "name": "é😀"}])}
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    found = annotations.read(path, None)
    assert found.categories == (Category(1, "é😀"),)
    assert len(found.images[0].instances) == 1


@pytest.mark.parametrize("size", [16, 2**22])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{\n"images": [{"id" 1}]}', "line 2, column 18 (character 19): expecting ':' delimiter"),
        (b'{"images": [{"file_name": "a\\q.jpg"}]}', "column 29 (character 28): invalid \\escape"),
        (b'{"images": [{"a": 1}, {"a": [1, 2', "(character 33): the file ends here"),
        (b"", "the file ends here"),
        (b'{"images": "a\xff"}', "it is not UTF-8, byte 13 is 0xff; save it as UTF-8"),
        (b'{"images": ' + b"[" * 200_000, "(character 12): lists or objects lie in each other"),
        (b'{"images": [' + b"1" * 5000 + b"]}", "(character 12): Exceeds the limit (4300 digits)"),
        (b'{"images": [], "images": []}', "there is a second list 'images'"),
        (b'{"images": []} {}', "(character 15): there is more behind the end"),
        (b"[]", "it holds a list where an object"),
    ],
)
def test_text_that_is_not_read_is_told_with_its_place(
    text: bytes, told: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", size)
    path = tmp_path / "instances.json"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        annotations.read(path, tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(b"{}"), "it seems to be a gzip archive; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS; run git lfs pull"),
        (b"\n<!DOCTYPE html>", "a web page (HTML); download the file itself"),
        (b"<annotation>", "XML, such as SVG; give the JSON of a COCO instances set"),
        (bytes(40), "nothing but zeros"),
        (b'{"abc":"webp"}', "it has no list 'images'; give the JSON"),
        (b"{}", "it has no list 'images'; give the JSON"),
        (
            b'{"images": [], "categories": [], "annotations": []}',
            "categories is empty; list each class",
        ),
        (
            b'{"images": [5], "categories": [{"id": 1}], "annotations": []}',
            "no objects (image [0] (): 5); write id, file_name",
        ),
    ],
)
def test_what_is_no_coco_file_is_named_with_the_cure(
    content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / "instances.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        annotations.read(tmp_path / "instances.json", tmp_path)
    assert told in str(caught.value)


def test_lists_may_come_in_any_order(tmp_path: Path) -> None:
    orders = itertools.permutations(coco().items())
    found = {repr(read(tmp_path, dict(order))[:2]) for order in orders}
    assert len(found) == 1


def test_a_large_file_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", 2**16)
    far = [{**annotation(n), "note": "x" * 5000} for n in range(2000)]
    (tmp_path / "instances.json").write_text(json.dumps(coco(annotations=far)))
    tracemalloc.start()
    try:
        annotations.read(tmp_path / "instances.json", None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (tmp_path / "instances.json").stat().st_size
    assert size > 1e7
    assert peak < size


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_place_of_the_json_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "instances.json")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        annotations.read(tmp_path / "instances.json", None)


@pytest.mark.parametrize("key", ["bbox", "area"])
def test_boxes_and_areas_that_are_none_are_told_of(key: str, tmp_path: Path) -> None:
    value = [1, 2, float("nan"), 4] if key == "bbox" else float("inf")
    found = read(tmp_path, coco(annotations=[annotation(7, **{key: value})]))
    (finding,) = found.findings
    assert finding.effect == "repaired"
    assert finding.places == (f"annotation 7 of image 1: {value!r}",)
