"""The optimizer: gradient clip, weight decay, momentum or Adam, warm-up and schedule."""

from typing import Any

import flax.linen as nn
import jax
import optax

from solojax import config as config_lib

DROP_FACTOR = 0.1  # of the learning rate at each drop of the step schedule


def scaled_learning_rate(optimizer: config_lib.Optimizer, batch_size: int) -> float:
    """The learning rate for this batch size, by the linear scaling rule (Goyal et al., 2017)."""
    return optimizer.learning_rate * batch_size / optimizer.base_batch_size


def make_schedule(
    optimizer: config_lib.Optimizer, *, batch_size: int, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Step -> learning rate: linear warm-up, then drops or a cosine to zero at the last step."""
    peak = scaled_learning_rate(optimizer, batch_size)
    warmup = min(optimizer.warmup_steps, steps // 2)
    if optimizer.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    else:
        drops = {round(epoch * steps_per_epoch) - warmup for epoch in optimizer.drop_epochs}
        after = optax.piecewise_constant_schedule(peak, dict.fromkeys(drops, DROP_FACTOR))
    rise = optax.linear_schedule(peak * optimizer.warmup_factor, peak, max(warmup, 1))
    return optax.join_schedules([rise, after], [warmup])


def make_optimizer(
    optimizer: config_lib.Optimizer, schedule: optax.Schedule, model: nn.Module
) -> optax.GradientTransformation:
    """The whole update rule; what the backbone calls frozen it leaves alone, decay included."""

    def decayed(params: Any) -> Any:
        # Kernels have two dimensions or more; scales and biases one.
        return jax.tree.map(lambda x: optimizer.decay_norms_and_biases or x.ndim > 1, params)

    def labels(params: Any) -> Any:
        def label(path: tuple, _: Any) -> str:
            part, *below = (entry.key for entry in path)
            frozen = part == "backbone" and model.backbone.is_frozen(tuple(below))
            return "frozen" if frozen else "trained"

        return jax.tree_util.tree_map_with_path(label, params)

    if optimizer.algorithm == "sgd":
        # PyTorch's order: the decay enters the momentum.
        rule = optax.chain(
            optax.add_decayed_weights(optimizer.weight_decay, decayed),
            optax.trace(optimizer.momentum),
            optax.scale_by_learning_rate(schedule),
        )
    else:
        rule = optax.adamw(schedule, weight_decay=optimizer.weight_decay, mask=decayed)
    trained = optax.chain(optax.clip_by_global_norm(optimizer.clip_norm), rule)
    return optax.multi_transform({"trained": trained, "frozen": optax.set_to_zero()}, labels)
