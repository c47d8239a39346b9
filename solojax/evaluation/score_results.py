"""The score of results that any program wrote, against any COCO instances."""

import collections
from collections.abc import Sequence
from pathlib import Path

from solojax.evaluation import oracle, report, results, scores
from solojax.types import InputError


def score_results(
    path: Path, truth_path: Path, out: Path | None = None, oracles: Sequence[str] = ()
) -> str:
    """Scores a file of COCO results, masks or boxes.

    Args:
      path: the results.
      truth_path: the COCO instances, with masks, that they are about.
      out: the folder for ``eval.json`` and ``report.html``; where None, nothing is written.
      oracles: names of ``oracle.ORACLES`` to score by as well.

    Returns:
      Lines for people.

    Raises:
      InputError: a file is not what it should be, ``out`` is no folder, or an oracle is asked for
        boxes.
    """
    if out:  # before minutes of scoring
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out} is a file; give a folder")
        out.mkdir(parents=True, exist_ok=True)
    truth, findings = results.read_truth(truth_path)
    found, kind = results.read(path, truth)
    if oracles and kind == "bbox":
        raise InputError(f"--oracle is about masks; {path} has boxes only")
    told = [f"{truth_path}: {finding}" for finding in findings]
    scored = scores.score(truth, found, kind)
    what = {"segm": "mask", "bbox": "box"}[kind]
    title = f"{what} AP of {path} on {len(truth['images'])} images"
    told += [title, scores.table(scored)]
    by_image = collections.defaultdict(list)
    for one in found:
        by_image[one["image_id"]].append(one)
    told += oracle.add(oracles, truth, by_image, scored)
    if out:
        told += report.save(out, report.page(title, scored), scored)
    return "\n".join(told)
