"""Random cases: boxes in files are scored as plain pycocotools scores them, to the bit."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solojax.data.findings import Findings
from solojax.evaluation import results, scores
from solojax.evaluation.metrics import coco
from solojax.evaluation.results import truths

CASES = settings(derandomize=True, deadline=None, database=None, max_examples=40)
IMAGES = [{"id": number, "height": 100, "width": 120} for number in (9, 4, 100)]
CATEGORIES = [{"id": number, "name": f"class {number}"} for number in (3, 70)]
POLYGON = [[1, 1, 20.5, 1, 20, 20]]

sides = st.sampled_from([0.1, 1, 10, 10.3, 20, 32, 33.33, 1 / 3, 50])
boxes = st.tuples(st.sampled_from([0, 0.1, 5, 7.7, 10, 1 / 3]), st.just(0.2), sides, sides)
places = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from([9, 4, 100]),
        "category_id": st.sampled_from([3, 70]),
        "bbox": boxes.map(list),
    }
)
annotations = st.lists(
    st.tuples(
        places,
        st.fixed_dictionaries(
            {"area": st.sampled_from([100, 1024.5]), "iscrowd": st.sampled_from([0, 0, 1])}
        ),
        st.sampled_from([{}, {"segmentation": POLYGON}, {"segmentation": []}]),
    ),
    min_size=1,
    max_size=8,
)
detections = st.lists(
    st.tuples(places, st.sampled_from([0.1, 0.5, 0.5, 1 / 3])), min_size=1, max_size=12
)


def by_pycocotools(gt: Path, found: Path, most: int) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(str(gt))
        judged = COCOeval(gold, gold.loadRes(str(found)), "bbox")
        judged.params.maxDets = [1, 10, most]
        judged.evaluate()
        judged.accumulate()
    return judged


@CASES
@given(annotations, detections, st.sampled_from([100, 100, 11]))
def test_boxes_score_as_pycocotools_scores_them(
    true: list[Any], found: list[Any], most: int
) -> None:
    rows = [{"id": n + 1, **a, **b, **c} for n, (a, b, c) in enumerate(true)]
    with tempfile.TemporaryDirectory() as folder:
        gt, path = Path(folder, "gt.json"), Path(folder, "results.json")
        content = {"images": IMAGES, "annotations": rows, "categories": CATEGORIES}
        gt.write_text(json.dumps(content))
        path.write_text(json.dumps([{**place, "score": score} for place, score in found]))
        findings = Findings()
        truth = truths.read(gt, findings)
        mine, kind = results.read(path, truth, findings, truth_path=gt)
        judged = by_pycocotools(gt, path, most)
        with contextlib.redirect_stdout(io.StringIO()):
            judged.summarize()
    assert kind == "bbox"
    scored = scores.score(truth, mine, kind, most=most)
    ap = judged.eval["precision"][..., 0, 2]  # of other than 100, summarize says -1
    wanted = [ap[ap > -1].mean() if (ap > -1).any() else -1, *judged.stats.tolist()[1:]]
    assert [scored[name] for name in coco.names(most)] == wanted
    assert most != 100 or wanted[0] == judged.stats[0]
