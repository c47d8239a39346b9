"""Claims about label maps as they are read: a panoptic JSON beside an instances JSON, or alone."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from solojax.config import Augmentation, Category, Data
from solojax.data import check, examples, panoptic_ids, pipeline
from solojax.data.records import coco
from solojax.evaluation.dataset import label_maps
from solojax.types import InputError

SIZE = (24, 32)
CATEGORIES = [
    {"id": 7, "name": "sky", "isthing": 0},
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 5, "name": "dog", "isthing": 1},
    {"id": 9, "name": "road", "isthing": 0},
]
CAT, HERD, SKY = 70_000, 300, 5  # ids of segments


def segment_ids() -> np.ndarray:
    """Sky above, a cat and a herd of dogs on it, void below."""
    ids = np.zeros(SIZE, np.int32)
    ids[:16] = SKY
    ids[4:10, 5:12] = CAT
    ids[8:14, 20:30] = HERD
    return ids


def expected() -> np.ndarray:
    """Labels: cat, dog, sky, road."""
    labels = np.full(SIZE, 255, np.uint8)
    for value, label in ((SKY, 2), (CAT, 0), (HERD, 1)):
        labels[segment_ids() == value] = label
    return labels


def segments(**changes: Any) -> list[dict[str, Any]]:
    rows = [(CAT, 3, 0), (HERD, 5, 1), (SKY, 7, 0)]
    return [{"id": i, "category_id": c, "iscrowd": crowd, **changes} for i, c, crowd in rows]


def put(root: Path, split: str = "train", **changes: Any) -> Path:
    """Writes a panoptic set of one image; ``changes`` of its annotation, or of lists of the JSON.

    ``png`` are the bytes of the PNG, None leaves it out.
    """
    folder = root / "annotations" / f"panoptic_{split}"
    for path in (folder, root / split):
        path.mkdir(parents=True, exist_ok=True)
    ids = cv2.imencode(".png", panoptic_ids.to_rgb(segment_ids())[..., ::-1])[1].tobytes()
    if (png := changes.pop("png", ids)) is not None:
        (folder / "a.png").write_bytes(png)
    cv2.imwrite(str(root / split / "a.jpg"), np.zeros((*SIZE, 3), np.uint8))
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": segments()}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{**annotation, **changes.pop("annotation", {})}],
        "categories": CATEGORIES,
        **changes,
    }
    folder.with_suffix(".json").write_text(json.dumps(content))
    return root


def put_instances(root: Path, **changes: Any) -> Path:
    """And an instances JSON, which has a cat alone and numbers its classes otherwise."""
    mask = coco_mask.encode(np.asfortranarray(segment_ids() == CAT, np.uint8))
    one = {"id": 4, "image_id": 1, "category_id": 3}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{**one, "segmentation": {**mask, "counts": mask["counts"].decode()}}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return root


def prepare(root: Path, split: coco.Split = "train", **changes: Any) -> coco.Records:
    return coco.prepare(Data(root=str(root), records=str(root / "records"), **changes), split)


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        prepare(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_things_of_a_panoptic_set_are_its_instances_and_crowds(tmp_path: Path) -> None:
    records = prepare(put(tmp_path))
    assert records.categories == (Category(3, "cat"), Category(5, "dog"))
    assert records.stuff == (Category(7, "sky"), Category(9, "road"))
    record = coco.read(records, 0)
    np.testing.assert_array_equal(coco.labels_of(records, record), expected())
    cat, herd = record.instances
    assert [(one.label, one.is_crowd) for one in record.instances] == [(0, False), (1, True)]
    for one, value in ((cat, CAT), (herd, HERD)):
        mask = coco_mask.decode({"size": SIZE, "counts": one.rle})
        np.testing.assert_array_equal(mask, segment_ids() == value)
    assert cat.box == (5, 4, 12, 10)


def test_a_panoptic_json_beside_the_instances_adds_its_maps_alone(tmp_path: Path) -> None:
    root = put_instances(put(tmp_path))
    records = prepare(root)
    assert [one.name for one in records.categories] == ["cat", "dog"]
    record = coco.read(records, 0)
    assert [one.id for one in record.instances] == [4]
    np.testing.assert_array_equal(coco.labels_of(records, record), expected())
    # A map that changes makes other records.
    ids = np.where(segment_ids() == SKY, 0, segment_ids())
    (root / "annotations/panoptic_train/a.png").write_bytes(
        cv2.imencode(".png", panoptic_ids.to_rgb(ids)[..., ::-1])[1].tobytes()
    )
    again = prepare(root)
    assert again.fingerprint != records.fingerprint
    labels = coco.labels_of(again, coco.read(again, 0))
    np.testing.assert_array_equal(labels == 255, ids == 0)


def test_a_set_of_stuff_alone_is_legal(tmp_path: Path) -> None:
    stuff = [{**one, "isthing": 0} for one in CATEGORIES]
    records = prepare(put(tmp_path, categories=stuff))
    assert records.categories == ()
    assert [one.name for one in records.stuff] == ["cat", "dog", "sky", "road"]
    record = coco.read(records, 0)
    assert record.instances == []
    np.testing.assert_array_equal(coco.labels_of(records, record), expected())


def test_of_an_image_without_a_map_nothing_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = prepare(put_instances(put(tmp_path, annotations=[])))
    assert "1 images without a label map, whose pixels are ignored" in capsys.readouterr().out
    record = coco.read(records, 0)
    assert (len(record.instances), coco.labels_of(records, record)) == (1, None)
    data = Data(root="set", canvases=((24, 32),), train_short_sides=(24,), long_side=32)
    load = examples.train_examples(
        records, data, mask_strides=(), label_strides=(1,), batch_size=1, seed=0
    )
    assert (load(0, 0).instances.label_maps[1] == 255).all()


def test_labels_of_a_validation_set_are_those_of_the_model(tmp_path: Path) -> None:
    some = [CATEGORIES[0], CATEGORIES[2], {**CATEGORIES[1], "id": 30}]
    annotation = {
        "segments_info": [
            {**one, "category_id": c} for one, c in zip(segments(), (30, 5, 7), strict=True)
        ]
    }
    put(put(tmp_path), "val", categories=some, annotation=annotation)
    train = prepare(tmp_path)
    val = prepare(tmp_path, "val", categories=train.categories, stuff=train.stuff)
    assert (val.categories, val.stuff) == (train.categories, train.stuff)
    np.testing.assert_array_equal(coco.labels_of(val, coco.read(val, 0)), expected())


def test_a_panoptic_json_without_its_folder_adds_nothing_and_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_instances(put(tmp_path))
    shutil.rmtree(root / "annotations/panoptic_train")
    records = prepare(root)
    assert "panoptic JSON without its folder of PNGs" in capsys.readouterr().out
    assert (records.stuff, records.stuff_labels) == ((), None)
    assert set(records.source[0]) == {"image", "path", "as_stored", "instances"}


def encoded(pixels: np.ndarray, *palette: int) -> bytes:
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(palette)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


RGB = panoptic_ids.to_rgb(segment_ids())
GREY = segment_ids().astype(np.uint8)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown id": (
        {"png": encoded(panoptic_ids.to_rgb(segment_ids() + (segment_ids() == SKY)))},
        "a.png has the id 6, which segments_info does not list",
    ),
    "other size": (
        {"png": encoded(RGB[:20])},
        "a.png is 32x20 where its image is 32x24 (width x height)",
    ),
    "missing": ({"png": None}, "a.png: no such file"),
    "damaged": ({"png": encoded(RGB)[:-40]}, "a.png is"),
    "no PNG": ({"png": b"GIF89a"}, "a.png is no PNG"),
    "grey": ({"png": encoded(GREY)}, "a.png is a gray PNG of 8 bits where ids are wanted as RGB"),
    "palette": ({"png": encoded(GREY, 0, 0, 0)}, "a.png is a palette PNG of"),
    "16 bits": ({"png": encoded(GREY.astype(np.uint16))}, "a.png is a gray PNG of 16 bits"),
    "unknown category": (
        {"annotation": {"segments_info": segments(category_id=99)}},
        "3 segments of categories that the JSON does not list (annotation 5 of a.png: category_id",
    ),
    "id of none": (
        {"annotation": {"segments_info": segments(id=2**24)}},
        "segments without an id of their own in 1..16777215",
    ),
    "crowd or not": (
        {"annotation": {"segments_info": segments(iscrowd="yes")}},
        "a.png: iscrowd is 'yes', neither 0 nor 1",
    ),
    "no segment": (
        {"annotation": {"segments_info": [None, *segments()]}},
        "1 segments that are no objects (annotation None of a.png)",
    ),
    "no segments_info": (
        {"annotations": [{"image_id": 1, "file_name": "a.png"}]},
        "1 label maps without a file_name or segments_info",
    ),
    "unknown image": ({"annotation": {"image_id": 8}}, "label maps of unknown images"),
    "outside": ({"annotation": {"file_name": "../a.png"}}, "label maps whose file name"),
    "too many": (
        {
            "categories": CATEGORIES
            + [{"id": i, "name": f"{i}", "isthing": 0} for i in range(20, 275)]
        },
        "2 things and 257 kinds of stuff are more than 254 labels",
    ),
    "neither": ({"categories": [{"id": 7, "name": "sky"}]}, "category 7 has the isthing None"),
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside instances"])
@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_a_bad_map_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str, beside: bool
) -> None:
    root = put(tmp_path, **changes)
    assert said in refusal(put_instances(root) if beside else root)


def test_maps_with_things_that_the_instances_do_not_know_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = prepare(put_instances(put(tmp_path), categories=[{"id": 3, "name": "cat"}]))
    assert records.stuff_labels is None
    said = capsys.readouterr().out
    assert "likely wrong: 1 things of the panoptic JSON are no categories of the instances" in said
    assert "'dog' is category 5" in said


def test_what_is_odd_about_maps_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [*segments(), {"id": 9, "category_id": 9, "iscrowd": "true"}]
    twice = [*CATEGORIES, {"id": 8, "name": "road", "isthing": 0}]
    prepare(put_instances(put(tmp_path, annotation={"segments_info": more}, categories=twice)))
    said = capsys.readouterr().out
    assert "1 label maps that lack a pixel of a segment that segments_info lists" in said
    assert "1 crowds of stuff, which count as stuff like any other (9 of a.png)" in said
    assert "likely wrong: 2 classes have the name 'road' ('road' is 8, 'road' is 9)" in said


def test_batches_carry_maps_at_the_strides_that_are_asked_for(tmp_path: Path) -> None:
    records = prepare(put(tmp_path))
    data = Data(root="set", canvases=((24, 32),), train_short_sides=(24,), long_side=32)
    settings: dict[str, Any] = {"batch_size": 1, "seed": 0, "first": 0, "last": 1}
    no_flip = dataclasses.replace(data, augmentation=Augmentation(flip_probability=0.0))
    (batch,) = pipeline.train_batches(
        records, no_flip, mask_strides=(), label_strides=(8, 1, 8), **settings
    )
    assert batch.instances.masks == {}
    assert set(batch.instances.label_maps) == {1, 8}
    np.testing.assert_array_equal(batch.instances.label_maps[1][0], expected())
    np.testing.assert_array_equal(batch.instances.label_maps[8][0], expected()[4::8, 4::8])
    (plain,) = pipeline.train_batches(records, no_flip, mask_strides=(4,), **settings)
    assert plain.instances.label_maps == {}
    for wanted, unfit in (
        ({"mask_strides": (), "label_strides": (4,)}, records._replace(stuff_labels=None)),
        ({"mask_strides": (4,)}, records._replace(categories=())),
    ):
        with pytest.raises(InputError, match="set has (no label maps|label maps of stuff alone)"):
            next(pipeline.train_batches(unfit, data, **wanted, **settings))


def test_data_check_tells_of_maps_that_are_void_do_not_fit_or_cannot_be_read(
    tmp_path: Path,
) -> None:
    def found(**how: bool) -> dict[str, tuple[str, int]]:
        report = check.folder(Data(root=str(tmp_path)), **how)
        return {
            one.what: (one.effect, one.count) for _, one in report.findings if "label" in one.what
        }

    put_instances(put(tmp_path))
    assert found(decode=True) == {"of 4 labels are in no label map": ("told", 1)}
    # What is the cat in the JSON of instances is sky in the map.
    no_cat = np.where(segment_ids() == CAT, SKY, segment_ids())
    put(tmp_path, png=encoded(panoptic_ids.to_rgb(no_cat)))
    assert found(decode=True) == {
        "of 4 labels are in no label map": ("told", 1),
        "label maps that lack a pixel of a segment that segments_info lists": ("told", 1),
        "of 1 instances are something else in most of their pixels' label map": ("doubtful", 1),
    }
    for how in (True, False):
        put(tmp_path, png=encoded(RGB[:20]))
        assert found(decode=how)["label maps that cannot be read"] == ("lost", 1)
        put(tmp_path, png=encoded(0 * RGB), annotation={"segments_info": []})
        void = "label maps without a label, from which nothing is learned"
        assert found(decode=how)[void] == ("told", 1)


def test_statistics_tell_the_share_of_each_label(tmp_path: Path) -> None:
    records = prepare(put(tmp_path))
    counts = label_maps.count(records)
    values = [(expected() == label).sum() for label in range(4)]
    assert (counts.pixels.tolist(), counts.images.tolist()) == (values, [1, 1, 1, 0])
    assert (counts.ignored, counts.labelled) == ((expected() == 255).sum(), 1)
    told = label_maps.table(counts, records)
    assert f"{100 * values[2] / expected().size:.2f}        1  sky (stuff)" in told
    assert "0.00        0  road (stuff)" in told


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside instances"])
def test_an_image_with_a_bad_map_is_left_out_where_that_is_asked_for(
    tmp_path: Path, beside: bool
) -> None:
    root = put(tmp_path)
    for path in (root / "annotations/panoptic_train/b.png", root / "train/b.jpg"):
        path.write_bytes((root / "train/a.jpg").read_bytes())
    one = {"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}
    images = [one, {**one, "id": 2, "file_name": "b.jpg"}]
    maps = [
        {"image_id": number, "file_name": name, "segments_info": segments()}
        for number, name in ((1, "a.png"), (2, "b.png"))
    ]
    put(root, images=images, annotations=maps)
    if beside:
        put_instances(root, images=images)
    records = prepare(root, faults="skip", most_skipped=0.5)
    assert records.image_ids == [1]
    (listed,) = (tmp_path / "records").glob("*/left_out.json")
    assert "b.png is no PNG" in listed.read_text()


def test_a_check_counts_label_maps_and_kinds_of_stuff(tmp_path: Path) -> None:
    told = str(check.folder(Data(root=str(put(tmp_path)))))
    assert "1 images, 2 instances, 2 classes, 1 label maps, 2 kinds of stuff" in told
