"""Claims about results that other programs wrote: what is read, what is refused, how it is told."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solojax import cli
from solojax.data import rle as runs
from solojax.evaluation import coco, results, scores
from solojax.types import InputError
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


def read(files: tuple[Path, Path], content: Any) -> tuple[list, str]:
    gt, path = files
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return results.read(path, results.read_truth(gt)[0])


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
    ],
    ids=["compressed", "run lengths", "polygon"],
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
    truth, _ = results.read_truth(files[0])
    numbers = [
        coco.mask_ap(truth, read(files, [entry(**more)])[0])
        for more in ({}, {"bbox": [0, 0, 100, 100]})
    ]
    assert numbers[0] == numbers[1] and numbers[0]["APs"] == pytest.approx(1)


def test_a_mask_without_a_pixel_is_a_result_like_any_other(files):
    found, _ = read(files, [entry(segmentation=text((0, 0, 0, 0)), score=0.95), entry()])
    truth, _ = results.read_truth(files[0])
    assert coco.mask_ap(truth, found)["AP"] == pytest.approx(0.5)


def test_nothing_found_is_legal_and_scores_zero(files):
    found, kind = read(files, [])
    assert (found, kind) == ([], "segm")
    assert coco.mask_ap(results.read_truth(files[0])[0], found)["AP"] == 0


def test_many_and_equal_results_are_kept(files):
    assert len(read(files, [entry()] * 150)[0]) == 150


def test_instances_without_a_usable_mask_are_counted(files):
    gt, _ = files
    more = {**TRUTH["annotations"][0], "id": 2, "segmentation": [[1, 2, 3, 4]]}
    gt.write_text(json.dumps({**TRUTH, "annotations": [*TRUTH["annotations"], more]}))
    truth, findings = results.read_truth(gt)
    assert len(truth["annotations"]) == 1
    assert [one.what for one in findings] == [
        "instances skipped: no polygon of three finite points"
    ]


@pytest.mark.skipif(not PAIR.is_dir(), reason=f"{PAIR.name} is not on this machine")
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_published_pair_reproduces_from_its_files(kind):
    expected = json.loads((PAIR / "expected.json").read_text())
    truth, findings = results.read_truth(PAIR / "gt.json")
    found, read_kind = results.read(PAIR / f"{kind}_results.json", truth)
    assert (read_kind, list(findings)) == (kind, [])
    scored = scores.score(truth, found, kind)
    numbers = [scored[name] for name in expected["order"]]
    np.testing.assert_allclose(numbers, expected[kind], rtol=0, atol=1e-12)


# What is refused

COUNTS = rle(A)["counts"].decode()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (5, "is not an object"),
        (entry(image_id=99), "names the unknown image 99"),
        (entry(image_id=...), "names the unknown image None"),
        (entry(image_id="42"), "names the unknown image '42'"),
        (entry(image_id=True), "names the unknown image True"),
        (entry(category_id=1), "of image 42 names the unknown category 1"),
        (entry(category_id=[18]), "of image 42 names the unknown category [18]"),
        (entry(score=...), "(image 42, category 18) has no score"),
        (entry(score=float("nan")), "(image 42, category 18) has the score nan"),
        (entry(score=float("inf")), "has the score inf, which is no finite number"),
        (entry(score=None), "has the score None"),
        (entry(score="0.9"), "has the score '0.9'"),
        (entry(segmentation=...), "(image 42, category 18) has no segmentation"),
        (entry(segmentation=None), "has no segmentation"),
        (entry(segmentation=[]), "has no polygon of three finite points"),
        (entry(segmentation=[[1, 2, 3, 4]]), "has no polygon of three finite points"),
        (entry(segmentation=[[1, 2, float("nan"), 4, 5, 6]]), "has no polygon of three finite"),
        (entry(segmentation=text(A, (100, 90))), "has run lengths of another size than the image"),
        (entry(segmentation={"size": [100, 100]}), "has no run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": 5}), "has no run lengths"),
        (entry(segmentation={"size": [100, 100], "counts": [5, 9]}), "do not add up to the image"),
        (entry(segmentation={"size": [100, 100], "counts": ""}), "do not add up to the image"),
        (
            entry(segmentation={"size": [100, 100], "counts": COUNTS + "1"}),
            "(image 42, category 18) has run lengths that do not add up to the image",
        ),
        (entry(segmentation={"size": [100, 100], "counts": COUNTS[:-1]}), "do not add up"),
        (entry(segmentation={"size": [100, 100], "counts": "o" * 40}), "do not add up"),
        (entry(segmentation={"size": [100, 100], "counts": "é"}), "has no run lengths"),
    ],
)
def test_a_wrong_entry_is_told_with_its_number(wrong, said, files):
    message = refusal(files, [entry(), entry(image_id=7), wrong, entry()])
    assert message.startswith(": results[2] ")
    assert said in message and message.count("results[") == 1


@pytest.mark.parametrize(
    "box", [..., None, [1, 2, 3], [1, 2, -3, 4], [1, 2, float("nan"), 4], "1 2 3 4"]
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
        (json.dumps(TRUTH), "is not a COCO results file: it holds no list"),
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
    assert evaluate("--results", path, "--gt", gt, "--out", tmp_path / "out") == 2
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"eval.json", "report.html"}


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
            "--set, --checkpoint and --coordinator are about",
        ),
        (["--workdir", "run", "--gt", "g.json"], "--gt and --out go with --results"),
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
