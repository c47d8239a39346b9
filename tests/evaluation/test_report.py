"""Claims about the page and about the numbers that it is made of."""

import base64
import html.parser
import json
import re

import cv2
import numpy as np
import pytest

from solojax.evaluation import scores
from solojax.evaluation.metrics import coco
from solojax.evaluation.report import advice, page
from tests.evaluation.rectangles import result, truth_of

A, B, FAR = (10, 10, 20, 20), (10, 60, 20, 20), (60, 60, 20, 20)


@pytest.fixture(scope="module")
def scored() -> dict:
    truth = truth_of([(3, A), (3, B)], [(70, A)])
    found = [result(3, A, 0.9), result(70, B, 0.8), result(3, FAR, 0.7), result(70, A, 0.6, 2)]
    # As read from eval.json.
    return json.loads(json.dumps(scores.score(truth, found)))


class Outline(html.parser.HTMLParser):
    """What a page is made of; every element that is opened is closed."""

    VOID = {"meta", "path", "rect", "polyline", "circle", "img", "br"}

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def rename(scored: dict, name: str) -> dict:
    first, *others = scored["classes"]
    return {**scored, "classes": [{**first, "name": name}, *others]}


def test_the_numbers_of_one_scoring_agree(scored):
    assert list(scored)[:12] == list(coco.NAMES)
    assert [one["name"] for one in scored["classes"]] == ["cell", "dust"]
    assert [one["instances"] for one in scored["classes"]] == [2, 1]
    for name in ("AP", "AP50", "AP75", "AR100"):
        mean = np.mean([one[name] for one in scored["classes"]])
        assert scored[name] == pytest.approx(mean)
    curves = scored["curves"]
    assert {name: len(points) for name, points in curves.items()} == {
        "0.50": 101,
        "0.75": 101,
        "mean": 101,
    }
    assert np.mean(curves["0.50"]) == pytest.approx(scored["AP50"])
    assert np.mean(curves["mean"]) == pytest.approx(scored["AP"])
    assert scored["confusion"]["counts"] == [
        {"truth": 3, "prediction": 3, "count": 1},
        {"truth": 3, "prediction": 70, "count": 1},
        {"truth": 70, "prediction": 70, "count": 1},
        {"truth": None, "prediction": 3, "count": 1},
    ]
    assert scored["images"]["2"]["F1"] == 1


def test_a_class_without_instances_has_no_number():
    scored = scores.score(truth_of([(3, A)]), [result(3, A, 0.9), result(70, A, 0.9)])
    assert scored["classes"][1]["AP"] == -1 and scored["AP"] == pytest.approx(1)
    assert ">–</td>" in page.render("x", scored)


def test_nothing_to_find_and_nothing_found_still_make_a_page():
    scored = scores.score(truth_of([]), [])
    assert scored["AP"] == -1 and scored["curves"]["mean"] == []
    Outline(page.render("x", scored))


def test_the_table_shows_masks_boxes_and_boundaries_side_by_side(scored):
    head, first, *_ = scores.table(scored).splitlines()
    assert head.split() == ["masks", "box", "boundary"]
    assert first.split()[:2] == ["AP", f"{scored['AP']:.3f}"]
    assert "classification        1" in scores.table(scored)


def test_the_page_has_all_parts_and_needs_nothing_else(scored):
    oracle = dict.fromkeys(coco.NAMES, 0.25)
    picture = np.full((60, 100, 3), 200, np.uint8)
    shown = page.Shown(2, page.jpeg_of(picture))
    html = page.render("my run", {**scored, "oracle_masks": oracle}, best=[shown])
    outline = Outline(html)
    text = " ".join(outline.text)
    for part in ("my run", "boundary", "with true masks", "localisation", "cell", "2 classes"):
        assert part in text
    assert "Best images" in text and "Worst images" not in text
    assert "image 2: F1 1.000, 1 right, 0 wrong, 0 missed" in text
    assert [attributes["class"] for tag, attributes in outline.tags if tag == "polyline"] == [
        *(f"curve curve{number}" for number in range(3)),
        "curve curve1",  # of the mean IoU at a score
    ]
    cells = [attributes["class"] for tag, attributes in outline.tags if tag == "rect"]
    shares = np.count_nonzero(scored["calibration"]["counts"])
    assert cells == [*["share"] * shares, "right", "wrong", "right", "wrong"] and shares
    sources = [attributes["src"] for tag, attributes in outline.tags if tag == "img"]
    (encoded,) = [source.removeprefix("data:image/jpeg;base64,") for source in sources]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == picture.shape
    assert not re.search(r"https?:|@import|url\(|<link|src=\"(?!data:)", html)


def test_the_page_says_where_ap_is_lost_and_which_labels_to_look_at(scored):
    advice.advise(scored := json.loads(json.dumps(scored)), None)
    scored["alarms"] = ["2 of 3 instances own no cell"]
    first = scored["lost"][0]["cause"]
    jpeg = page.jpeg_of(np.full((22, 22, 3), 200, np.uint8))
    html = page.render("x", scored, crops={(first, 0): jpeg, ("unlabelled", 0): jpeg})
    text = " ".join(Outline(html).text)
    for part in ("2 of 3 instances own no cell", "Where AP is lost", "Labels to look at first"):
        assert part in text
    assert all(one["advice"] in text for one in scored["lost"])
    assert html.count("data:image/jpeg") == 2
    assert "nothing is labelled" in text and "60 60 20 20" in text
    assert "where F1 is" in text


def test_every_text_is_escaped(scored):
    name = "<script>alert('x')</script>\"&"
    html = page.render(name, rename(scored, name))
    assert "<script>alert" not in html
    assert html.count("<script>") == 1, "that of the table"
    assert name in Outline(html).text


def test_many_classes_have_a_table_and_no_matrix(scored):
    many = [{**scored["classes"][0], "id": number} for number in range(101)]
    html = page.render("x", {**scored, "classes": many})
    assert 'class="matrix"' not in html and "101 classes" in html


def test_numbers_of_an_older_version_have_a_page(scored):
    new = ("calibration", "lost", "labels", "thresholds", "best_iou")
    old = {name: one for name, one in scored.items() if name not in new}
    for heading in ("What a score says", "Where AP is lost", "Labels to look at first"):
        assert heading in page.render("x", scored)
        assert heading not in page.render("x", old)


def test_a_wide_picture_is_shrunk_and_a_small_one_kept():
    def size(height: int, width: int) -> tuple[int, int]:
        encoded = page.jpeg_of(np.zeros((height, width, 3), np.uint8))
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).shape[:2]

    assert size(500, 1920) == (250, 960)
    assert size(50, 90) == (50, 90)


def test_a_jpeg_keeps_the_colours():
    red = np.full((8, 8, 3), (250, 5, 5), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(page.jpeg_of(red), np.uint8), cv2.IMREAD_COLOR)
    assert decoded[4, 4, 2] > 240 and decoded[4, 4, 0] < 15
