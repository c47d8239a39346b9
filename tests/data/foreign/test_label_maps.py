"""Claims about importing label maps: id PNGs, palettes, Cityscapes, stuff that was drawn, COCO."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from solojax import cli
from solojax.data import annotations, foreign
from solojax.data.annotations import panoptic
from solojax.data.foreign import cityscapes, label_maps, write
from tests.data.foreign.scene import (
    BOX,
    HEIGHT,
    TRIANGLE,
    WIDTH,
    blobs,
    bring,
    content_of,
    drawn,
    found_in,
    png,
    put,
    put_city,
    put_drawing,
    put_ids,
    put_pairs,
    read,
    refusal,
    shape,
)

VOID = 255


def maps(found: annotations.Annotations) -> list[np.ndarray]:
    return [panoptic.read_labels(image)[0] for image in found.images]


def names(found: annotations.Annotations) -> tuple[list[str], list[str]]:
    return [one.name for one in found.categories], [one.name for one in found.stuff or ()]


def expected(values: np.ndarray, labels: dict[int, int]) -> np.ndarray:
    return np.vectorize(lambda value: labels.get(value, VOID))(values).astype(np.uint8)


def put_names(root: Path, *lines: str) -> Path:
    return put(root.with_name("names.txt"), "\n".join(lines) + "\n")


def put_palette(path: Path, values: np.ndarray) -> None:
    """As Pascal VOC has them: 255 is (224, 224, 192)."""
    image = Image.fromarray(values)
    palette = np.random.default_rng(0).integers(1, 255, (256, 3), np.uint8)
    palette[0], palette[VOID] = 0, (224, 224, 192)
    image.putpalette(palette.ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    put(path, stream.getvalue())


@pytest.mark.parametrize("is_palette", [False, True], ids=["gray", "palette"])
def test_values_are_the_names_in_their_order_and_255_is_void(
    source: Path, out: Path, is_palette: bool
) -> None:
    values = blobs(1, 2, VOID, dtype=np.uint8)
    put_pairs(source, values)
    if is_palette:
        put_palette(source / "masks/a.png", values)
    bring("labels", source, out, labels=put_names(source, "__ignore__", "road", "sky", "tree"))
    found = read(out)
    assert names(found) == ([], ["road", "sky", "tree"])
    (labels,) = maps(found)
    np.testing.assert_array_equal(labels, expected(values, {0: 0, 1: 1, 2: 2}))


def test_where_values_end_at_the_number_of_names_0_is_void_which_is_told(
    source: Path, out: Path
) -> None:
    values = blobs(1, 3)
    for split in ("training", "validation"):
        put(source / f"images/{split}/a.jpg", png(len(split), end=".jpg"))
        put_ids(source / f"annotations/{split}/a.png", values.astype(np.uint8))
    listed = put_names(source, "wall", "building", "sky")
    imported = foreign.read("labels", source, labels=listed, faults=foreign.coco.STRICT)
    (what,) = found_in(imported.splits["train"], "told")
    assert (
        "0 stands for what is no class (ADE20K's 'other') and is ignored, and 1 is 'wall'" in what
    )
    write.write(imported, out)
    for split in ("train", "val"):
        found = read(out, split)
        assert names(found) == ([], ["wall", "building", "sky"])
        np.testing.assert_array_equal(maps(found)[0], expected(values, {1: 0, 3: 2}))


def test_a_set_that_lacks_its_last_class_can_say_that_0_is_none(source: Path, out: Path) -> None:
    values = blobs(1, 2, dtype=np.uint8)
    put_pairs(source, values)
    listed = put_names(source, "wall", "building", "sky")
    imported = foreign.read("labels", source, labels=listed, faults=foreign.coco.STRICT)
    (what,) = found_in(imported.splits["train"], "told")
    assert "values of 0 to 2, in their order: 0 is 'wall', 2 is 'sky'" in what
    listed = put_names(source, "other", "wall", "building", "sky")
    bring("labels", source, out, labels=listed, ignore=0)
    found = read(out)
    assert names(found) == ([], ["wall", "building", "sky"])
    np.testing.assert_array_equal(maps(found)[0], expected(values, {1: 0, 2: 1}))


def test_pascal_voc_has_the_images_that_are_listed(source: Path, out: Path) -> None:
    values = blobs(1, VOID, dtype=np.uint8)
    for number, stem in enumerate("abc"):
        put(source / f"JPEGImages/{stem}.jpg", png(number, end=".jpg"))
        put_palette(source / f"SegmentationClass/{stem}.png", values)
        put_palette(source / f"SegmentationObject/{stem}.png", blobs(2, dtype=np.uint8))
    put(source / "ImageSets/Segmentation/train.txt", "a\n")
    put(source / "ImageSets/Segmentation/val.txt", "c\n")
    bring("labels", source, out)
    for split, name in (("train", "train/a.jpg"), ("val", "val/c.jpg")):
        found = read(out, split)
        assert [image.name for image in found.images] == [name]
        np.testing.assert_array_equal(maps(found)[0], expected(values, {0: 0, 1: 1}))


def test_values_without_a_list_are_names(source: Path, out: Path) -> None:
    values = blobs(4, 9, dtype=np.uint8)
    bring("labels", put_pairs(source, values), out, ignore=9)
    found = read(out)
    assert names(found) == ([], ["label 0", "label 4"])
    np.testing.assert_array_equal(maps(found)[0], expected(values, {0: 0, 4: 1}))


def test_a_value_without_a_name_and_a_map_of_another_size_are_refused(source: Path) -> None:
    put_pairs(source, blobs(1, 7, dtype=np.uint8))
    message = refusal("labels", source, labels=put_names(source, "a", "b"))
    assert "masks/a.png has the value 7, and" in message
    assert "names.txt has 2 names; name it there, or give --ignore 7" in message
    put_ids(source / "masks/a.png", blobs(1)[:40])
    assert f"a.png is {WIDTH}x40 where its image is {WIDTH}x{HEIGHT}" in refusal("labels", source)


def test_cityscapes_has_things_and_stuff_in_one_map(source: Path, out: Path) -> None:
    values = blobs(7, 24000, 24001, 26, 23, 25, 29000, 4)
    bring("cityscapes", put_city(source, values), out)
    found = read(out)
    assert names(found) == ([*cityscapes.SCORED.values()], [*cityscapes.STUFF.values()])
    labels = {24000: 0, 24001: 0, 25: 1, 26: 2, 7: 8, 23: 18}
    np.testing.assert_array_equal(maps(found)[0], expected(values, labels))
    (image,) = found.images
    assert image.label_map.crowd.sum() == 2


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_without_instances_is_stuff_alone(source: Path, out: Path, kind: str) -> None:
    values = blobs(7, 26, 4) if kind == "labelIds" else blobs(2, 13, 255)
    put_city(source, values)
    for path in [*source.rglob("*Ids.png")]:
        path.unlink()
    put_ids(
        source / f"gtFine/train/ulm/ulm_000000_000019_gtFine_{kind}.png", values.astype(np.uint8)
    )
    bring("cityscapes", source, out)
    found = read(out)
    things, stuff = names(found)
    assert not things and len(stuff) == 19
    labels = {7: 0, 26: 13} if kind == "labelIds" else {0: 0, 2: 2, 13: 13}
    np.testing.assert_array_equal(maps(found)[0], expected(values, labels))
    assert stuff[13] == "car"


def test_what_was_drawn_as_stuff_lies_under_the_things(source: Path, out: Path) -> None:
    whole = [[0, 0], [WIDTH, 0], [WIDTH, 40], [0, 40]]
    put_drawing(source / "a.json", shape("cat", TRIANGLE), shape("sky", whole), shape("dog", BOX))
    put_drawing(source / "b.json", shape("cat", TRIANGLE), image=png(3))
    given = f"data import labelme {source} {out} --stuff sky --val .5"
    assert cli.main(given.split()) == 0
    for split in ("train", "val"):
        found = read(out, split)
        assert names(found) == (["cat", "dog"], ["sky"])
        (labels,) = maps(found)
        is_a = found.images[0].name == "a.png"
        wanted = np.where(drawn(whole) > 0, 2, VOID) if is_a else np.full((HEIGHT, WIDTH), VOID)
        wanted[drawn(TRIANGLE) > 0] = 0
        wanted[(drawn(BOX) > 0) & is_a] = 1
        np.testing.assert_array_equal(labels, wanted)
    assert "--stuff road is none of the classes cat, dog, sky" in _line(
        ["data", "import", "labelme", str(source), str(out), "--stuff", "road"]
    )


def _line(command: list[str]) -> str:
    with pytest.MonkeyPatch.context() as patched:
        stream = io.StringIO()
        patched.setattr("sys.stderr", stream)
        assert cli.main(command) == 2
    return stream.getvalue()


def test_maps_of_a_coco_folder_are_divided_and_cut_with_its_images(source: Path, out: Path) -> None:
    values = np.kron(blobs(7, 24000, 26), np.ones((2, 2), np.uint16))
    for seed, city in enumerate(("ulm", "bonn")):
        put_city(source, values, city=city)
        image = source / f"leftImg8bit/train/{city}/{city}_000000_000019_leftImg8bit.png"
        image.write_bytes(png(seed, values.shape))
    bring("cityscapes", source, out)
    labels = maps(read(out))[0]
    tiles = out.with_name("tiles")
    assert cli.main(f"data import coco {out} {tiles} --val .5 --tiles 64".split()) == 0
    for split in ("train", "val"):
        found = read(tiles, split)
        for image, found_labels in zip(found.images, maps(found), strict=True):
            top, left = map(int, Path(image.name).stem.split("_")[-2:])
            whole = labels[top : top + image.height, left : left + image.width]
            np.testing.assert_array_equal(found_labels, whole)
    # Of a panoptic JSON alone the things are the instances.
    for path in (out / "annotations").glob("instances*"):
        path.unlink()
    again = out.with_name("again")
    bring("coco", out, again)
    np.testing.assert_array_equal(maps(read(again))[0], labels)
    assert len(json.loads((again / "annotations/instances_train.json").read_text())["annotations"])


def test_an_import_without_maps_removes_those_of_an_earlier_one(source: Path, out: Path) -> None:
    put_pairs(source, blobs(1, 2))
    found = foreign.read("pairs", source, foreign.coco.STRICT)
    write.write(label_maps.take(found, ["object"]), out)
    assert (out / "annotations/panoptic_train.json").exists()
    write.write(found, out)
    assert "annotations/panoptic_train.json" not in content_of(out)
    assert read(out).stuff is None
