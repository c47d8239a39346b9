"""The score of whole scenes that any program wrote, against any panoptic truth."""

from pathlib import Path
from typing import Any

import numpy as np

from solojax import progress
from solojax.data.findings import Findings
from solojax.evaluation.metrics import panoptic, semantic
from solojax.evaluation.report import page
from solojax.evaluation.report import scenes as report
from solojax.evaluation.results import scenes
from solojax.types import InputError

LOW, FAR = 0.5, 1.5  # a mIoU below which labels are tried in other readings; so many times as much


def score_scenes(path: Path, truth_path: Path, out: Path | None = None) -> str:
    """Scores panoptic results, their label maps with them, or a folder of label maps alone.

    Args:
      path: a JSON of panoptic results, or a folder of label maps.
      truth_path: the panoptic JSON that they are about.
      out: the folder, which is there, for ``eval.json`` and ``report.html``; where None, nothing is
        written.

    Returns:
      Lines for people.

    Raises:
      InputError: a file is not what it should be; it is named.
    """
    if not scenes.is_panoptic(truth_path):
        raise InputError(
            f"{path} is scored against a panoptic JSON, and {truth_path} is none: it has no "
            "segments_info; give the panoptic JSON of its images as --gt"
        )
    if not path.is_dir() and not scenes.is_panoptic(path):
        what = "has no segments_info" if path.is_file() else "is not there"
        raise InputError(
            f"{path} {what}; {truth_path} is panoptic: give panoptic results, an annotation for "
            "each image, or a folder of label maps"
        )
    findings = Findings()
    truth = scenes.read_truth(truth_path, findings)
    files = scenes.find_label_files(path, truth) if path.is_dir() else {}
    results = {} if files else scenes.read_results(path, truth)
    of_labels, of_segments = (one.Counts(len(truth.labels)) for one in (semantic, panoptic))

    def read(key: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ids and labels of the truth and of what was found."""
        size = truth.sizes[key]
        true = scenes.read(truth.maps[key], size)
        if key in results:
            return *true, *scenes.read(results[key], size)
        labels = scenes.read_labels(files[key], size, len(truth.labels))
        return *true, labels, labels

    for key in progress.bar(truth.maps, "scoring", unit="image"):
        ids, labels, found_ids, found = read(key)
        of_labels.add(key, labels, found)
        if results:
            segments = truth.maps[key].segments, results[key].segments
            of_segments.add(key, ids, segments[0], found_ids, segments[1])
    scored = {"semantic": semantic.score(of_labels, truth.labels)}
    if results:
        scored["panoptic"] = panoptic.score(of_segments, truth.labels, truth.things)
    else:
        _doubt(of_labels.pixels, [one.id for one in truth.labels], findings)
    title = f"{'PQ' if results else 'mIoU'} of {path} on {len(truth.maps)} images"
    told = [*map(str, findings), title, report.table(scored)]
    if out:

        def look(key: Any) -> tuple[np.ndarray, np.ndarray]:
            ids, labels, found_ids, found = read(key)
            return report.picture(found, found_ids), report.picture(labels, ids)

        with page.or_print(told):
            figures = report.draw_figures(scored, look)
            told += page.save(out, report.render(title, scored, figures), scored)
    return "\n".join(told)


def _doubt(pixels: np.ndarray, ids: list[int], findings: Findings) -> None:
    """Tells where maps score better if their values are read as something else than labels."""
    labels, now = len(pixels), semantic.mean_iou(pixels)
    if now >= LOW:
        return
    for values, what in ((range(1, labels + 1), "counted from 1"), (ids, "ids of categories")):
        other = np.zeros_like(pixels)
        for label, value in enumerate(values):
            if value < labels:
                other[:, label] = pixels[:, value]
        other[:, labels] = pixels.sum(1) - other.sum(1)
        if (then := semantic.mean_iou(other)) > FAR * now:
            findings.add(
                "doubtful",
                f"labels, of a mIoU of {now:.3f}, which is {then:.3f} if they are {what}",
                cure="write the places of things by their ids, then of stuff, from 0 on",
                count=labels,
            )
            return
