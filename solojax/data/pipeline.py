"""Records -> batches, with tf.data doing what it is good at: threads, batching, prefetching."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from solojax import config as config_lib
from solojax.data import annotations, coco, plan, transforms
from solojax.types import Batch, InputError, Instances

PREFETCHED = 4  # batches


def train_batches(
    records: coco.Records,
    data: config_lib.Data,
    *,
    mask_strides: tuple[int, ...],
    batch_size: int,
    seed: int,
    first: int,
    last: int,
) -> Iterator[Batch]:
    """The batches of steps ``first`` (included) to ``last`` (excluded) of a training.

    Every image depends on the seed and its place in the training alone: starting in the middle
    gives the same batches as coming from the beginning, and the number of workers changes nothing.
    Crowds are left out; an image without instances is a legal negative.
    """
    canvas_of = canvases_of(records, data, max(data.train_short_sides))
    epoch_steps = plan.steps_per_epoch(canvas_of, batch_size)
    of_epoch = functools.lru_cache(maxsize=2)(
        lambda epoch: plan.plan(canvas_of, batch_size, seed, epoch)
    )

    def load(position: int) -> Batch:
        step, place = divmod(position, batch_size)
        epoch, step = divmod(step, epoch_steps)
        planned = of_epoch(epoch)
        index = int(planned.indices[step, place])
        canvas = data.canvases[planned.canvases[step]]
        rng = np.random.default_rng((seed, plan.AUGMENTATION, position))
        record = coco.read(records, index)
        image = coco.image_of(record)
        placement = transforms.draw_placement(
            rng,
            image.shape[:2],
            canvas,
            short_sides=data.train_short_sides,
            long_side=data.long_side,
            flip_probability=data.flip_probability,
        )
        instances = [instance for instance in record.instances if not instance.is_crowd]
        return _example(
            instances, image, index, placement, canvas, data.max_instances, mask_strides
        )

    positions = range(first * batch_size, last * batch_size)
    return _stream(load, positions, batch_size, data.workers, mask_strides)


def eval_batches(
    records: coco.Records, data: config_lib.Data, *, batch_size: int
) -> Iterator[Batch]:
    """Every record once, without augmentation; images that fill up a last batch are not valid.

    The instances are empty, without masks: an evaluation reads the truth from the records.
    """
    canvas_of = canvases_of(records, data, data.test_short_side)
    planned = plan.sequence(canvas_of, batch_size)

    def load(position: int) -> Batch:
        step, place = divmod(position, batch_size)
        index = int(planned.indices[step, place])
        canvas = data.canvases[planned.canvases[step]]
        if index < 0:
            image = np.zeros((1, 1, 3), np.uint8)
        else:
            image = coco.image_of(coco.read(records, index))
        size = transforms.fit_size(image.shape[:2], canvas, data.test_short_side, data.long_side)
        placement = transforms.Placement(image.shape[:2], size)
        return _example([], image, index, placement, canvas, max_instances=1, mask_strides=())

    positions = range(planned.indices.size)
    return _stream(load, positions, batch_size, data.workers, mask_strides=())


def canvases_of(records: coco.Records, data: config_lib.Data, short_side: int) -> np.ndarray:
    """The canvas of each record, as a place in ``data.canvases``."""
    return plan.choose_canvases(records.sizes, data.canvases, short_side, data.long_side)


def _example(
    instances: list[annotations.Instance],
    image: np.ndarray,
    index: int,
    placement: transforms.Placement,
    canvas: tuple[int, int],
    max_instances: int,
    mask_strides: tuple[int, ...],
) -> Batch:
    """One image of a batch."""
    placed, dropped = transforms.place_instances(
        annotations.decode([instance.rle for instance in instances], *placement.original),
        np.array([instance.box for instance in instances]),
        np.array([instance.label for instance in instances]),
        placement,
        canvas,
        max_instances,
        mask_strides,
    )
    return Batch(
        images=transforms.place_image(image, placement, canvas),
        sizes=np.array(placement.size, np.int32),
        original_sizes=np.array(placement.original, np.int32),
        indices=np.int32(index),
        valid=np.bool_(index >= 0),
        instances=placed,
        dropped=np.int32(dropped),
    )


def _stream(
    load: Callable[[int], Batch],
    positions: range,
    batch_size: int,
    workers: int,
    mask_strides: tuple[int, ...],
) -> Iterator[Batch]:
    """Runs ``load`` for each position and batches the results, in order."""
    # TensorFlow takes seconds to import, so only those who read data pay for it.
    import tensorflow as tf

    spec = Batch(
        images=tf.TensorSpec([None, None, 3], tf.uint8),
        sizes=tf.TensorSpec([2], tf.int32),
        original_sizes=tf.TensorSpec([2], tf.int32),
        indices=tf.TensorSpec([], tf.int32),
        valid=tf.TensorSpec([], tf.bool),
        instances=Instances(
            masks={stride: tf.TensorSpec([None, None, None], tf.uint8) for stride in mask_strides},
            boxes=tf.TensorSpec([None, 4], tf.float32),
            centers=tf.TensorSpec([None, 2], tf.float32),
            labels=tf.TensorSpec([None], tf.int32),
            valid=tf.TensorSpec([None], tf.bool),
        ),
        dropped=tf.TensorSpec([], tf.int32),
    )

    def mapped(position: Any) -> Batch:
        arrays = tf.numpy_function(
            lambda p: tf.nest.flatten(load(int(p))),
            [position],
            [tensor.dtype for tensor in tf.nest.flatten(spec)],
        )
        for array, tensor in zip(arrays, tf.nest.flatten(spec), strict=True):
            array.set_shape(tensor.shape)
        return tf.nest.pack_sequence_as(spec, arrays)

    dataset = (
        tf.data.Dataset.range(positions.start, positions.stop)
        .map(mapped, num_parallel_calls=workers, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(PREFETCHED)
    )
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        # TensorFlow wraps what our own code said in a traceback; the user gets the line alone.
        said = re.search(r"InputError: (.*)", str(error))
        raise (InputError(said[1]) if said else error) from error
