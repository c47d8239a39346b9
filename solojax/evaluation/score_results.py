"""The score of results that any program wrote, against any COCO instances."""

import collections
from collections.abc import Sequence
from pathlib import Path

from solojax.data.findings import Findings
from solojax.evaluation import results, score_scenes, scores
from solojax.evaluation.analysis import oracle
from solojax.evaluation.metrics import coco
from solojax.evaluation.report import advice, caps, gallery, page
from solojax.evaluation.results import doubts, scenes, truths
from solojax.types import InputError


def score_results(
    path: Path,
    truth_path: Path,
    out: Path | None = None,
    oracles: Sequence[str] = (),
    *,
    kind: coco.Kind | None = None,
    most: int = coco.MOST,
) -> str:
    """Scores a file of COCO results, masks or boxes; or whole scenes, as of ``score_scenes``.

    Args:
      path: the results.
      truth_path: the COCO instances, or the panoptic JSON, that they are about.
      out: the folder for ``eval.json`` and ``report.html``; where None, nothing is written.
      oracles: names of ``oracle.ORACLES`` to score by as well.
      kind: what to score; where None, masks if results and truth have any, else boxes.
      most: detections of a class in an image that count.

    Returns:
      Lines for people.

    Raises:
      InputError: a file is not what it should be, ``out`` is no folder, or an oracle is asked for
        boxes.
    """
    coco.check_most(most)
    if out:  # before minutes of scoring
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out} is a file; give a folder")
        out.mkdir(parents=True, exist_ok=True)
    if scenes.is_panoptic(truth_path) or scenes.is_panoptic(path):
        if kind or oracles or most != coco.MOST:
            raise InputError(
                f"--iou-type, --oracle and --max-detections are about instances, and {path} is "
                "scored by whole scenes; leave them out"
            )
        return score_scenes.score_scenes(path, truth_path, out)
    findings = Findings()
    whole = truths.read(truth_path, findings)
    found, kind = results.read(path, whole, findings, truth_path=truth_path, kind=kind)
    if oracles and kind == "bbox":
        raise InputError(f"--oracle is about masks; {path} is scored by boxes")
    truth = truths.of_kind(whole, kind, truth_path, findings)
    scored = scores.score(truth, found, kind, most=most)
    caps.tell(truth, found, most, findings)
    doubts.look(truth, found, scored, findings, truth_path=truth_path)
    what = {"segm": "mask", "bbox": "box"}[kind]
    title = f"{what} AP of {path} on {len(truth['images'])} images"
    advice.advise(scored, None)
    gallery.name(scored, truth)
    told = [*map(str, findings), title, scores.table(scored), advice.table(scored)]
    by_image = collections.defaultdict(list)
    for one in found:
        by_image[one["image_id"]].append(one)
    told += oracle.add(oracles, truth, by_image, scored)
    if out:
        with page.or_print(told):
            told += page.save(out, page.render(title, scored), scored)
    return "\n".join(told)
