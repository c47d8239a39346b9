"""Claims about YOLO segmentation: its yaml, its lists, its lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from solojax.config import Category
from solojax.data.foreign import yolo
from solojax.types import InputError
from tests.data.foreign.scene import (
    BOX,
    HEIGHT,
    TRIANGLE,
    WIDTH,
    bring,
    drawn,
    found_in,
    lost,
    masks,
    png,
    put,
    put_yolo,
    raw,
    read,
    refusal,
    yolo_line,
)


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
    found = yolo.read(source).splits["train"]
    assert lost(found) == {"box without a mask": 2}
    assert len(found.pictures[0].instances) == 1


def test_yolo_masks_without_a_pixel_are_skipped_and_counted(source: Path) -> None:
    put_yolo(source, lines=f"0 .5 .5 .5 .5 .5 .5\n{yolo_line(0, BOX)}\n1 .5 .5\n0")
    found = yolo.read(source).splits["train"]
    assert lost(found) == {"mask without a pixel": 1, "no polygon of three points": 2}


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
        ("0 .1 .1 .2 .2 .1 .2 2 .3 .3 2", "seems to be a pose, not a polygon"),
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
        ("names: {0: [a, b]}", "the name of class 0 is \"['a', 'b']\", not a text"),
        ("names: [a, ' ']", "the name of class 1 is ' ', not a text"),
        ("names: [a]\nkpt_shape: [17, 3]", "is of poses, it has kpt_shape"),
        ("names: [a]", "data.yaml has neither train nor val"),
        ("names: [a]\ntrain: lost", "lost is no folder or .txt list"),
        (f"names: [a]\ntrain: {'x' * 300}", "is no folder or .txt list"),
        (f"names: [a]\npath: {'x' * 300}\ntrain: lost", "lost is no folder or .txt list"),
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


def test_names_are_texts_and_as_many_as_nc_says(source: Path) -> None:
    put_yolo(source, names=None)
    path = source / "data.yaml"
    path.write_text(f"{path.read_text()}nc: 5\nnames: [no, 1.0, null, 2020-01-01]\n")
    split = yolo.read(source).splits["train"]
    assert [c["name"] for c in split.categories] == ["no", "1.0", "null", "2020-01-01"]
    (what,) = found_in(split, "doubtful")
    assert "differs from its 4 names" in what


@pytest.mark.parametrize("key", ["valid", "validation"])
def test_val_has_several_spellings(key: str, source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source, val=None, **{key: "images/val"}), out)
    assert [i["file_name"] for i in raw(out, "val")["images"]] == ["val/a.png"]


def test_test_images_are_told_of(source: Path) -> None:
    split = yolo.read(put_yolo(source, test="images/train")).splits["train"]
    assert found_in(split, "told") == {
        "entry of data.yaml left out: only train and val are read": 1
    }


@pytest.mark.parametrize("label", ["IMG_1.txt", "img_1.TXT", "Img_1.png.txt"])
def test_label_file_may_be_spelt_otherwise(label: str, source: Path, out: Path) -> None:
    put_yolo(source)
    put(source / "images/train/IMG_1.PNG", png(4))
    put(source / f"labels/train/{label}", yolo_line(1, BOX))
    bring("yolo", source, out)
    assert [len(image.instances) for image in read(out).images] == [1, 2]
    told = found_in(yolo.read(source).splits["train"], "repaired")
    assert list(told.values()) == ([] if label == "IMG_1.txt" else [1])


def test_label_files_that_differ_by_case_each_keep_their_image(source: Path, out: Path) -> None:
    put_yolo(source)
    put(source / "images/train/A.png", png(4))
    put(source / "labels/train/A.txt", yolo_line(1, BOX))
    bring("yolo", source, out)
    assert [len(image.instances) for image in read(out).images] == [1, 2]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("train/a.png", "labels/train/a.txt"),
        ("set/train/a.png", "set/labels/train/a.txt"),
        ("train/Images/a.png", "train/labels/a.txt"),
        ("train/a.png", "train/labels/a.txt"),
    ],
)
def test_labels_are_found_beside_the_folder_of_images(
    image: str, label: str, source: Path, out: Path
) -> None:
    put(source / "data.yaml", f"train: {Path(image).parent}\nnames: [cat]\n")
    put(source / image, png())
    put(source / label, yolo_line(0, BOX))
    bring("yolo", source, out)
    assert len(read(out).images[0].instances) == 1


def test_images_and_labels_without_a_partner_are_named(source: Path) -> None:
    put_yolo(source)
    put(source / "images/train/b.png", png(2))
    put(source / "images/train/c.psd", b"8BPS")
    put(source / "labels/train/c.txt", yolo_line(0, BOX))
    put(source / "labels/train/classes.txt", "cat")
    found = {f.what: f.places for f in yolo.read(source).splits["train"].findings}
    assert found == {
        "files left out: pictures of a kind that is not read (.psd)": ("images/train/c.psd",),
        "images without a label file, read as empty ones": ("images/train/b.png",),
        "label files without an image": ("labels/train/c.txt",),
    }


def test_splits_by_lists_share_a_folder_of_labels(source: Path) -> None:
    for number, name in enumerate("abc"):
        put(source / f"images/{name}.png", png(number))
        put(source / f"labels/{name}.txt", yolo_line(0, BOX))
        put(source / f"{name}.txt", f"images/{name}.png\n")
    put(source / "labels/d.txt", yolo_line(0, BOX))
    put(source / "data.yaml", "names: [cat]\ntrain: a.txt\nval: b.txt\ntest: c.txt\n")
    splits = yolo.read(source).splits
    assert lost(splits["train"]) == {"label files without an image": 1}
    assert lost(splits["val"]) == {}


def test_points_a_little_outside_are_clipped_and_counted(source: Path, out: Path) -> None:
    put_yolo(source, lines="0 -.05 -.01 1.08 0 1 1.02 0 1")
    bring("yolo", source, out)
    (annotation,) = raw(out)["annotations"]
    assert annotation["segmentation"] == [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]
    assert list(found_in(yolo.read(source).splits["train"], "repaired").values()) == [1]


def test_names_may_be_numbered_by_text(source: Path, out: Path) -> None:
    bring("yolo", put_yolo(source, names={"1": "dog", "0": "cat"}), out)
    assert raw(out)["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]


def test_set_without_a_yaml_has_a_list_of_classes(source: Path, out: Path) -> None:
    put(source / "classes.txt", "cat\ndog\n")
    put(source / "images/a.png", png())
    put(source / "labels/a.txt", yolo_line(1, BOX))
    bring("yolo", source, out)
    assert raw(out)["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    assert len(read(out).images[0].instances) == 1


def test_test_images_of_a_set_without_a_yaml_are_told_of(source: Path) -> None:
    put(source / "classes.txt", "cat")
    for split in ("train", "test"):
        put(source / f"images/{split}/a.png", png())
        put(source / f"labels/{split}/a.txt", yolo_line(0, BOX))
    (split,) = yolo.read(source).splits.values()
    assert len(split.pictures) == 1
    assert [f.places for f in split.findings] == [("test",)]


def test_yaml_may_have_another_name_if_it_is_the_only_one(source: Path, out: Path) -> None:
    (put_yolo(source) / "data.yaml").rename(source / "mine.yml")
    bring("yolo", source, out)
    assert len(read(out).images) == 1
    put(source / "more.yaml", "names: [a]")
    assert "has 2 yaml files (mine.yml, more.yaml)" in refusal("yolo", source)


@pytest.mark.parametrize("base", ["/home/me/set", "C:\\sets\\mine"])
def test_paths_of_another_machine_are_found_by_their_ends(
    base: str, source: Path, out: Path
) -> None:
    put(source / "val.txt", f"{base}/images/val/a.png\n".encode("utf-16"))
    put_yolo(source, path=base, train=f"{base}/images/train", val="val.txt")
    bring("yolo", source, out)
    assert [i["file_name"] for i in raw(out)["images"]] == ["train/a.png"]
    assert [i["file_name"] for i in raw(out, "val")["images"]] == ["val/a.png"]


@pytest.mark.parametrize("change", [{"path": 3}, {"train": {"a": 1}}, {"train": [["a"]]}])
def test_yaml_values_of_the_wrong_type_are_named(change: dict, source: Path) -> None:
    assert f"data.yaml: {next(iter(change))} is" in refusal("yolo", put_yolo(source, **change))


LAUGHS = "a0: &a0 [lol, lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [f"{LAUGHS}names: *a11\ntrain: images", "x: &x {y: 1}\nz: {<<: *x}", "a: &a [*a]"],
    ids=["laughs", "merged", "itself"],
)
def test_yaml_with_aliases_is_refused_by_its_line(text: str, source: Path) -> None:
    source.mkdir()
    (source / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=r"data.yaml cannot be parsed: line \d: write out what"):
        yolo.read(source)
