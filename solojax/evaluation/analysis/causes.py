"""Where AP is lost, by what would have to change: each loss has one cause and some examples.

The kinds of ``errors`` say what is wrong with detections. What a person can do about it depends on
more: whether neighbours came out as one, whether an instance is too small on the canvas, owns no
cell, or lies in an image whose detections are used up.
"""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from solojax.evaluation.analysis import errors, merged
from solojax.evaluation.analysis.errors import Tabulated
from solojax.evaluation.metrics import coco
from solojax.evaluation.metrics.coco import Scene

SMALL = 32**2  # area below which an instance is small where no canvas is known, as COCO has it
ROUGH = 0.75  # IoU below which a mask that is right is roughly so
EXAMPLES = 3
PAIRS = 5  # of classes that are told

CAUSES = {
    "merged": "neighbours found as one: instances under a detection that covers several",
    "cellless": "missed, and without a cell of the grid to be found from",
    "capped": "missed where an image has no more detections to give",
    "small": "missed, and small",
    "missed": "missed, for none of these reasons",
    "localisation": "masks too far off to count, IoU .1 to .5",
    "rough": "masks that are roughly right, IoU .5 to .75",
    "duplicate": "found twice: of what a better scored one has found",
    "classification": "taken for another class",
    "background": "detections of nothing",
}


class Traits(NamedTuple):
    """What is known of the instances of a truth beside what COCO says, by annotation id."""

    small: frozenset[int] | None = None  # too small on the canvas; None: those below SMALL
    cellless: frozenset[int] = frozenset()  # that own no cell
    most: int | None = None  # detections of an image that a head makes at most


NO_TRAITS = Traits()


class Example(NamedTuple):
    """A place in an image."""

    image_id: int
    truths: list[int]  # annotation ids
    found: list[int]  # ids of detections


def split(
    tabulated: Tabulated,
    scenes: dict[int, Scene],
    judged: COCOeval,
    traits: Traits,
    floor: float,
) -> list[dict[str, Any]]:
    """What AP is lost to, by CAUSES; what there is none of is left out.

    Args:
      tabulated: from ``errors.tabulate``.
      scenes: from ``coco.overlap``, by image id.
      judged: from ``coco.judge``.
      traits: of the instances.
      floor: least score of a detection that covers several.

    Returns:
      Of each, the greatest loss first: ``cause``, ``count``; ``dAP50``, what AP50 would gain if it
      were mended, all else as it is (of "rough", which AP50 does not see, 0); ``dAP``, what AP
      would gain then if the mended ones were as good as those that are right, that is dAP50 x AP /
      AP50 (of "rough" exactly, at IoUs up to .75); ``sure``, how many of them score at least
      ``floor``; ``examples``, with ``image_id``, ``category_id`` of what is there, ``found_as`` and
      ``score`` of what was found, ``box`` (x y width height) around all, ``truths`` (annotation
      ids) and ``results`` (places in the list of results); and what ``advice`` goes by.
    """
    whole = _Whole(tabulated, scenes, judged, floor)
    table, none = tabulated.table, np.zeros(len(tabulated.table.ids), bool)
    nobody = np.zeros(0, int)
    now = tabulated.ap50_without(none, nobody)
    numbers = coco.numbers_of(judged)
    quality = numbers["AP"] / numbers["AP50"] if numbers["AP50"] > 0 else 0.0

    masks = judged.params.iouType == "segm"
    merging, swallowed = merged.find(scenes, whole.right, floor, masks)
    merging_rows = np.isin(table.ids, list(merging)) & ~table.right
    kind_of = {name: (table.kinds == k) & ~merging_rows for k, name in enumerate(errors.KINDS)}
    lost: dict[str, dict[str, Any]] = {}

    def add(cause: str, count: int, gained: float, examples: list[Example], **more: Any) -> None:
        if count:
            shown = [whole.describe(example) for example in examples[:EXAMPLES]]
            gains = {"dAP50": gained - now, "dAP": (gained - now) * quality}
            lost[cause] = {"cause": cause, "count": count, **gains, **more, "examples": shown}

    under = np.flatnonzero(np.isin(tabulated.ids, list(swallowed)))
    gained = tabulated.ap50_without(merging_rows, under)
    examples = whole.examples_of_merged(merging)
    unowned = len(swallowed & traits.cellless)
    add("merged", len(under), gained, examples, detections=len(merging), cellless=unowned)

    for cause, of_it in whole.missed_by(np.setdiff1d(tabulated.missed, under), traits).items():
        more: dict[str, Any] = {
            "classes": whole.classes_of(of_it),
            "images": whole.images_of(of_it),
        }
        if cause == "small":
            more["recall"] = whole.recall_of(traits)
        gained = tabulated.ap50_without(none, of_it)
        add(cause, len(of_it), gained, whole.examples_of_missed(of_it), **more)

    for cause in ("localisation", "classification", "duplicate", "background"):
        rows = kind_of[cause]
        mended = cause in ("localisation", "classification")
        gained = tabulated.ap50_mended(rows) if mended else tabulated.ap50_without(rows, nobody)
        more = {"sure": int((table.scores[rows] >= floor).sum())}
        if cause == "localisation":
            more["truths"] = whole.ids_of(rows)
        if cause == "classification":
            shown = rows & (table.scores >= floor)
            more["pairs"] = whole.pairs_of(shown if shown.any() else rows)
        add(cause, int(rows.sum()), gained, whole.examples_of_found(rows), **more)

    rough = whole.rough()
    add("rough", int(rough.sum()), now, whole.examples_of_found(rough), truths=whole.ids_of(rough))
    if "rough" in lost:
        precision = judged.eval["precision"][..., coco.ALL_AREAS, coco.MOST_DETECTIONS]
        at = [coco.mean(precision[k]) for k in range(len(precision))]
        up_to = np.flatnonzero(judged.params.iouThrs <= ROUGH + 1e-9)
        lost["rough"]["dAP"] = float(sum(at[0] - at[k] for k in up_to) / len(at))
    return sorted(lost.values(), key=lambda one: (-one["dAP"], -one["dAP50"], -one["count"]))


