"""Runs a network over a data set."""

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.data import fit, pipeline, plan
from solojax.data.records import coco
from solojax.evaluation.metrics import coco as coco_evaluation
from solojax.evaluation.run_scenes import Scenes, check_maps
from solojax.heads import protocol
from solojax.inference import draw, pictures, programs

Score = Callable[[dict[str, Any], list[dict[str, Any]]], dict[str, Any]]
"""(truth, results), as of ``coco.mask_ap`` -> numbers by name."""

HEADLINES = {"panoptic": "PQ", "semantic": "mIoU"}
"""Of whole scenes, the number that stands for all."""


class Evaluation(NamedTuple):
    """A score and what it was given for."""

    numbers: dict[str, Any]  # by the function that scored, as COCO's twelve; and ``HEADLINES``
    results: dict[int, list[dict[str, Any]]]  # by record number, in COCO's form
    overflow: int  # candidates that the cap left out, over all images
    truth: dict[str, Any]  # what they were scored against, as coco.mask_ap takes it
    scenes: Scenes | None = None  # of a head that labels pixels


def make_evaluate(
    config: config_lib.Config, records: coco.Records, score: Score = coco_evaluation.mask_ap
) -> Callable[[dict[str, Any]], Evaluation]:
    """Builds ``evaluate(variables) -> Evaluation`` over all records, with a progress bar.

    What is built compiles once per canvas, however often it is called. All processes call alike,
    each predicts its part of every batch, and all get the same: process 0 scores.

    Args:
      config: of the run.
      records: the images.
      score: what the numbers are made by; a training looks at the twelve alone.

    Raises:
      InputError: the head labels pixels, and the records have no label maps.
    """
    head = config.model.head
    if labels_pixels := protocol.labels_pixels(head):
        check_maps(head, records)
    batch_size, first = config.training.batch_size, processes.is_first()
    # In float32, whatever the training computes in: bfloat16 makes neighbouring scores equal.
    find = programs.make_find(config.model, all_devices=True)
    canvas_of = fit.eval_canvases_of(records.sizes, config.data)
    steps = len(plan.sequence(canvas_of, batch_size).indices)
    truth = coco_evaluation.truth_of(
        records.image_ids,
        records.sizes.tolist(),
        [coco.read(records, i).instances for i in range(len(records.image_ids))],
        records.categories,
    )

    def evaluate(variables: dict[str, Any]) -> Evaluation:
        placed = parallel.replicate(variables)
        results: dict[int, list[dict[str, Any]]] = {}
        overflow = 0
        scenes = Scenes(head, records) if labels_pixels else None
        batches = pipeline.eval_batches(
            records,
            config.data,
            batch_size=batch_size,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        bar = {"unit": "batch", "leave": False, "disable": not first}
        for batch in tqdm(batches, "evaluating", steps, **bar):
            found = find(placed, batch.images, batch.sizes, batch.original_sizes)
            for place in np.flatnonzero(batch.valid):
                index = int(batch.indices[place])
                overflow += found[place].overflow
                results[index] = to_coco(
                    found[place], records.sizes[index], records.image_ids[index], records.categories
                )
                if scenes:
                    scenes.add(index, found[place])
        results, overflow = _bring_together(results, overflow)
        if scenes:
            scenes.bring_together()
        numbers: dict[str, Any] = {}
        if first and scenes:
            scored = scenes.scores()
            numbers = {name: scored[one][name] for one, name in HEADLINES.items() if one in scored}
        if first and protocol.finds_instances(head):
            numbers |= score(truth, [one for here in results.values() for one in here])
        numbers = pickle.loads(processes.collect(pickle.dumps(numbers))[0])
        return Evaluation(numbers, results, overflow, truth, scenes)

    return evaluate


def picture(found: Evaluation, records: coco.Records, index: int) -> np.ndarray:
    """What was found in an image beside what is there, ``H W 3`` uint8 RGB."""
    if found.scenes is None:
        return pictures.beside_truth(records, index, found.results[index])
    panels = zip(("prediction", "ground truth"), found.scenes.look(index), strict=True)
    return draw.side_by_side(list(panels))


def _bring_together(
    results: dict[int, list[dict[str, Any]]], overflow: int
) -> tuple[dict[int, list[dict[str, Any]]], int]:
    """The results of all processes, in the order of the records, and the sum of their overflows."""
    if jax.process_count() > 1:
        parts = processes.collect(pickle.dumps((results, overflow)))
        everybody = [pickle.loads(part) for part in parts]
        results = {index: here for part, _ in everybody for index, here in part.items()}
        overflow = sum(over for _, over in everybody)
    return dict(sorted(results.items())), overflow


def to_coco(
    found: programs.Found,
    original_size: np.ndarray,
    image_id: int,
    categories: tuple[config_lib.Category, ...],
) -> list[dict[str, Any]]:
    """What was found in one image in COCO's form, best first."""
    size = [int(side) for side in original_size]
    results: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "category_id": categories[label].id,
            "score": float(score),
            "segmentation": {"size": size, "counts": counts},
        }
        for score, label, counts in zip(found.scores, found.labels, found.rles, strict=True)
    ]
    if found.boxes is not None:
        for result, (x0, y0, x1, y1) in zip(results, found.boxes.tolist(), strict=True):
            result["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    return results
