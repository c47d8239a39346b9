"""The score of a run on its images, with a report and pictures in its folder."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax import device_memory, parallel, processes, writing
from solojax.data.findings import Findings
from solojax.data.records import coco
from solojax.evaluation import evaluate, scores
from solojax.evaluation.analysis import confusion, oracle
from solojax.evaluation.dataset import collisions
from solojax.evaluation.metrics import coco as coco_evaluation
from solojax.evaluation.report import advice, alarms, caps, gallery, history, page
from solojax.evaluation.report import scenes as report
from solojax.heads import protocol
from solojax.inference import pictures, room, thresholds
from solojax.inference.save import files
from solojax.models import detector
from solojax.training import checkpoint, deciding, hub
from solojax.types import InputError

PICTURES = 24  # images that are drawn
FOLDER = "pictures"  # in which, beside the numbers
COUNTED = 20_000  # training images whose classes are counted at most: all records are read for it


def score_run(
    run: str | Path,
    which: str = "latest",
    overrides: Sequence[str] = (),
    oracles: Sequence[str] = (),
    *,
    most: int = coco_evaluation.MOST,
    split: coco.Split = "val",
    out: Path | None = None,
) -> str:
    """Scores a checkpoint of a run; leaves ``eval.json``, ``report.html`` and ``pictures``.

    Those of the training images lie in a folder ``train`` beside them. The validation images
    choose the scores that prediction shows as well, ``thresholds.json``.

    All processes call alike; process 0 alone writes.

    Args:
      run: the run folder, or what ``hub.folder_of`` takes for one.
      which: the checkpoint, as for ``checkpoint.read_variables``.
      overrides: of its config, such as ``data.root=elsewhere``.
      oracles: names of ``oracle.ORACLES`` to score by as well.
      most: detections of a class in an image that count.
      split: which images.
      out: the folder for all of it; the run's own where None.

    Returns:
      Lines for people; empty on all processes but the first.

    Raises:
      InputError: it is no run folder, holds no such checkpoint, or its images are not there.
    """
    coco_evaluation.check_most(most)
    workdir = hub.folder_of(run)
    if out is None and workdir != Path(run):
        raise InputError(
            f"{run} is of the Hub, and keeps no scores; give a folder for them by --out"
        )
    trained = checkpoint.read_config(workdir)  # by all processes, which process 0 tells
    config = config_lib.override(trained, *overrides)
    parallel.check_divisible(config.training.batch_size)
    records = processes.in_turn(lambda: coco.prepare(config.data, split))
    wanted = detector.variable_shapes(config.model)
    images = config.training.batch_size // jax.device_count()
    room.check_room(config.model, config.data.canvases, images)
    step, variables = checkpoint.read_variables(workdir, wanted, which)
    score = functools.partial(scores.score, most=most)
    finds = protocol.finds_instances(config.model.head)
    if processes.is_first() and finds:
        surveyed = collisions.survey(records, config.data)
        score.keywords["traits"] = advice.traits_of(config, surveyed)
    with device_memory.out_of_memory_told(
        lambda: f"a device has too little memory; lower {room.AT_ONCE}"
    ):
        evaluation = evaluate.make_evaluate(config, records, score)(variables)
    if not processes.is_first():
        return ""
    what = "training images" if split == "train" else "images"
    name = deciding.name_of(evaluation.numbers)
    named = "mask AP" if name == "AP" else name
    seen = evaluation.scenes
    of_scenes = seen.scores() if seen else {}
    count = len(records.image_ids) if finds else len(of_scenes["semantic"]["images"])
    title = f"{named} of {run} at step {step} on {count} {what}"
    scored = {**evaluation.numbers, **of_scenes, "step": step, "overrides": list(overrides)}
    base = out or workdir
    place = base if split == "val" else base / split
    figures = report.draw_figures(of_scenes, seen.look_at) if seen else report.NONE
    logged = history.read(workdir)
    if not finds:
        told = [title, report.table(of_scenes)]
        with page.or_print(told):
            html = report.render(title, of_scenes, figures, logged, step)
            told += page.save(place, html, scored)
            return "\n".join([*told, *_draw(place, evaluation, records)])
    findings = Findings()
    flat = [one for here in evaluation.results.values() for one in here]
    caps.tell_head(config.model.head, evaluation.truth, most, findings)
    caps.tell(evaluation.truth, flat, most, findings)
    known = _trained_on(trained) if split == "val" else _counts(surveyed, records)
    facts = advice.Facts(config, surveyed, records.sizes, logged, known)
    advice.advise(scored, facts)
    scored["alarms"] = [*alarms.tell(scored, facts), *map(str, findings)]
    told = [*map(str, findings), title, scores.table(scored), advice.table(scored)]
    if seen:
        told.append(report.table(of_scenes))
        if (labelled := len(of_scenes["semantic"]["images"])) < count:
            told.append(f"  of whole scenes, {labelled} images count: others have no label map")
    if evaluation.overflow:
        told.append(
            f"  {evaluation.overflow} candidates exceeded the head's cap on them "
            "(max_candidates, of the head or of its selection)"
        )
    told += oracle.add(oracles, evaluation.truth, evaluation.results, scored)

    def show(image_id: int) -> page.Shown:
        index = records.image_ids.index(image_id)
        picture = pictures.beside_truth(records, index, evaluation.results[index])
        return page.Shown(image_id, page.jpeg_of(picture))

    extremes = confusion.extremes(scored["images"], page.EXTREMES)
    worst, best = ([show(image_id) for image_id in here] for here in extremes)
    cut = gallery.draw(scored, records, evaluation.truth, flat, config.data.root)
    with page.or_print(told):
        if split == "val":
            told.append(_keep_thresholds(base, scored, overrides, len(records.image_ids)))
        scenes = report.sections(of_scenes, figures) if seen else ""
        html = page.render(title, scored, worst, best, logged, cut, scenes)
        saved = page.save(place, html, scored)
        drawn = _draw(place, evaluation, records)
    return "\n".join([*told, *drawn, *saved])


def _draw(place: Path, found: evaluate.Evaluation, records: coco.Records) -> list[str]:
    """Draws some images; a line for people."""
    folder, chosen = place / FOLDER, pictures.spread(len(records.image_ids), PICTURES)
    for index in tqdm(chosen, "drawing", unit="image"):
        picture = cv2.cvtColor(evaluate.picture(found, records, index), cv2.COLOR_RGB2BGR)
        writing.put(folder / f"{records.image_ids[index]}.png", files.encode(".png", picture))
    return [f"{len(chosen)} pictures in {folder}"]


def _trained_on(config: config_lib.Config) -> tuple[int, ...]:
    """Training instances of each class; empty where they are not there, or it would take long."""
    try:
        if not coco.is_prepared(config.data, "train"):
            return ()
        records = coco.prepare(config.data, "train")
    except (InputError, OSError):  # a run may be scored where its training images never were
        return ()
    if len(records.image_ids) > COUNTED:
        return ()
    return _counts(collisions.survey(records, config.data), records)


def _counts(surveyed: collisions.Survey, records: coco.Records) -> tuple[int, ...]:
    regular = surveyed.labels[~surveyed.crowds]
    return tuple(np.bincount(regular, minlength=len(records.categories)).tolist())


def _keep_thresholds(
    workdir: Path, scored: dict[str, Any], overrides: Sequence[str], images: int
) -> str:
    """Leaves in the run what prediction shows from now on; a line for people."""
    chosen = scored["thresholds"]
    if any(one.startswith("model.") for one in overrides):  # which a prediction does not know
        return f"  {thresholds.FILE} is left as it is: --set changes the model"
    thresholds.save(workdir, chosen, step=scored["step"], images=images)
    if chosen is None:
        return f"  nothing is right at IoU .5: no threshold for prediction, no {thresholds.FILE}"
    own = len(chosen["classes"])
    return (
        f"  F1 at IoU .5 is greatest, {chosen['F1']:.3f}, from a score of {chosen['score']:g} on, "
        f"which predict shows by default; {own} classes have their own ({thresholds.FILE})"
    )