class _Whole:
    """All detections and instances, by their ids."""

    def __init__(
        self, tabulated: Tabulated, scenes: dict[int, Scene], judged: COCOeval, floor: float
    ):
        self.tabulated, self.scenes, self.floor = tabulated, scenes, floor
        self.most = coco.most_of(judged)
        each = scenes.items()
        self.found = {one["id"]: (i, n) for i, s in each for n, one in enumerate(s.found)}
        self.truths = {one["id"]: (i, n) for i, s in each for n, one in enumerate(s.truths)}
        right = tabulated.table.targets[tabulated.table.right]
        self.right = set(tabulated.ids[right].tolist())

    def truth(self, annotation_id: int) -> dict[str, Any]:
        image_id, column = self.truths[annotation_id]
        return self.scenes[image_id].truths[column]

    def missed_by(self, missed: np.ndarray, traits: Traits) -> dict[str, np.ndarray]:
        """The numbers of missed instances by cause, each with one."""
        parts = collections.defaultdict(list)
        full: dict[tuple[int, int], bool] = {}
        for number, annotation_id in zip(missed, self.tabulated.ids[missed].tolist(), strict=True):
            one = self.truth(annotation_id)
            key = one["image_id"], one["category_id"]
            if key not in full:
                full[key] = is_full(self.scenes[key[0]], key[1], self.most, traits)
            if annotation_id in traits.cellless:
                cause = "cellless"
            elif full[key]:
                cause = "capped"
            else:
                cause = "small" if _is_small(one, traits) else "missed"
            parts[cause].append(number)
        return {cause: np.array(numbers, int) for cause, numbers in parts.items()}

    def recall_of(self, traits: Traits) -> list[list[int]]:
        """Of small instances and of others: how many are found, of how many."""
        counts = [[0, 0], [0, 0]]
        for annotation_id in self.tabulated.ids.tolist():
            part = counts[not _is_small(self.truth(annotation_id), traits)]
            part[0] += annotation_id in self.right
            part[1] += 1
        return counts

    def classes_of(self, numbers: np.ndarray) -> list[list[int]]:
        """Category ids of some instances with how many, most frequent first."""
        ids = [self.truth(one)["category_id"] for one in self.tabulated.ids[numbers].tolist()]
        return [list(pair) for pair in collections.Counter(ids).most_common(PAIRS)]

    def images_of(self, numbers: np.ndarray) -> int:
        return len({self.truths[one][0] for one in self.tabulated.ids[numbers].tolist()})

    def ids_of(self, rows: np.ndarray) -> list[int]:
        """Annotation ids of the instances that some rows are."""
        return self.tabulated.ids[self.tabulated.table.targets[rows]].tolist()

    def rough(self) -> np.ndarray:
        """``n`` bool, rows that are right at IoU .5 and would not be at ROUGH."""
        table = self.tabulated.table
        rough = np.zeros(len(table.ids), bool)
        for row in np.flatnonzero(table.right).tolist():
            image_id, place = self.found[int(table.ids[row])]
            _, column = self.truths[int(self.tabulated.ids[table.targets[row]])]
            rough[row] = self.scenes[image_id].ious[place, column] < ROUGH
        return rough

    def pairs_of(self, rows: np.ndarray) -> list[list[int]]:
        """Labels, true and given, with how often, most frequent first."""
        table = self.tabulated.table
        true = self.tabulated.labels[table.targets[rows]].tolist()
        pairs = collections.Counter(zip(true, table.labels[rows].tolist(), strict=True))
        return [[*pair, count] for pair, count in pairs.most_common(PAIRS)]

    def examples_of_found(self, rows: np.ndarray) -> list[Example]:
        """The best scored ones, of different images where there are."""
        table = self.tabulated.table
        chosen = np.flatnonzero(rows)
        examples = []
        for row in chosen[np.argsort(-table.scores[chosen], kind="mergesort")].tolist():
            image_id, place = self.found[int(table.ids[row])]
            scene = self.scenes[image_id]
            if table.targets[row] >= 0:
                ids = [int(self.tabulated.ids[table.targets[row]])]
            else:
                near = np.flatnonzero(scene.ious[place] >= errors.BACKGROUND)
                ids = [scene.truths[column]["id"] for column in near]
            examples.append(Example(image_id, ids, [int(table.ids[row])]))
        return _varied(examples)

    def examples_of_missed(self, numbers: np.ndarray) -> list[Example]:
        """The largest, with what touches them."""
        ones = [self.truth(one) for one in self.tabulated.ids[numbers].tolist()]
        ones.sort(key=lambda one: -one["area"])
        examples = []
        for one in _varied([Example(o["image_id"], [o["id"]], []) for o in ones])[:EXAMPLES]:
            scene, column = self.scenes[one.image_id], self.truths[one.truths[0]][1]
            rows = np.flatnonzero(scene.ious[:, column] >= errors.BACKGROUND)
            near = [scene.found[row] for row in rows]
            sure = [one["id"] for one in near if one["score"] >= self.floor]
            examples.append(one._replace(found=sure))
        return examples

    def examples_of_merged(self, merging: dict[int, list[int]]) -> list[Example]:
        """Those over the most instances."""
        ranked = sorted(merging, key=lambda one: -len(merging[one]))
        return _varied([Example(self.found[one][0], merging[one], [one]) for one in ranked])

    def describe(self, example: Example) -> dict[str, Any]:
        """What JSON can hold."""
        scene = self.scenes[example.image_id]
        true = [self.truth(one) for one in example.truths]
        found = [scene.found[self.found[one][1]] for one in example.found]
        about = [{"category_id": one["category_id"]} for one in true[:1]]
        about += [{"found_as": one["category_id"], "score": one["score"]} for one in found[:1]]
        return {
            "image_id": example.image_id,
            **{key: value for one in about for key, value in one.items()},
            "box": around(true + found),
            "truths": example.truths,
            "results": [one - 1 for one in example.found],
        }


def is_full(scene: Scene, category_id: int, most: int, traits: Traits) -> bool:
    """Whether an image has as many detections as there can be, of all or of a class.

    Args:
      scene: of the image.
      category_id: of the class.
      most: detections of a class that count.
      traits: tell how many a head makes.
    """
    of_class = sum(one["category_id"] == category_id for one in scene.found)
    return of_class >= most or (traits.most is not None and len(scene.found) >= traits.most)


def around(ones: Sequence[dict[str, Any]]) -> list[float]:
    """The box, x y width height, around those of some annotations."""
    boxes = np.array([one["bbox"] for one in ones], float)
    first, last = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return [*first.tolist(), *(last - first).tolist()]


def _is_small(truth: dict[str, Any], traits: Traits) -> bool:
    if traits.small is None:
        return bool(truth["area"] < SMALL)
    return truth["id"] in traits.small


def _varied(examples: list[Example]) -> list[Example]:
    """The first of each image, then the others."""
    seen: set[int] = set()
    firsts: list[Example] = []
    others: list[Example] = []
    for example in examples:
        (others if example.image_id in seen else firsts).append(example)
        seen.add(example.image_id)
    return firsts + others
