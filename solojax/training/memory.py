"""What XLA says a training step needs, without running it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from solojax import config as config_lib
from solojax import parallel
from solojax.models import detector
from solojax.training import optimizer, step
from solojax.types import Batch, Instances, TrainState


class Memory(NamedTuple):
    """Bytes on one device."""

    state: int  # parameters, statistics, optimizer; donated, so the new state takes its place
    batch: int
    temporary: int  # activations, gradients and scratch at their greatest

    @property
    def peak(self) -> int:
        """All of it together."""
        return self.state + self.batch + self.temporary


def abstract_batch(config: config_lib.Config, canvas: tuple[int, int], images: int) -> Batch:
    """Shapes and types of ``images`` images of a batch, as the pipeline delivers them."""

    def array(*shape: int, dtype: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype)

    (height, width), most = canvas, config.data.max_instances
    return Batch(
        images=array(height, width, 3, dtype="uint8"),
        sizes=array(2, dtype="int32"),
        original_sizes=array(2, dtype="int32"),
        indices=array(dtype="int32"),
        valid=array(dtype="bool"),
        instances=Instances(
            masks={
                stride: array(most, height // stride, -(-width // (8 * stride)), dtype="uint8")
                for stride in set(config.model.head.mask_strides)
            },
            boxes=array(most, 4, dtype="float32"),
            centers=array(most, 2, dtype="float32"),
            labels=array(most, dtype="int32"),
            valid=array(most, dtype="bool"),
        ),
        dropped=array(dtype="int32"),
    )


def lower_step(config: config_lib.Config, state: TrainState, batch: Batch) -> Any:
    """Lowers the training step for shapes of a state and of one device's batch."""
    devices = jax.local_device_count()
    sharded = jax.tree.map(lambda x: jax.ShapeDtypeStruct((devices, *x.shape), x.dtype), batch)
    tx = _optimizer(config)
    update = step.make_update(
        config.model, tx, seed=config.training.seed, ema_decay=config.optimizer.ema_decay
    )
    return parallel.pmap_update(update).lower(state, sharded)


def step_memory(config: config_lib.Config, canvas: tuple[int, int]) -> Memory:
    """Compiles the training step for one canvas (height, width) and reads XLA's accounts.

    For the platform at hand. The batch is split over all local devices; the bytes are those of one.
    """
    state, batch = arguments(config, canvas)
    stats = lower_step(config, state, batch).compile().memory_analysis()
    return Memory(state=_size(state), batch=_size(batch), temporary=int(stats.temp_size_in_bytes))


def arguments(config: config_lib.Config, canvas: tuple[int, int]) -> tuple[TrainState, Batch]:
    """Shapes of a state and of one device's batch, for one canvas (height, width)."""

    def start() -> TrainState:
        variables = detector.init_variables(config.model, jax.random.key(0))
        return step.start_state(variables, _optimizer(config), ema=config.optimizer.ema_decay > 0)

    parallel.check_divisible(config.training.batch_size)
    images = config.training.batch_size // jax.local_device_count()
    return jax.eval_shape(start), abstract_batch(config, canvas, images)


def _optimizer(config: config_lib.Config) -> optax.GradientTransformation:
    # How many steps there will be makes no difference to what one of them needs.
    schedule = optimizer.make_schedule(
        config.optimizer, batch_size=config.training.batch_size, steps=1, steps_per_epoch=1
    )
    return optimizer.make_optimizer(config.optimizer, schedule, config.model)


def _size(tree: object) -> int:
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
