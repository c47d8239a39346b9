"""What keeps a run from a higher AP50, by kind of error (TIDE: Bolya et al., 2020).

Each false positive is of one kind and each missed instance is missed; what the AP50 would gain if
one kind were mended, all else as it is, is the weight of that kind. Gains do not add up.
"""

from typing import Any, NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from solojax.evaluation.metrics import coco
from solojax.evaluation.metrics.coco import Scene

FOREGROUND = 0.5  # IoU from which a mask is in the right place (t_f of the paper)
BACKGROUND = 0.1  # IoU below which it is on nothing (t_b)

KINDS = {
    "classification": "in the right place, of the wrong class",
    "localisation": "of the right class, IoU .1 to .5",
    "both": "of the wrong class, IoU .1 to .5",
    "duplicate": "of what a better scored one has found",
    "background": "on nothing, IoU below .1",
    "missed": "instances without any of the first two",
}


class Table(NamedTuple):
    """The ``n`` detections that count, in the order in which pycocotools accumulates them."""

    ids: np.ndarray  # n int
    labels: np.ndarray  # n int, place of the class
    scores: np.ndarray  # n float
    right: np.ndarray  # n bool
    kinds: np.ndarray  # n int, place in KINDS; -1 where right
    targets: np.ndarray  # n int, number of the instance that each is, or should have been; -1: none


