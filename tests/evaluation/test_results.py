"""Claims about results that other programs wrote: what is read, what is refused, how it is told."""

import gzip
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solojax import cli
from solojax.data import rle as runs
from solojax.data.findings import Findings
from solojax.evaluation import results, scores
from solojax.evaluation.metrics import coco
from solojax.evaluation.report import caps
from solojax.evaluation.results import truths
from solojax.heads.selection import Selection
from solojax.types import InputError
from tests import disk
from tests.evaluation.rectangles import SIZE, mask_of, rle

PAIR = Path(__file__).parents[3] / "shared" / "data" / "eval_pair"
A, FAR = (10, 10, 20, 20), (60, 60, 20, 20)
TRUTH = {
    "images": [{"id": 42, "height": 100, "width": 100}, {"id": 7, "height": 100, "width": 100}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 42,
            "category_id": 18,
            "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
            "bbox": [10, 10, 20, 20],
            "area": 400,
            "iscrowd": 0,
        }
    ],
}


def text(place: tuple[int, int, int, int], size: Any = SIZE) -> dict[str, Any]:
    return {"size": list(size), "counts": rle(place)["counts"].decode()}


def entry(**changes: Any) -> dict[str, Any]:
    given = dict(image_id=42, category_id=18, score=0.9, segmentation=text(A)) | changes
    return {key: value for key, value in given.items() if value is not ...}


