"""Records -> examples: which images one is made of, what is drawn for it, where all of it lies.

An example depends on its place in the training and on nothing else, whoever asks for it and when.
"""

import functools
from collections.abc import Callable

import numpy as np

from solojax import config as config_lib
from solojax.data import balance, fit, plan, transforms
from solojax.data.records import coco
from solojax.data.scene import Scene, draw_scene, pair
from solojax.types import Batch, InputError

Load = Callable[[int, int], Batch]
"""(step, place in the batch) -> the ``Batch`` of one image, without the leading axis."""


def train_examples(
    records: coco.Records,
    data: config_lib.Data,
    *,
    mask_strides: tuple[int, ...],
    label_strides: tuple[int, ...] = (),
    batch_size: int,
    seed: int,
) -> Load:
    """Builds the function that makes any example of a training, from any thread.

    Crowds are not valid instances; an image without instances is a legal negative.

    Raises:
      InputError: label maps are asked for, or masks, and the set has none.
    """
    check_asked(records, data, mask_strides, label_strides)
    canvas_of = train_canvases_of(records, data)
    repeats = balance.repeats_of(records, data.repeat_threshold)
    epoch_steps = plan.steps_per_epoch(canvas_of, batch_size, repeats)
    of_epoch = functools.lru_cache(maxsize=2)(
        lambda epoch: plan.plan(canvas_of, batch_size, seed, epoch, repeats)
    )

    def load(step: int, place: int) -> Batch:
        epoch, planned_step = divmod(step, epoch_steps)
        planned = of_epoch(epoch)
        index = int(planned.indices[planned_step, place])
        canvas = data.canvases[planned.canvases[planned_step]]
        rng = np.random.default_rng((seed, plan.AUGMENTATION, step * batch_size + place))
        scene = draw_scene(rng, records, data, index, canvas, step, bool(label_strides))
        batch = _batch(scene, index, records.sizes[index], data.max_instances, mask_strides)
        if scene.labels is None:
            return batch
        maps = {s: scene.labels[s // 2 :: s, s // 2 :: s].copy() for s in {*label_strides}}
        return batch._replace(instances=batch.instances._replace(label_maps=maps))

    return load


def check_asked(
    records: coco.Records,
    data: config_lib.Data,
    mask_strides: tuple[int, ...],
    label_strides: tuple[int, ...],
) -> None:
    """Raises InputError where a head asks for label maps or masks, and the set has none."""
    if label_strides and records.stuff_labels is None:
        raise InputError(
            f"{data.root} has no label maps, which the head asks for; give it panoptic_train.json "
            "and the folder of its PNGs beside the instances JSON, as solojax data import does"
        )
    if mask_strides and records.stuff and not records.categories:
        raise InputError(
            f"{data.root} has label maps of stuff alone, and the head asks for instances; take a "
            "head that labels pixels"
        )


def steps_per_epoch(records: coco.Records, data: config_lib.Data, batch_size: int) -> int:
    """Number of steps of every epoch of ``train_examples``."""
    repeats = balance.repeats_of(records, data.repeat_threshold)
    return plan.steps_per_epoch(train_canvases_of(records, data), batch_size, repeats)


def eval_example(
    records: coco.Records, data: config_lib.Data, index: int, canvas_number: int
) -> Batch:
    """An image as it is, without its instances; a black one where ``index`` is below 0."""
    if index < 0:
        image, size, original = (
            np.zeros((*data.canvases[canvas_number], 3), np.uint8),
            (1, 1),
            (1, 1),
        )
    else:
        pixels = coco.image_of(coco.read(records, index))
        image, size = fit.on_canvas(pixels, data, canvas_number)
        original = pair(pixels.shape)
    return _batch(Scene(image, size, transforms.NO_SHAPES), index, np.array(original), 1, ())


def train_canvases_of(records: coco.Records, data: config_lib.Data) -> np.ndarray:
    """The canvas of each record in a training, as a place in ``data.canvases``."""
    if data.augmentation.scale_range is None:
        limits = max(data.train_short_sides), data.long_side
    else:  # the canvas alone is the limit
        limits = (max(map(max, data.canvases)),) * 2
    return fit.canvases_of(records.sizes, data, *limits)


def _batch(
    scene: Scene,
    index: int,
    original: np.ndarray,
    max_instances: int,
    mask_strides: tuple[int, ...],
) -> Batch:
    canvas = pair(scene.image.shape)
    instances, dropped = transforms.make_instances(
        scene.shapes, canvas, max_instances, mask_strides
    )
    return Batch(
        images=scene.image,
        sizes=np.array(scene.filled, np.int32),
        original_sizes=np.asarray(original, np.int32),
        indices=np.int32(index),
        valid=np.bool_(index >= 0),
        instances=instances,
        dropped=np.int32(dropped),
    )
