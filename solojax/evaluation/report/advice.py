"""Which decision would address what AP is lost to, each sentence with the number behind it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from solojax import config as config_lib
from solojax.data.windows import LEAST_TILE
from solojax.evaluation.analysis import causes
from solojax.evaluation.dataset import collisions
from solojax.evaluation.report import caps
from solojax.evaluation.report.history import History
from solojax.heads import protocol
from solojax.heads.grid import Grid, grid_of
from solojax.types import MASK_STRIDE

ACROSS = 4 * MASK_STRIDE  # network pixels across below which an instance is small: 4 mask pixels
COARSE = 8  # mask pixels across below which an outline that is off by one costs much of the IoU
UNEVEN = 2  # times as many training instances of one class as of another
TOLD = 3  # losses that are told in the terminal
FINER = (1.5, 2.0)  # grids that are tried, times the cells a side


class Facts(NamedTuple):
    """What is known of a run beside its scores."""

    config: config_lib.Config
    surveyed: collisions.Survey  # of what was scored; annotation k is its row k - 1
    sizes: np.ndarray  # n 2 (height, width) of its images, original pixels
    history: History | None = None
    trained_on: tuple[int, ...] = ()  # training instances of each class; empty where not known

    @property
    def grid(self) -> Grid | None:
        return grid_of(self.config.model.head)

    def across(self, annotation_ids: Sequence[int]) -> np.ndarray:
        """sqrt(box area) of some instances on the canvas, network pixels."""
        return self.surveyed.sizes[np.array(annotation_ids, int) - 1]


def traits_of(config: config_lib.Config, surveyed: collisions.Survey) -> causes.Traits:
    """What ``causes.split`` goes by, of a truth made of the same records in their order."""
    grid = grid_of(config.model.head)
    small = np.flatnonzero(surveyed.sizes < ACROSS)
    lacking = np.flatnonzero(cellless(surveyed, grid)) if grid else small[:0]
    return causes.Traits(
        frozenset((small + 1).tolist()),
        frozenset((lacking + 1).tolist()),
        caps.cap_of(config.model.head),
    )


def advise(scored: dict[str, Any], facts: Facts | None) -> None:
    """Adds ``advice``, a sentence, to each of ``lost``.

    Args:
      scored: from ``scores.score``.
      facts: of the run; None where results were scored alone.
    """
    names = {one["id"]: one["name"] for one in scored["classes"]}
    shown = (scored["thresholds"] or {}).get("score")
    for one in scored["lost"]:
        cause = one["cause"]
        if cause in ("missed", "capped", "small", "cellless"):
            most, count = one["classes"][0]
            where = f"They lie in {_many(one['images'], 'image')}"
            if len(names) > 1:
                where += f"; most often {names[most]}, {count} times"
            one["advice"] = f"{_of_missed(one, facts, scored)} {where}."
        if cause == "merged":
            one["advice"] = _of_merged(one, facts)
        if cause in ("localisation", "rough"):
            outlines = _of_outlines(one.pop("truths"), facts)
            one["advice"] = f"{_sure(one, shown)} {outlines}".strip()
        if cause == "duplicate":
            one["advice"] = (
                f"{_sure(one, shown)} A stricter NMS needs no training: eval --set "
                f"{_nms(facts)} shows what it gains."
            )
        if cause == "background":
            one["advice"] = (
                f"{_sure(one, shown)} Where the pictures show objects, labels are missing (see "
                "the labels to look at first); else images without objects, labelled as such, "
                "teach what is none."
            )
        if cause == "classification":
            one["advice"] = _of_classes(one, scored["classes"], facts, shown)


def table(scored: dict[str, Any]) -> str:
    """The greatest losses and the alarms as lines for people."""
    lines = ["  where AP is lost, and what AP50 and AP would gain without it"]
    for one in scored["lost"][:TOLD]:
        gains = f"{one['dAP50']:+8.3f} {one['dAP']:+8.3f}"
        lines.append(f"  {one['cause']:14} {one['count']:8} {gains}  {one['advice']}")
    lines += [f"  look: {one}" for one in scored.get("alarms", ())]
    counts = {kind: one["count"] for kind, one in scored["labels"].items() if one["count"]}
    if counts:
        named = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        lines.append(f"  labels to look at first: {named}")
    return "\n".join(lines)


def _of_missed(one: dict[str, Any], facts: Facts | None, scored: dict[str, Any]) -> str:
    cause = one["cause"]
    if cause == "cellless" and facts and facts.grid:
        return (
            f"Nothing can be found of what owns no cell. {finer(facts)}; "
            "solojax data stats tries others."
        )
    if cause == "capped":
        most = _most_of_an_image(facts, scored)
        cap = caps.cap_of(facts.config.model.head) if facts else None
        if facts and cap is not None and cap <= scored["max_detections"]:
            cure = caps.cure(facts.config.model.head, max(most, cap + 1))
            return f"The head gives {cap} detections of an image at most: {cure}."
        counted = scored["max_detections"]
        return f"{counted} detections of a class in an image count (--max-detections)."
    if cause == "small":
        (few, all_small), (many, others) = one["recall"]
        recall = few / max(all_small, 1), many / max(others, 1)
        measure = f"below {ACROSS} pixels across on the canvas" if facts else "below 32 x 32 pixels"
        said = f"Of instances {measure} {recall[0]:.0%} are found, of others " + (
            f"{recall[1]:.0%}." if others else "there is none."
        )
        return f"{said} {_larger(facts)}"
    return f"Size, cells and caps do not explain them. {_longer(facts)}"


def _of_merged(one: dict[str, Any], facts: Facts | None) -> str:
    said = (
        f"Detections that cover several: {one['detections']}; instances under them that are not "
        f"found: {one['count']}."
    )
    if facts and facts.grid and 2 * one["cellless"] >= one["count"]:
        return f"{said} Of these {one['cellless']} own no cell of the grid. {finer(facts)}."
    if facts and facts.grid:
        owned = one["count"] - one["cellless"]
        said += f" Of these {owned} own a cell, so that it is the masks that do not part them."
    return (
        f"{said} A larger canvas or a longer training may part them; copy-paste "
        "(data.augmentation.copy_paste_probability) makes more such neighbours."
    )


def _of_outlines(annotation_ids: list[int], facts: Facts | None) -> str:
    """Whether masks that are off are of instances too small for the stride of the masks."""
    if not facts:
        return "The outlines are what is off: boundary AP tells by how much."
    across = float(np.median(facts.across(annotation_ids)))
    said = (
        f"Half of their instances are below {across:.0f} pixels across on the canvas, "
        f"{across / MASK_STRIDE:.1f} mask pixels"
    )
    if across < COARSE * MASK_STRIDE:
        return (
            f"{said}, where an outline that is off by one costs much of the IoU: try {_canvas(2)}."
        )
    return f"{said}, which is large enough. {_longer(facts)}"


def _of_classes(
    one: dict[str, Any],
    classes: Sequence[dict[str, Any]],
    facts: Facts | None,
    shown: float | None,
) -> str:
    pairs = [
        f"{classes[true]['name']} taken for {classes[given]['name']} ({count})"
        for true, given, count in one["pairs"]
    ]
    true, given, _ = one["pairs"][0]
    said = f"{_sure(one, shown)} Most often {', '.join(pairs)}."
    if facts and facts.trained_on:
        counts = facts.trained_on[true], facts.trained_on[given]
        said += (
            f" The training images have {counts[0]} of {classes[true]['name']} and {counts[1]} of "
            f"{classes[given]['name']}."
        )
        if min(counts) * UNEVEN <= max(counts):
            return f"{said} More examples of the rarer one would tell them apart."
    return f"{said} {_longer(facts)} Labels may be exchanged (see the labels to look at first)."


def _larger(facts: Facts | None) -> str:
    """Which canvas, or tiles, would show the small ones large enough."""
    if not facts:
        return "A larger canvas, or predict --tiles, shows them larger."
    small = facts.surveyed.sizes[(facts.surveyed.sizes < ACROSS) & ~facts.surveyed.crowds]
    median = max(float(np.median(small)), 1.0)
    factor = max(math.ceil(2 * ACROSS / median) / 2, 1.5)
    tile = round(float(np.median(facts.sizes.min(1))) / factor)
    tiles = f", or predict --tiles {tile}, which needs no training," if tile >= LEAST_TILE else ""
    return (
        f"Half of the small are below {median:.0f}; {_canvas(factor)}{tiles} brings the other half "
        f"to {ACROSS} or more."
    )


def _canvas(factor: float) -> str:
    return (
        f"a canvas {factor:g} times as large (data.test_short_side, train_short_sides, long_side, "
        "canvases)"
    )


def finer(facts: Facts) -> str:
    """How many would own a cell of a finer grid, and what makes it finer."""
    assert facts.grid
    place, _ = protocol.finder(facts.config.model.head)
    now = int(cellless(facts.surveyed, facts.grid).sum())
    counts = []
    for factor in FINER:
        sizes = tuple(round(factor * side) for side in facts.grid.sizes)
        lacking = int(cellless(facts.surveyed, facts.grid, sizes).sum())
        counts.append(f"{lacking} with {sizes}")
    return (
        f"With grids of {facts.grid.sizes} cells a side {now} of {int(facts.surveyed.valid.sum())} "
        f"instances own none, {' and '.join(counts)} ({place}.grid.sizes, scale_ranges)"
    )


def _longer(facts: Facts | None) -> str:
    """Whether AP was still rising when the training ended."""
    scores = facts.history.scores if facts and facts.history else []
    if not scores or len(scores[0].values) < 2:
        return (
            "More training (training.steps) and more examples are what is left to try; "
            "training.evaluate_every shows whether AP still rises."
        )
    steps, values = scores[0].steps, scores[0].values
    risen, since = values[-1] - values[-2], steps[-1] - steps[-2]
    if risen > 0.02 * max(values[-2], 1e-9):
        return f"AP rose by {risen:.3f} in the last {since} steps: train longer (training.steps)."
    return (
        f"AP changed by {risen:+.3f} in the last {since} steps: rather more examples, or a larger "
        "model, than a longer training."
    )


def _nms(facts: Facts | None) -> str:
    place, head = protocol.finder(facts.config.model.head) if facts else ("", None)
    selection = getattr(head, "selection", None)
    if selection is None:
        return "model.head.selection..."
    if getattr(selection, "nms", "") == "matrix" and selection.nms_kernel == "gaussian":
        return f"{place}.selection.nms_sigma={2 * selection.nms_sigma:g}"
    return f"{place}.selection.nms_iou_threshold={0.8 * selection.nms_iou_threshold:g}"


def _sure(one: dict[str, Any], shown: float | None) -> str:
    if shown is None or "sure" not in one:
        return ""
    return f"{one['sure']} of {one['count']} score {shown:.3g} or more, where F1 is greatest."


def _most_of_an_image(facts: Facts | None, scored: dict[str, Any]) -> int:
    if not facts:
        return int(scored["max_detections"])
    regular = facts.surveyed.images[~facts.surveyed.crowds]
    return int(np.bincount(regular).max(initial=0))


def cellless(
    surveyed: collisions.Survey, grid: Grid, sizes: Sequence[int] | None = None
) -> np.ndarray:
    """``n`` bool: who takes part and owns a cell on no level; ``sizes`` in place of the grid's."""
    levels = zip(sizes or grid.sizes, grid.scale_ranges, strict=True)
    owning = [collisions.on_level(surveyed, *level, grid.sigma)[1] for level in levels]
    return surveyed.valid & ~np.any(owning, axis=0)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
