"""Examples -> batches, with tf.data doing what it is good at: threads, batching, prefetching."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from solojax import config as config_lib
from solojax.data import examples, fit, plan
from solojax.data.records import coco
from solojax.types import Batch, InputError, Instances

PREFETCHED = 4  # batches


def train_batches(
    records: coco.Records,
    data: config_lib.Data,
    *,
    mask_strides: tuple[int, ...],
    label_strides: tuple[int, ...] = (),
    batch_size: int,
    seed: int,
    first: int,
    last: int,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Batch]:
    """The batches of steps ``first`` (included) to ``last`` (excluded) of a training.

    Every image depends on the seed and its place in the training alone: starting in the middle
    gives the same batches as coming from the beginning, and neither the number of workers nor that
    of the processes changes anything.

    Args:
      records: the training images.
      data: the recipe.
      mask_strides: network pixels per pixel of the masks that the head asks for.
      label_strides: the same of label maps.
      batch_size: images per step, over all processes.
      seed: of the run.
      first: step.
      last: step.
      process: which part of each batch to deliver.
      processes: number of equal parts; they see the same canvas in the same step.
    """
    load = examples.train_examples(
        records,
        data,
        mask_strides=mask_strides,
        label_strides=label_strides,
        batch_size=batch_size,
        seed=seed,
    )
    part = _part_of(batch_size, process, processes)

    def load_one(number: int) -> Batch:
        step, place = divmod(number, part)
        return load(first + step, process * part + place)

    return _stream(load_one, (last - first) * part, part, data.workers, mask_strides, label_strides)


def eval_batches(
    records: coco.Records,
    data: config_lib.Data,
    *,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Batch]:
    """Every record once, without augmentation; images that fill up a last batch are not valid.

    The instances are empty, without masks: an evaluation reads the truth from the records. Of
    several ``processes`` each has its part of every batch, as in ``train_batches``.
    """
    canvas_of = fit.eval_canvases_of(records.sizes, data)
    planned = plan.sequence(canvas_of, batch_size)
    part = _part_of(batch_size, process, processes)

    def load_one(number: int) -> Batch:
        step, place = divmod(number, part)
        index = int(planned.indices[step, process * part + place])
        return examples.eval_example(records, data, index, int(planned.canvases[step]))

    count = len(planned.indices) * part
    return _stream(load_one, count, part, data.workers, mask_strides=())


def _part_of(batch_size: int, process: int, processes: int) -> int:
    """Images of a batch that one of several processes has."""
    if batch_size % processes or not 0 <= process < processes:
        raise InputError(
            f"training.batch_size={batch_size} has no part {process} of {processes} equal ones"
        )
    return batch_size // processes


def _stream(
    load: Callable[[int], Batch],
    count: int,
    batch_size: int,
    workers: int,
    mask_strides: tuple[int, ...],
    label_strides: tuple[int, ...] = (),
) -> Iterator[Batch]:
    """Runs ``load`` for each number below ``count`` and batches the results, in order.

    What else than InputError ends a ``load``, as a disk that is away for a moment does, is told of
    and all that was not delivered is loaded again; where that ends as well, its trace goes up.
    """
    # TensorFlow takes seconds to import, so only those who read data pay for it.
    import tensorflow as tf

    cv2.setNumThreads(1)  # the images are made in parallel, not the rows of each
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
            crowd=tf.TensorSpec([None], tf.bool),
            label_maps={stride: tf.TensorSpec([None, None], tf.uint8) for stride in label_strides},
        ),
        dropped=tf.TensorSpec([], tf.int32),
    )

    def mapped(number: Any) -> Batch:
        arrays = tf.numpy_function(
            lambda n: tf.nest.flatten(load(int(n))),
            [number],
            [tensor.dtype for tensor in tf.nest.flatten(spec)],
        )
        for array, tensor in zip(arrays, tf.nest.flatten(spec), strict=True):
            array.set_shape(tensor.shape)
        return tf.nest.pack_sequence_as(spec, arrays)

    # Nothing here is left to be tuned, and the thread that tunes sleeps for up to a minute before
    # it lets a dataset go: at the end of every evaluation, and when a training is to end at once.
    options = tf.data.Options()
    options.autotune.enabled = False
    done, died = 0, -1  # batches
    while True:
        dataset = (
            tf.data.Dataset.range(done * batch_size, count)
            .map(mapped, num_parallel_calls=workers or coco.workers(), deterministic=True)
            .batch(batch_size, drop_remainder=True)
            .prefetch(PREFETCHED)
            .with_options(options)
        )
        try:
            for batch in dataset.as_numpy_iterator():
                yield batch
                done += 1
            return
        except tf.errors.OpError as error:
            # TensorFlow wraps what our own code said in a traceback; the user gets the line alone.
            said = re.search(r"InputError: (.*)", str(error))
            if said:
                raise InputError(said[1]) from error
            if died == done:  # again, at the same place
                raise
            died = done
            why = str(error).splitlines()[0].rpartition("}} ")[2]
            print(
                f"solojax: warning: a reader of images died ({why}); it is started again, once",
                file=sys.stderr,
                flush=True,
            )
