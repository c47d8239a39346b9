"""The places that a scoring speaks of, found again in their images: pictures and names of files."""

import collections
import os
from collections.abc import Iterator
from typing import Any

from solojax import progress
from solojax.data.records import coco
from solojax.evaluation.report import crops, page

PICTURED = 8  # of the labels of each kind

Crops = dict[tuple[str, int], bytes]
"""(a cause of ``causes`` or a kind of ``labels``, place in its list) -> a JPEG."""


def entries_of(scored: dict[str, Any]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """All places that a scoring lists, by what they are examples of."""
    lists = {one["cause"]: one["examples"] for one in scored["lost"]}
    lists |= {kind: one["first"] for kind, one in scored["labels"].items()}
    for name, entries in lists.items():
        for number, entry in enumerate(entries):
            yield (name, number), entry


def name(scored: dict[str, Any], truth: dict[str, Any]) -> None:
    """Adds ``file`` to all places of a scoring whose images need not be there.

    Args:
      scored: from ``scores.score``. ``truths``, ids that were given anew, are taken out;
        ``results`` are places in the list of results, counted from 0.
      truth: whose images may have a ``file_name``.
    """
    files = {image["id"]: image.get("file_name", "") for image in truth["images"]}
    for _, entry in entries_of(scored):
        entry.pop("truths")
        entry["file"] = files[entry["image_id"]]


def draw(
    scored: dict[str, Any],
    records: coco.Records,
    truth: dict[str, Any],
    results: list[dict[str, Any]],
    root: str,
) -> Crops:
    """Draws the first places of each list, and adds ``file`` to all.

    Args:
      scored: from ``scores.score``, of ``truth`` and ``results``. Its own ``truths`` and
        ``results``, which say nothing outside of these, are taken out.
      records: of the images.
      truth: made of the records, as of ``coco.truth_of``.
      results: that were scored.
      root: folder that files are told from, where they lie in it.
    """
    true = truth["annotations"]
    of_image = collections.defaultdict(list)
    for one in true:
        of_image[one["image_id"]].append(one)
    places = collections.defaultdict(list)
    for key, entry in entries_of(scored):
        places[entry["image_id"]].append((key, entry))
    drawn: Crops = {}
    number_of = {image_id: number for number, image_id in enumerate(records.image_ids)}
    for image_id, here in progress.bar(places.items(), "cutting", unit="image"):
        record = coco.read(records, number_of[image_id])
        image = coco.image_of(record)
        for key, entry in here:
            path = os.path.relpath(record.path, root)
            entry["file"] = record.path if path.startswith(os.pardir) else path
            ids = entry.pop("truths")
            those = [results[place] for place in entry.pop("results")]
            if key[1] >= PICTURED:
                continue
            picture = crops.crop(
                image,
                entry["box"],
                [true[one - 1]["segmentation"]["counts"] for one in ids],
                [one["segmentation"]["counts"] for one in those],
                [one["segmentation"]["counts"] for one in of_image[image_id]],
            )
            drawn[key] = page.jpeg_of(picture)
    return drawn
