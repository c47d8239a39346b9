"""Claims about the curves of a training on the page."""

import json
from pathlib import Path

import pytest

from solojax.evaluation import scores
from solojax.evaluation.report import history, page
from tests.evaluation.rectangles import result, truth_of
from tests.evaluation.test_report import Outline

A = (10, 10, 20, 20)


def row(step: int, **values: float) -> str:
    return json.dumps({"step": step, "time": 60.0 * step, **values})


def trained(step: int, a: float, b: float) -> str:
    """As a head logs whose terms are called ``one`` and ``other``; 3 objects, nothing dropped."""
    counts = {"grad_norm": a + b, "dropped_instances": 0, "objects": 3, "wide": 0.0}
    return row(step, learning_rate=0.1 / step, loss=a + b, one=a, other=b, **counts)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    lines = [trained(1, 2.0, 1.5), trained(2, 1.0, 0.5), row(2, AP=0.1, AP50=0.2)]
    lines += [trained(3, 0.8, 0.25), row(3, AP=0.2, AP50=0.3), '{"step": 4, "loss"', "[]", "7"]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_the_terms_of_a_loss_are_known_by_their_sum(run: Path):
    logged = history.read(run)
    assert [(one.name, one.steps) for one in logged.losses] == [
        (name, [1, 2, 3]) for name in ("loss", "one", "other")
    ]
    assert logged.losses[1].values == [2, 1, 0.8]
    assert [(one.name, one.values) for one in logged.scores] == [
        ("AP", [0.1, 0.2]),
        ("AP50", [0.2, 0.3]),
    ]
    assert logged.seconds == 120 and logged.last_losses["other"] == 0.25


def test_the_page_draws_the_curves_and_the_point_of_this_scoring(run: Path):
    scored = {**scores.score(truth_of([(3, A)]), [result(3, A, 0.9)]), "step": 5}
    html = page.render("x", scored, logged=history.read(run))
    outline = Outline(html)
    text = " ".join(outline.text)
    for part in ("How the training went", "Loss", "other", "Learning rate", "Over 3 steps, 2"):
        assert part in text
    # AP of this scoring, 1, at step 5 of 5: the upper right corner.
    width, height = history.SIZE
    assert f"{width * 3 / 5:.1f},{height * 0.8:.1f} {width:.1f},0.0" in html
    assert "How the training went" not in page.render("x", scored)


@pytest.mark.parametrize("rate", [1e-5, 0.004, 0.0042, 0.0049, 0.02, 3.0])
def test_the_axis_of_rates_reaches_the_largest(run: Path, rate: float):
    (run / "metrics.jsonl").write_text(row(1, learning_rate=rate, loss=1.0))
    *_, chart = history.charts(history.read(run), {})
    heights, named = zip(*chart["up"], strict=True)
    assert float(named[0]) == 0 and heights[-1] == pytest.approx(0, abs=0.1)
    assert rate <= 1.01 * float(named[-1]) and float(named[-1]) <= 2.5 * rate


def test_without_a_log_there_is_no_history(tmp_path: Path):
    assert history.read(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text(row(2, AP=0.1, AP50=0.2))
    assert history.read(tmp_path) is None


def test_a_long_training_makes_no_long_page(run: Path):
    lines = [trained(step, 1 / step, 1.0) for step in range(1, 3000)]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    logged = history.read(run)
    chart, *_ = history.charts(logged, {"AP": 0.5, "AP50": 0.7, "step": 10})
    whole = next(line for line in chart["lines"] if line["text"] == "loss")
    points = [tuple(map(float, point.split(","))) for point in whole["points"].split()]
    assert len(points) == history.MOST_POINTS
    assert points == sorted(points, key=lambda point: point[0])
    assert "mean of some neighbours" in history.describe(logged)
