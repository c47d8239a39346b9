"""Runs a network over a data set: whole prediction in one compiled program per canvas."""

import json
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.data import coco, examples, pipeline, plan
from solojax.evaluation import coco as coco_evaluation
from solojax.ops import images, masks
from solojax.types import Array, Results

OUTPUT_MULTIPLE = 32  # original sizes are rounded up to it, so that bits pack


class Evaluation(NamedTuple):
    """A score and what it was given for."""

    numbers: dict[str, float]  # COCO's twelve
    results: dict[int, list[dict[str, Any]]]  # by record number, in COCO's form
    overflow: int  # candidates that the cap left out, over all images
    truth: dict[str, Any]  # what they were scored against, as coco.mask_ap takes it


def make_predict(
    model: nn.Module, output_size: tuple[int, int], precision: parallel.Precision = "float32"
) -> Callable[[dict[str, Any], Array, Array, Array], Results]:
    """Builds ``predict(variables, images, sizes, original_sizes) -> Results``.

    Pure and of fixed shapes, for use inside ``jit``, ``vmap`` or ``pmap``.

    Args:
      model: a Detector.
      output_size: (height, width) that holds every original image; the width a multiple of 8.
      precision: what the network computes in; scores and masks are float32 either way.

    The built function's arguments: ``images`` ``B H W 3`` uint8 RGB on their canvas, ``sizes`` and
    ``original_sizes`` ``B 2`` (height, width), network and original pixels.
    """

    def predict(
        variables: dict[str, Any], batch: Array, sizes: Array, original_sizes: Array
    ) -> Results:
        inputs = images.normalize(batch, sizes, jnp.dtype(precision))
        found = model.head.detect(model.apply(variables, inputs))

        def restore(one: tuple[Array, Array, Array]) -> Array:
            threshold = model.head.selection.mask_threshold
            return masks.restore(*one, output_size=output_size, threshold=threshold)

        return Results(
            scores=found.scores,
            labels=found.labels,
            # One image at a time: as floats the masks of a whole batch would be gigabytes.
            masks=jax.lax.map(restore, (found.masks, sizes, original_sizes)),
            valid=found.valid,
            overflow=found.overflow,
        )

    return predict


def output_size_for(sizes: np.ndarray) -> tuple[int, int]:
    """The least output size that holds all original ``sizes`` (``n 2``)."""
    height, width = -(-sizes.max(0) // OUTPUT_MULTIPLE) * OUTPUT_MULTIPLE
    return int(height), int(width)


def make_evaluate(
    config: config_lib.Config, records: coco.Records
) -> Callable[[dict[str, Any]], Evaluation]:
    """Builds ``evaluate(variables) -> Evaluation`` over all records, with a progress bar.

    What is built compiles once per canvas, however often it is called. All processes call alike,
    each predicts its part of every batch, and all get the same: process 0 scores.
    """
    batch_size, first = config.training.batch_size, processes.is_first()
    # In float32, whatever the training computes in: bfloat16 makes neighbouring scores equal.
    predict = parallel.pmap_predict(make_predict(config.model, output_size_for(records.sizes)))
    canvas_of = examples.eval_canvases_of(records, config.data)
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
        batches = pipeline.eval_batches(
            records,
            config.data,
            batch_size=batch_size,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        bar = {"unit": "batch", "leave": False, "disable": not first}
        for batch in tqdm(batches, "evaluating", steps, **bar):
            inputs = parallel.shard((batch.images, batch.sizes, batch.original_sizes))
            found = parallel.gather(predict(placed, inputs))
            for place in np.flatnonzero(batch.valid):
                index = int(batch.indices[place])
                one = Results(*(array[place] for array in found))
                overflow += int(one.overflow)
                results[index] = to_coco(
                    one, records.sizes[index], records.image_ids[index], records.categories
                )
        results, overflow = _bring_together(results, overflow)
        numbers = {}
        if first:
            everything = [one for here in results.values() for one in here]
            numbers = coco_evaluation.mask_ap(truth, everything)
        numbers = json.loads(processes.collect(json.dumps(numbers).encode())[0])
        return Evaluation(numbers, results, overflow, truth)

    return evaluate


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
    result: Results,
    original_size: np.ndarray,
    image_id: int,
    categories: tuple[config_lib.Category, ...],
) -> list[dict[str, Any]]:
    """The results of one image in COCO's form, best first."""
    height, width = map(int, original_size)
    found = []
    for k in np.flatnonzero(result.valid):
        mask = np.unpackbits(result.masks[k], axis=-1)[:height, :width]
        found.append(
            {
                "image_id": image_id,
                "category_id": categories[result.labels[k]].id,
                "score": float(result.scores[k]),
                "segmentation": coco_mask.encode(np.asfortranarray(mask)),
            }
        )
    return found