def box_entry(**changes: Any) -> dict[str, Any]:
    return entry(segmentation=..., **{"bbox": [10, 10, 20, 20], **changes})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A ground truth and where the results are to lie."""
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    return tmp_path / "gt.json", tmp_path / "results.json"


def read(
    files: tuple[Path, Path], content: Any, findings: Findings | None = None
) -> tuple[list, str]:
    gt, path = files
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return results.read(path, truth_of(gt), findings or Findings(), truth_path=gt)


def truth_of(gt: Path) -> dict[str, Any]:
    return truths.read(gt, Findings())


def told(files: tuple[Path, Path], content: Any) -> list[str]:
    findings = Findings()
    read(files, content, findings)
    return list(map(str, findings))


def refusal(files: tuple[Path, Path], content: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(files, content)
    message = str(caught.value)
    assert message.startswith(f"{files[1]}") and "\n" not in message
    return message.removeprefix(str(files[1]))


# What is read


@pytest.mark.parametrize(
    "segmentation",
    [
        text(A),
        {"size": list(SIZE), "counts": runs.read_runs([rle(A)["counts"]]).lengths.tolist()},
        [[10, 10, 30, 10, 30, 30, 10, 30]],
        mask_of(A).tolist(),
        {"counts": rle(A)["counts"].decode()},
    ],
    ids=["compressed", "run lengths", "polygon", "pixels", "without size"],
)
def test_masks_of_all_forms_of_coco_are_read(segmentation, files):
    found, kind = read(files, [entry(segmentation=segmentation)])
    assert kind == "segm"
    (mask,) = runs.decode([found[0]["segmentation"]["counts"]], *SIZE)
    np.testing.assert_array_equal(mask, mask_of(A))
    assert {key: found[0][key] for key in ("image_id", "category_id", "score")} == {
        "image_id": 42,
        "category_id": 18,
        "score": 0.9,
    }


def test_results_without_masks_are_boxes(files):
    found, kind = read(files, [box_entry(score=1)])
    assert kind == "bbox"
    assert found == [dict(image_id=42, category_id=18, score=1.0, bbox=[10.0, 10.0, 20.0, 20.0])]


def test_a_box_beside_a_mask_changes_no_number(files):
    truth = truth_of(files[0])
    numbers = [
        coco.mask_ap(truth, read(files, [entry(**more)])[0])
        for more in ({}, {"bbox": [0, 0, 100, 100]})
    ]
    assert numbers[0] == numbers[1] and numbers[0]["APs"] == pytest.approx(1)


def test_a_mask_without_a_pixel_is_a_result_like_any_other(files):
    found, _ = read(files, [entry(segmentation=text((0, 0, 0, 0)), score=0.95), entry()])
    assert coco.mask_ap(truth_of(files[0]), found)["AP"] == pytest.approx(0.5)


def test_nothing_found_is_legal_and_scores_zero(files):
    found, kind = read(files, [])
    assert (found, kind) == ([], "segm")
    assert coco.mask_ap(truth_of(files[0]), found)["AP"] == 0


def test_many_and_equal_results_are_kept(files):
    assert len(read(files, [entry()] * 150)[0]) == 150


def test_instances_with_neither_mask_nor_box_are_counted(files):
    gt, _ = files
    more = {**TRUTH["annotations"][0], "id": 2, "segmentation": [[1, 2, 3, 4]], "bbox": None}
    gt.write_text(json.dumps({**TRUTH, "annotations": [*TRUTH["annotations"], more]}))
    findings = Findings()
    assert len(truths.read(gt, findings)["annotations"]) == 1
    assert list(map(str, findings)) == [
        f"1 instances of {gt} are left out: no polygon of three finite points, no box "
        "(annotation 2)"
    ]


@pytest.mark.skipif(not PAIR.is_dir(), reason=f"{PAIR.name} is not on this machine")
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_published_pair_reproduces_from_its_files(kind):
    expected = json.loads((PAIR / "expected.json").read_text())
    findings = Findings()
    truth = truths.read(PAIR / "gt.json", findings)
    path = PAIR / f"{kind}_results.json"
    found, read_kind = results.read(path, truth, findings, truth_path=PAIR / "gt.json")
    assert (read_kind, list(findings)) == (kind, [])
    scored = scores.score(truth, found, kind)
    numbers = [scored[name] for name in expected["order"]]
    np.testing.assert_allclose(numbers, expected[kind], rtol=0, atol=1e-12)


# Which image, by name

NAMED = {
    **TRUTH,
    "images": [
        {"id": 42, "height": 100, "width": 100, "file_name": "a/1.jpg"},
        {"id": 7, "height": 100, "width": 100, "file_name": "b/1.jpg"},
        {"id": 1, "height": 100, "width": 100, "file_name": "caf\u00e9.jpg"},
        {"id": 2, "height": 100, "width": 100, "file_name": "c/caf\u00e9.jpg"},
    ],
}


@pytest.fixture
def named(files: tuple[Path, Path]) -> tuple[Path, Path]:
    files[0].write_text(json.dumps(NAMED))
    return files


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("a/1.jpg", 42),
        ("/photos/a/1.jpg", 42),
        ("photos\\b\\1.jpg", 7),
        ("cafe\u0301.jpg", 1),
        ("./x/caf\u00e9.jpg", 1),
    ],
)
def test_an_image_is_found_by_its_name_and_the_longest_of_its_folders(name, image_id, named):
    found, _ = read(named, [entry(image_id=7, file_name=name)])
    assert found[0]["image_id"] == image_id


def test_ids_that_are_not_the_truths_are_told_and_names_decide(named):
    given = [entry(image_id=1, file_name="a/1.jpg"), entry(image_id=2, file_name="b/1.jpg")]
    assert told(named, given) == [
        f"2 images have another image_id in {named[0]}; they are matched by file_name "
        "(a/1.jpg: 42, not 1, b/1.jpg: 7, not 2)"
    ]
    assert told(named, [entry(file_name="a/1.jpg")]) == [], "ids and names agree"


def test_a_name_in_another_folder_is_told(named):
    gt, _ = named
    images = [{**image, "file_name": f"val/{image['id']}.jpg"} for image in NAMED["images"]]
    gt.write_text(json.dumps({**NAMED, "images": images}))
    (line,) = told(named, [entry(file_name="train/42.jpg")])
    assert line.endswith("though their folders differ (train/42.jpg as val/42.jpg)")


def test_an_image_id_that_is_a_name_is_read_as_one(named):
    assert read(named, [entry(image_id="caf\u00e9")])[0][0]["image_id"] == 1
    assert read(named, [entry(image_id="a/1.jpg")])[0][0]["image_id"] == 42


@pytest.mark.parametrize("key", ["a1", 5])
def test_ids_that_are_texts_are_followed_and_more_is_refused_with_its_own_cure(key, files):
    images = [{**TRUTH["images"][0], "id": one} for one in ("a1", 5)]
    one = {**TRUTH["annotations"][0], "image_id": key}
    files[0].write_text(json.dumps({**TRUTH, "images": images, "annotations": [one]}))
    (found,), _ = read(files, [entry(image_id=key)])
    assert found["image_id"] == truth_of(files[0])["annotations"][0]["image_id"]
    lost = {**one, "image_id": "lost"}
    files[0].write_text(json.dumps({**TRUTH, "images": images, "annotations": [lost]}))
    with pytest.raises(InputError, match="; mend them or take them out of the file$"):
        truth_of(files[0])


def test_without_names_in_the_truth_that_ids_decide_is_told(files):
    (line,) = told(files, [entry(file_name="a.jpg")])
    assert line == f"1 images are matched by image_id alone: {files[0]} names no files"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [entry(image_id=42, file_name="z.jpg")],
            "results[0] is of 'z.jpg', and GT calls image 42 'a/1.jpg'; predict with --gt",
        ),
        ([entry(image_id=5, file_name="z.jpg")], "'z.jpg', and GT has no such image"),
        (
            [entry(file_name="1.jpg")],
            "results[0]: '1.jpg' may be 'a/1.jpg' (image 42) or 'b/1.jpg' (image 7)",
        ),
        (
            [entry(file_name="x/a/1.jpg"), entry(file_name="y/a/1.jpg")],
            "'x/a/1.jpg' and 'y/a/1.jpg' are both image 42 of GT, 'a/1.jpg'",
        ),
        (
            [entry(image_id=1, file_name="a/1.jpg"), entry(image_id=2, file_name="a/1.jpg")],
            "results[0] and results[1] are both of 'a/1.jpg', with the image_id 1 and 2",
        ),
        ([entry(file_name="a/1.jpg"), entry()], "results[1] has none"),
        ([entry(image_id="dog")], "results[0] is of 'dog', and GT has no such image"),
    ],
)
def test_names_and_ids_that_do_not_go_together_are_shown(given, said, named):
    assert said.replace("GT", str(named[0])) in refusal(named, given)


# What is scored

BOXED = {key: value for key, value in TRUTH["annotations"][0].items() if key != "segmentation"}


def boxed(gt: Path, *more: dict[str, Any]) -> None:
    gt.write_text(json.dumps({**TRUTH, "annotations": [{**BOXED, "id": 9}, *more]}))


def test_truths_of_boxes_alone_are_scored_by_boxes(files):
    boxed(files[0])
    assert read(files, [box_entry()]) == ([box_entry(bbox=[10.0, 10.0, 20.0, 20.0])], "bbox")
    found, kind = read(files, [entry()])
    assert (kind, found[0]["bbox"], found[0]["area"]) == ("bbox", [10, 10, 20, 20], 400)
    assert told(files, [entry()]) == [
        f"1 results are scored by their boxes: {files[0]} has no masks"
    ]


def test_crowds_of_boxes_alone_are_told_as_those_of_masks(files):
    boxed(files[0], *({**BOXED, "id": 1 + n, "iscrowd": v} for n, v in enumerate(("True", 2))))
    findings = Findings()
    crowds = [one["iscrowd"] for one in truths.read(files[0], findings)["annotations"]]
    assert crowds == [0, 1]
    assert ["iscrowd is 2, neither 0 nor 1" in one.what for one in findings] == [True]


def test_masks_are_scored_against_masks_and_what_has_none_is_told(files, capfd):
    gt, path = files
    boxed(gt, {**TRUTH["annotations"][0], "image_id": 7})
    path.write_text(json.dumps([entry(image_id=7), entry(score=0.8)]))
    assert evaluate("--results", path, "--gt", gt) == 0
    printed = capfd.readouterr().out
    assert f"1 instances of {gt} are left out: no segmentation (annotation 9); --iou" in printed
    assert "  AP        1.000    1.000" in printed
    path.write_text(json.dumps([entry(image_id=7)]))
    assert evaluate("--results", path, "--gt", gt, "--iou-type", "bbox") == 0
    printed = capfd.readouterr().out
    assert f"box AP of {path}" in printed and "  AP        0.505" in printed


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("segm", [entry()], "has no masks to score by; --iou-type bbox scores boxes"),
        ("segm", [box_entry()], "has no segmentation; --iou-type bbox scores boxes"),
    ],
)
def test_what_cannot_be_scored_so_is_told(kind, given, said, files, capfd):
    gt, path = files
    boxed(gt)
    path.write_text(json.dumps(given))
    assert evaluate("--results", path, "--gt", gt, "--iou-type", kind) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("sides", [(200, 200), (50, 100)])
def test_masks_of_another_size_than_their_image_are_never_scored_by_boxes(sides, files, capfd):
    gt, path = files
    images = [{"id": 42, "height": sides[0], "width": sides[1]}]
    one = {**TRUTH["annotations"][0], "segmentation": text(A)}
    gt.write_text(json.dumps({**TRUTH, "images": images, "annotations": [one]}))
    path.write_text(json.dumps([entry()]))
    assert evaluate("--results", path, "--gt", gt) == 2
    said = f"annotation 1 is 100x100 and image 42 is {sides[0]}x{sides[1]} (height x width); corr"
    assert said in capfd.readouterr().err


def test_a_truth_of_unusable_masks_is_not_scored_by_boxes(files, capfd):
    gt, path = files
    one = {**TRUTH["annotations"][0], "segmentation": {"size": [100, 100], "counts": "o" * 40}}
    gt.write_text(json.dumps({**TRUTH, "annotations": [one]}))
    path.write_text(json.dumps([entry()]))
    assert evaluate("--results", path, "--gt", gt) == 2
    assert "no mask is usable (annotation 1: corrupt run lengths)" in capfd.readouterr().err


def test_a_truth_that_is_not_there_is_named_alone(files):
    with pytest.raises(InputError, match="nowhere.json: no such file$"):
        truth_of(files[0].parent / "nowhere.json")


def test_a_truth_without_an_instance_is_told(files):
    files[0].write_text(json.dumps({**TRUTH, "annotations": [{**BOXED, "bbox": [1, 2, 0, 3]}]}))
    with pytest.raises(InputError, match=r"no instance to score against: 1 .* \(annotation 1\)"):
        truth_of(files[0])


# More than COCO counts


def test_more_than_count_is_told_with_what_counts_it(files, tmp_path, capfd):
    gt, path = files
    corners = [(9 * row, 9 * column) for row in range(11) for column in range(11)]
    truths_, found = [], []
    for number, (top, left) in enumerate(corners):
        one = {**BOXED, "id": number, "bbox": [left, top, 5, 5], "area": 25}
        truths_.append({**one, "category_id": 18 if number < 110 else 3})
        found.append({key: truths_[-1][key] for key in ("image_id", "category_id", "bbox")})
        found[-1]["score"] = 0.9
    gt.write_text(json.dumps({**TRUTH, "annotations": truths_}))
    path.write_text(json.dumps(found))
    given = ["--results", path, "--gt", gt, "--out", tmp_path]
    assert evaluate(*given) == 0
    printed = capfd.readouterr().out
    assert (
        "1 images have more than 100 instances of a class, of which 100 detections count each: 10 "
        "instances cannot be found (image 42 has 110); --max-detections 110 counts all" in printed
    )
    assert "1 images have more than 100 results of a class, of which the best 100" in printed
    assert evaluate(*given, "--max-detections", 110) == 0
    printed = capfd.readouterr().out
    assert "  AP        1.000  IoU .50:.95, all sizes, 110 detections" in printed
    assert "  AR110     1.000" in printed and "images have more than" not in printed
    report = (tmp_path / "report.html").read_text()
    assert "AR110" in report and "AR100" not in report
    assert evaluate(*given, "--max-detections", 10) == 2
    assert "--max-detections 10 must be more than 10" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("head", "most", "said"),
    [
        (
            types.SimpleNamespace(selection=types.SimpleNamespace(max_detections=1)),
            100,
            [
                "likely wrong: 1 images have more instances than the 1 that the head finds in one "
                "(image 42 has 2); --set model.head.selection.max_detections=2"
            ],
        ),
        (
            types.SimpleNamespace(selection=Selection(True, 0.1, 101, 0.5, 1, max_detections=1)),
            101,
            [
                "likely wrong: 1 images have more instances than the 1 that the head finds in one "
                "(image 42 has 2); --set model.head.selection.nms_candidates=2 "
                "model.head.selection.max_detections=2",
                "101 detections of a class in an image count, of which the head finds 1; --set "
                "model.head.selection.nms_candidates=101 model.head.selection.max_detections=101",
            ],
        ),
        (
            types.SimpleNamespace(things=types.SimpleNamespace(slots=1)),
            100,
            [
                "likely wrong: 1 images have more instances than the 1 that the head finds in one "
                "(image 42 has 2); train with model.head.things.slots=2"
            ],
        ),
        (types.SimpleNamespace(slots=2), 100, []),
        (
            types.SimpleNamespace(slots=2),
            101,
            [
                "101 detections of a class in an image count, of which the head finds 2; train "
                "with model.head.slots=101"
            ],
        ),
    ],
)
def test_what_a_head_cannot_find_is_told(head, most, said, files):
    boxed(files[0], {**BOXED, "category_id": 3})
    findings = Findings()
    caps.tell_head(head, truth_of(files[0]), most, findings)
    assert list(map(str, findings)) == said


# What exporters write


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: {"annotations": rows, "images": [], "info": {}},
        lambda rows: {"predictions": rows, "categories": [{"id": 1}]},
        lambda rows: {"whatever": rows},
        lambda rows: {"42": rows},
        lambda rows: [rows, []],
        lambda rows: [{"results": rows}],
    ],
)
def test_results_inside_of_something_else_are_read(wrap, files):
    assert read(files, wrap([entry()]))[0] == read(files, [entry()])[0]
    assert " of ".join(told(files, wrap([entry()]))).startswith("1 results are read from ")


def test_json_lines_and_lists_by_image_are_read(files):
    rows = [entry(), entry(image_id=7)]
    wanted = read(files, rows)
    assert read(files, "\n".join(map(json.dumps, rows)) + "\n") == wanted
    assert read(files, {"42": rows[:1], "7": rows[1:]}) == wanted


def test_a_class_by_its_name_and_a_box_of_texts_are_read_and_told(files):
    given = [box_entry(category_id="dog", bbox=["10", "10", "20", "2e1"])]
    assert read(files, given) == read(files, [box_entry()])
    assert told(files, given) == [
        "1 results have the name of a class as category_id (results[0]: 'dog')",
        "1 results have texts in their bbox, read as numbers (results[0])",
    ]


def test_an_instances_file_of_what_was_found_names_its_images(named):
    images = [{"id": 3, "file_name": "b/1.jpg"}]
    found, _ = read(named, {"images": images, "annotations": [entry(image_id=3)]})
    assert found[0]["image_id"] == 7


def test_masks_in_forms_near_to_cocos_are_read_and_told(files):
    flat = entry(segmentation=[10, 10, 30, 10, 30, 30, 10, 30])
    printed = entry(segmentation={"size": [100, 100], "counts": str(rle(A)["counts"])})
    assert read(files, [flat, printed])[0] == read(files, [entry(), entry()])[0]
    assert told(files, [flat, printed]) == [
        "1 results are read: polygons that are no list of polygons (results[0])",
        "1 results are read: run lengths written as Python's bytes (results[1])",
    ]


def test_numbers_that_are_texts_are_read_and_told(files):
    assert (
        read(files, [entry(image_id="42", category_id=18.0, score=" .9")])[0]
        == (read(files, [entry()])[0])
    )
    assert told(files, [entry(score="0.9"), entry(score="1e-3")]) == [
        "2 results have a text as score, read as a number (results[0], results[1])"
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([entry(category_id=2)], "it seems to be counted from 0: add 1"),
        ([entry(image_id=1), entry(image_id=2)], "image_id is 1 to 2 here, 7 to 42 in the truth"),
    ],
)
def test_ids_that_are_all_foreign_are_shown_beside_the_truths(given, said, files):
    assert said in refusal(files, given)


def test_a_category_name_stands_for_an_id_and_is_doubted_beside_another(files):
    for absent in (..., None):
        given = [entry(category_id=absent, category_name="dog")]
        assert read(files, given) == read(files, [entry()])
        assert told(files, given) == [
            "1 results have a category_name and no category_id: the class of that name "
            "(results[0]: 'dog')"
        ]
    assert told(files, [entry(category_name="dog"), entry(category_name="a dog")]) == []
    (doubt,) = told(files, [entry(category_name="cat")])
    assert doubt == (
        "likely wrong: 1 results have the category_name of another class than their category_id, "
        "by which they are scored (results[0]: 18 and 'cat'); leave out category_id where the "
        "names are right"
    )
    wanted = "results[0] has no category_id, and no class of the truth has its category_name 'cow'"
    assert wanted in refusal(files, [entry(category_id=..., category_name="cow")])


def test_results_that_are_no_text_are_named_for_what_they_are(files):
    gt, path = files
    for encoded, what in (
        (gzip.compress(json.dumps([entry()]).encode()), "a gzip archive; unpack it"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><p>404", "a web page (HTML); download the file itself"),
        (b"\x89PNG\r\n", "the start of a PNG image; give the JSON of COCO's results"),
    ):
        path.write_bytes(encoded)
        with pytest.raises(InputError) as caught:
            results.read(path, truth_of(gt), Findings(), truth_path=gt)
        assert str(caught.value) == f"{path} is not JSON: it seems to be {what}"


# What is refused

COUNTS = rle(A)["counts"].decode()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (5, "is not an object"),
        (entry(image_id=99), "names the unknown image 99"),
        (entry(image_id=...), "has no image_id; it has 'category_id', 'score', 'segmentation'"),
        (entry(category_id=...), "has no category_id; it has 'image_id'"),
        (entry(score=..., confidence=1), "has no score; call its 'confidence' so"),
        (entry(image_id="4 2"), "is of '4 2', and"),
        (entry(image_id=True), "names the unknown image True"),
        (entry(category_id=1), "of image 42 names the unknown category 1"),
        (entry(category_id=[18]), "of image 42 names the unknown category [18]"),
        (entry(score=...), "(image 42, category 18) has no score"),
        (entry(score=float("nan")), "(image 42, category 18) has the score nan"),
        (entry(score=float("inf")), "has the score inf, which is no finite number"),
        (entry(score=None), "has the score None"),
        (entry(score="high"), "has the score 'high'"),
        (entry(score="nan"), "has the score 'nan'"),
        (entry(segmentation=...), "(image 42, category 18) has no segmentation"),
        (entry(segmentation=None), "has no segmentation"),
        (entry(segmentation=[]), "has no polygon of three finite points"),
        (entry(segmentation=[[1, 2, 3, 4]]), "has no polygon of three finite points"),
        (entry(segmentation=[[1, 2, float("nan"), 4, 5, 6]]), "has no polygon of three finite"),
        (
            entry(segmentation=text(A, (100, 90))),
            "has run lengths of another size than the image: size [100, 90], of the image [100, 1",
        ),
        (entry(segmentation=mask_of(A)[:50].tolist()), "has rows of zeros and ones, not as many"),
        (entry(segmentation={"size": [100, 100]}), "has no run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": 5}), "has no run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": [5, 9]}), "do not add up to the image"),
        (entry(segmentation={"size": [100, 100], "counts": ""}), "do not add up to the image"),
        (
            entry(segmentation={"size": [100, 100], "counts": COUNTS + "1"}),
            "(image 42, category 18) has run lengths that do not add up to the image",
        ),
        (entry(segmentation={"size": [100, 100], "counts": COUNTS[:-1]}), "corrupt run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": "o" * 40}), "corrupt run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": "é"}), "has corrupt run lengths"),
    ],
)
def test_a_wrong_entry_is_told_with_its_number(wrong, said, files):
    message = refusal(files, [entry(), entry(image_id=7), wrong, entry()])
    assert message.startswith(": results[2] ")
    assert said in message and message.count("results[") == 1


@pytest.mark.parametrize(
    "box",
    [..., None, [1, 2, 3], [1, 2, -3, 4], [1, 2, float("nan"), 4], [1, 2, 3, 1e300], "1 2 3 4"],
)
def test_a_wrong_box_is_told_with_its_number(box, files):
    message = refusal(files, [box_entry(), box_entry(bbox=box)])
    assert message.startswith(": results[1] (image 42, category 18) has no bbox of four finite")


def test_all_wrong_entries_are_counted_and_the_first_are_named(files):
    message = refusal(files, [entry(score=None)] * 30)
    assert "results[19]" in message and "results[20]" not in message
    assert message.endswith("and 10 more")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"image_id": 42,\n  "score": }]', "is not JSON: Expecting value: line 2 column 12"),
        ("", "is not JSON: Expecting value: line 1 column 1"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "is not a COCO results file: it holds no list"),
        (json.dumps(TRUTH), "annotations have no score: is it a ground truth?"),
        ('{"results": [], "detections": []}', "2 lists that may be the results: results, detect"),
    ],
)
def test_a_file_of_another_kind_is_told(content, said, files):
    assert said in refusal(files, content)


# The command


def evaluate(*arguments: Any) -> int:
    return cli.main(["eval", *map(str, arguments)])


def test_the_command_scores_files_and_leaves_a_report(files, tmp_path, capfd):
    gt, path = files
    path.write_text(json.dumps([entry(), entry(segmentation=text(FAR), score=0.95)]))
    out = tmp_path / "out"
    given = ["--results", path, "--gt", gt]
    assert evaluate(*given) == 0
    printed = capfd.readouterr().out
    assert f"mask AP of {path} on 2 images" in printed
    assert "  AP        0.500    0.500    0.500" in printed
    assert not out.exists(), "nothing is written unasked"
    assert evaluate(*given, "--out", out, "--oracle", "masks") == 0
    numbers = json.loads((out / "eval.json").read_text())
    assert list(numbers)[:12] == list(coco.NAMES)
    assert numbers["errors"]["background"] == {"count": 1, "dAP50": pytest.approx(0.5)}
    assert numbers["oracle_masks"]["AP"] == numbers["AP"] == pytest.approx(0.5)
    assert "dog" in (out / "report.html").read_text()


def test_a_reader_that_has_enough_loses_no_file(files, tmp_path, monkeypatch):
    def close(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    gt, path = files
    path.write_text(json.dumps([entry()]))
    monkeypatch.setattr(sys.stdout, "write", close)  # as head -1 does, after the first line
    with pytest.raises(BrokenPipeError):  # which the command hushes where there is such a pipe
        evaluate("--results", path, "--gt", gt, "--out", tmp_path / "out")
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"eval.json", "report.html"}


def test_a_full_disk_is_told_and_leaves_what_was_there(files, tmp_path, capsys):
    gt, path = files
    path.write_text(json.dumps([entry()]))
    out = tmp_path / "out"
    given = ["--results", path, "--gt", gt, "--out", out]
    assert evaluate(*given) == 0
    before = {one.name: one.read_text() for one in out.iterdir()}
    capsys.readouterr()
    with disk.full(100):
        assert evaluate(*given) == 2
    printed = capsys.readouterr()
    assert "  AP        1.000" in printed.out, "what was found out is not lost"
    assert f"{out / 'eval.json'} cannot be written: " in printed.err
    assert printed.err.count("\n") == 1
    assert {one.name: one.read_text() for one in out.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_told(files, capfd):
    gt, path = files
    path.write_text("[]")
    assert evaluate("--results", path, "--gt", gt, "--out", gt) == 2
    assert f"--out {gt} is a file; give a folder" in capfd.readouterr().err


def test_the_command_scores_boxes(files, tmp_path, capfd):
    gt, path = files
    path.write_text(json.dumps([box_entry()]))
    assert evaluate("--results", path, "--gt", gt, "--out", tmp_path) == 0
    assert "box AP of" in capfd.readouterr().out
    assert (tmp_path / "report.html").exists()
    assert evaluate("--results", path, "--gt", gt, "--oracle", "masks") == 2
    assert "--oracle is about masks" in capfd.readouterr().err


def test_the_command_scores_an_empty_list(files, tmp_path, capfd):
    gt, path = files
    path.write_text("[]")
    assert evaluate("--results", path, "--gt", gt, "--out", tmp_path) == 0
    assert json.loads((tmp_path / "eval.json").read_text())["AP"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--results", "r.json"], "--results r.json needs --gt"),
        (["--results", "r.json", "--gt", "none.json"], "none.json: no such file"),
        (
            ["--results", "r.json", "--gt", "g", "--set", "a=1"],
            "--set, --checkpoint, --split and --coordinator are about",
        ),
        (["--workdir", "run", "--gt", "g.json"], "--gt and --iou-type go with --results"),
    ],
)
def test_what_does_not_go_together_is_told(arguments, said, capfd):
    assert evaluate(*arguments) == 2
    message = capfd.readouterr().err
    assert said in message and message.count("\n") == 1


def test_a_run_and_results_exclude_each_other(capfd):
    with pytest.raises(SystemExit, match="2"):
        evaluate("--workdir", "run", "--results", "r.json")
    assert "not allowed with" in capfd.readouterr().err
