"""How a training went, from what it logged: losses, learning rate and AP over its steps, drawn."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from solojax.training import deciding
from solojax.training.log import METRICS
from solojax.training.step import OTHERS_LOGGED

LOSS, RATE = "loss", "learning_rate"
SCORES = ("PQ", "AP", "AP50", "mIoU")
MOST_TERMS = 12  # names that are tried
MOST_POINTS = 240  # of a line; of more, means of neighbours are drawn
SIZE = 480, 220  # width and height of a chart, SVG units
LOW = 90  # height of that of the learning rate
TICKS = 5  # about so many


class Line(NamedTuple):
    """Some numbers over steps."""

    name: str
    steps: list[int]
    values: list[float]


class History(NamedTuple):
    """What a training logged."""

    losses: list[Line]  # the whole, then its terms
    rates: list[Line]  # the learning rate
    scores: list[Line]  # of the evaluations while it trained
    seconds: float  # from the first line to the last

    @property
    def last_losses(self) -> dict[str, float]:
        """Means over the last tenth of what was logged, by name: one step tells little."""
        return {one.name: float(np.mean(one.values[-_tenth(one) :])) for one in self.losses}


def read(workdir: Path) -> History | None:
    """That of a run folder; None where there is nothing of a training in it.

    Lines that were cut off, or are no rows of numbers, are passed over.
    """
    path = workdir / METRICS
    if not path.is_file():
        return None
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if isinstance(row["step"], int):
                rows.append({name: one for name, one in row.items() if _is_finite(one)})
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    trained = [row for row in rows if LOSS in row]
    if not trained:
        return None
    scored = [row for row in rows if deciding.name_of(row)]
    times = [row["time"] for row in rows if "time" in row]
    return History(
        losses=[_line(trained, name) for name in (LOSS, *_terms(trained))],
        rates=[_line(trained, RATE)],
        scores=[_line(scored, name) for name in SCORES if any(name in row for row in scored)],
        seconds=max(times, default=0) - min(times, default=0),
    )


def charts(history: History, scored: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page draws: a chart for the losses, one for the scores, one for the learning rate.

    Args:
      history: of the training.
      scored: those of ``SCORES`` and ``step`` of the scoring that the page is about; its point is
        there too, where the training has not scored that step itself.
    """
    scores = history.scores or [Line(name, [], []) for name in SCORES if name in scored]
    step = scored.get("step")
    if step is not None and scores and step not in scores[0].steps:
        scores = [
            Line(one.name, [*one.steps, step], [*one.values, max(scored[one.name], 0.0)])
            for one in scores
        ]
    last = max(step for line in (*history.losses, *scores) for step in line.steps)
    known = [line for line in scores if line.steps]
    return [
        _chart("Loss", history.losses, last, SIZE[1]),
        *([_chart("Scores on the validation images", known, last, SIZE[1])] if known else []),
        _chart("Learning rate", history.rates, last, LOW),
    ]


def describe(history: History) -> str:
    """A line about the whole."""
    steps = history.losses[0].steps
    hours, minutes = divmod(round(history.seconds / 60), 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    thinned = len(steps) > MOST_POINTS
    return (
        f"Over {steps[-1]:,} steps, {took} from the first line of {METRICS} to the last, "
        f"interruptions included; the numbers are the last ones."
        + (" Each point of a loss is the mean of some neighbours." if thinned else "")
    )


def _chart(title: str, lines: Sequence[Line], last: int, height: int) -> dict[str, Any]:
    """Lines from the left, step 0, to the right, from 0 at the bottom."""
    width = SIZE[0]
    top = max((value for line in lines for value in line.values), default=0) or 1.0
    step = _round_step(top, TICKS if height > LOW else 2)
    ticks = [step * number for number in range(math.ceil(top / step * 0.999) + 1)]
    top = max(top, ticks[-1])

    def points(line: Line) -> list[tuple[float, float]]:
        steps, values = _thinned(line)
        return [
            (width * step / max(last, 1), height * (1 - max(value, 0) / top))
            for step, value in zip(steps, values, strict=True)
        ]

    apart = _round_step(last, TICKS)
    across = [apart * number for number in range(int(last / apart * 1.0001) + 1)]
    drawn = []
    for line in sorted(lines, key=lambda one: -max(one.values, default=0)):
        places = points(line)
        drawn.append(
            {
                "text": line.name,
                "last": line.values[-1],
                "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
                "dots": places if len(places) <= 40 else [],
            }
        )
    return {
        "title": title,
        "lines": drawn,
        "width": width,
        "height": height,
        "across": [(width * tick / max(last, 1), f"{tick:,.0f}") for tick in across],
        "up": [(height * (1 - tick / top), f"{tick:.6g}") for tick in ticks],
    }


def _terms(rows: Sequence[dict[str, float]]) -> list[str]:
    """The names of the least numbers that add up to the loss in every row; none where none do.

    A head names its terms as it likes, and what it logs beside them stands in the same rows.
    """
    names = [
        name
        for name in rows[0]
        if name not in OTHERS_LOGGED
        and all(name in row for row in rows)
        and any(row[name] for row in rows)  # what is nothing adds to no sum
    ][:MOST_TERMS]
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    whole = np.array([row[LOSS] for row in rows])
    for count in range(2, len(names) + 1):
        for some in itertools.combinations(names, count):
            if np.allclose(sum(columns[name] for name in some), whole, rtol=1e-4, atol=1e-5):
                return list(some)
    return []


def _line(rows: Sequence[dict[str, float]], name: str) -> Line:
    there = [row for row in rows if name in row]
    return Line(name, [int(row["step"]) for row in there], [row[name] for row in there])


def _thinned(line: Line) -> tuple[list[float], list[float]]:
    """Steps and values, means of neighbours where there are too many to be seen."""
    parts = max(min(len(line.steps), MOST_POINTS), 1)
    steps, values = (np.array_split(np.array(one, float), parts) for one in line[1:])
    return [float(one.mean()) for one in steps if len(one)], [
        float(one.mean()) for one in values if len(one)
    ]


def _tenth(line: Line) -> int:
    return max(len(line.values) // 10, 1)


def _round_step(top: float, about: int) -> float:
    """Between neighbours of some round numbers from 0 to ``top``."""
    raw = top / about
    power = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