class Tabulated(NamedTuple):
    """All detections that count, and the ``N`` instances, which are no crowds, by number."""

    table: Table
    labels: np.ndarray  # N int, place of the class
    ids: np.ndarray  # N int, of the annotations
    classes: int  # that there are

    @property
    def counts(self) -> np.ndarray:
        """How many instances each class has."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def missed(self) -> np.ndarray:
        """Numbers of the instances that no detection is, or should have been."""
        table = self.table
        spoken_of = table.right | (table.kinds == 0) | (table.kinds == 1)
        return np.setdiff1d(np.arange(len(self.labels)), table.targets[spoken_of])

    def ap50_without(self, rows: np.ndarray, instances: np.ndarray) -> float:
        """AP50 if some rows of the table, ``n`` bool, and instances, by number, were not there.

        Where nothing is left to be found it is 0: nothing is gained.
        """
        fewer = self.counts - np.bincount(self.labels[instances], minlength=self.classes)
        return _ap50(Table(*(column[~rows] for column in self.table)), fewer)

    def ap50_mended(self, rows: np.ndarray) -> float:
        """AP50 if some wrong rows, ``n`` bool, were what they should have been."""
        return _ap50(_put_right(self.table, rows, self.labels), self.counts)


def split(tabulated: Tabulated) -> dict[str, dict[str, Any]]:
    """Counts the errors of each of KINDS and what mending them would add to AP50, ``dAP50``."""
    table = tabulated.table
    names = list(KINDS)
    none = np.zeros(len(table.ids), bool)
    nobody = np.zeros(0, int)
    now = tabulated.ap50_without(none, nobody)
    found = {}
    for kind, name in enumerate(names[:-1]):
        of_kind = table.kinds == kind
        if name in ("classification", "localisation"):
            gained = tabulated.ap50_mended(of_kind) - now
        else:
            gained = tabulated.ap50_without(of_kind, nobody) - now
        found[name] = {"count": int(of_kind.sum()), "dAP50": gained}
    missed = tabulated.missed
    gained = tabulated.ap50_without(none, missed) - now
    return {**found, "missed": {"count": len(missed), "dAP50": gained}}


def _ap50(table: Table, counts: np.ndarray) -> float:
    return max(ap50_of(table.labels, table.scores, table.right, counts), 0.0)


def ap50_of(labels: np.ndarray, scores: np.ndarray, right: np.ndarray, truths: np.ndarray) -> float:
    """What pycocotools makes of detections that have been matched already.

    Args:
      labels: ``n`` int, place of each one's class.
      scores: ``n`` float.
      right: ``n`` bool.
      truths: ``C`` int, number of instances of each class.
    """
    judged = COCOeval(iouType="segm")
    chosen = judged.params
    chosen.iouThrs, chosen.areaRng, chosen.maxDets = chosen.iouThrs[:1], chosen.areaRng[:1], [None]
    chosen.imgIds, chosen.catIds = [0], list(range(len(truths)))  # as of one image
    judged._paramsEval = chosen
    judged.evalImgs = [
        {
            "dtScores": scores[labels == k],
            "dtMatches": right[None, labels == k],
            "dtIgnore": np.zeros((1, np.sum(labels == k)), bool),
            "gtIgnore": np.zeros(count),
        }
        for k, count in enumerate(truths)
    ]
    with coco.quiet():
        judged.accumulate()
    return coco.mean(judged.eval["precision"])


def tabulate(judged: COCOeval, scenes: dict[int, Scene]) -> Tabulated:
    """Says of each detection that counts what it is.

    Args:
      judged: from ``coco.judge``.
      scenes: from ``coco.overlap``, by image id.
    """
    label_of = {category_id: label for label, category_id in enumerate(judged.params.catIds)}
    number_of: dict[int, int] = {}  # of an instance by its id
    labels: list[int] = []
    errors: dict[int, tuple[int, int]] = {}  # kind and target if wrong, by the detection's id
    for scene in scenes.values():
        regular = [not annotation["iscrowd"] for annotation in scene.truths]
        here = [one for one, counts in zip(scene.truths, regular, strict=True) if counts]
        numbers = np.arange(len(labels), len(labels) + len(here))
        number_of |= {one["id"]: number for one, number in zip(here, numbers, strict=True)}
        labels += [label_of[one["category_id"]] for one in here]
        kinds, places = _kinds_of(scene.found, here, scene.ious[:, regular])
        for one, kind, place in zip(scene.found, kinds, places, strict=True):
            errors[one["id"]] = kind, numbers[place] if place >= 0 else -1
    rows = []
    images = len(judged.params.imgIds)
    for label in range(len(judged.params.catIds)):
        start = label * len(judged.params.areaRng) * images  # all areas come first
        for entry in judged.evalImgs[start : start + images]:
            if entry is None:
                continue
            for one, score, truth, ignored in zip(
                entry["dtIds"],
                entry["dtScores"],
                entry["dtMatches"][0],
                entry["dtIgnore"][0],
                strict=True,
            ):
                if truth and not ignored:
                    rows.append((one, label, score, True, -1, number_of[truth]))
                elif not ignored:
                    rows.append((one, label, score, False, *errors[one]))
    columns = zip(*rows, strict=True) if rows else [()] * len(Table._fields)
    kinds_of_columns = (int, int, float, bool, int, int)
    table = Table(*(np.array(c, k) for c, k in zip(columns, kinds_of_columns, strict=True)))
    ids = np.array([*number_of], int)
    return Tabulated(table, np.array(labels, int), ids, len(judged.params.catIds))


def _kinds_of(
    found: list[dict[str, Any]], truths: list[dict[str, Any]], ious: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The kind of error of each detection if it is wrong, and which truth it should have been."""
    if not truths:
        nothing = np.full(len(found), list(KINDS).index("background"))
        return nothing, np.full(len(found), -1)
    classes = [np.array([one["category_id"] for one in ones], int) for ones in (found, truths)]
    same = classes[0][:, None] == classes[1]
    own, other = np.where(same, ious, 0), np.where(same, 0, ious)
    near, other_near = own.max(1), other.max(1)
    cases = {
        "background": np.maximum(near, other_near) < BACKGROUND,
        "localisation": (near >= BACKGROUND) & (near < FOREGROUND),
        "classification": other_near >= FOREGROUND,
        "duplicate": near >= FOREGROUND,
        "both": other_near >= BACKGROUND,
    }
    places = [list(KINDS).index(name) for name in cases]
    kinds = np.select(list(cases.values()), places)
    targets = np.select(
        [kinds == 0, kinds == 1], [other.argmax(1), own.argmax(1)], np.full(len(found), -1)
    )
    return kinds, targets


def _put_right(table: Table, of_kind: np.ndarray, labels: np.ndarray) -> Table:
    """Makes wrong detections those of their targets; of several of one target the best stays."""
    right = table.right | of_kind
    mended = table._replace(
        labels=np.where(of_kind, labels[table.targets], table.labels)
        if len(labels)
        else table.labels,
        right=right,
    )
    order = np.argsort(-table.scores, kind="mergesort")
    order = order[right[order]]
    _, first = np.unique(table.targets[order], return_index=True)
    stays = ~right
    stays[order[first]] = True
    return Table(*(column[stays] for column in mended))
