"""Which classes are taken for which, as a matrix and as a list."""

from typing import Any

import numpy as np

MOST_CELLS = 100  # classes beyond which a matrix cannot be read
LABELLED_CELLS = 15  # classes up to which counts are written into the cells
MOST_CONFUSIONS = 10  # pairs of classes that are listed


def of(scores: dict[str, Any], nothing: str, shares: bool = False) -> dict[str, Any] | None:
    """Cells and labels of the confusion matrix, None where there are too many classes.

    Args:
      scores: with ``classes`` and ``confusion``.
      nothing: what None among its pairs is called, the last row and column.
      shares: whether hundredths of the row are written into the cells and no counts.
    """
    classes = scores["classes"]
    if len(classes) > MOST_CELLS:
        return None
    names = [*(one["name"] for one in classes), nothing]
    place = {one["id"]: label for label, one in enumerate(classes)} | {None: len(classes)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for one in scores["confusion"]["counts"]:
        counts[place[one["truth"]], place[one["prediction"]]] = one["count"]
    sums = counts.sum(1)
    rows, columns = np.nonzero(counts)
    labelled = len(classes) <= LABELLED_CELLS
    return {
        "names": names,
        "side": 34 if labelled else 11,
        "labelled": labelled,
        "margin": 12 + 7 * min(max(map(len, names)), 18),
        "cells": [
            {
                "row": row,
                "column": column,
                "count": counts[row, column],
                "of": sums[row],
                "share": counts[row, column] / sums[row],
                "text": f"{100 * counts[row, column] / sums[row]:.0f}"
                if shares
                else counts[row, column],
            }
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ],
    }


def confusions(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The classes that are most often taken for others; arguments as of ``of``."""
    names = {one["id"]: one["name"] for one in scores["classes"]}
    pairs = [
        {**one, "truth": names[one["truth"]], "prediction": names[one["prediction"]]}
        for one in scores["confusion"]["counts"]
        if one["truth"] != one["prediction"] and None not in (one["truth"], one["prediction"])
    ]
    return sorted(pairs, key=lambda one: -one["count"])[:MOST_CONFUSIONS]
