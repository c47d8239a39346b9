"""One training step, and the only collectives of the project.

Losses are local sums over *global* counts, and gradients are summed over the devices afterwards:
1 and 8 devices give the same numbers for the same batch.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from solojax.ops import images, masks
from solojax.parallel import AXIS
from solojax.types import Array, Batch, Mean, TrainState

Metrics = dict[str, Array]


def start_state(
    variables: dict[str, Any], tx: optax.GradientTransformation, ema: bool
) -> TrainState:
    """The state of step 0 for given variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        # A copy: donating one buffer under two names is an error.
        ema_params=jax.tree.map(jnp.copy, params) if ema else (),
    )


def eval_variables(state: TrainState) -> dict[str, Any]:
    """What to evaluate: the averaged parameters where there are any."""
    return {"params": state.ema_params or state.params, "batch_stats": state.batch_stats}


def make_update(
    model: nn.Module, tx: optax.GradientTransformation, *, seed: int, ema_decay: float = 0.0
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds ``update(state, batch) -> (state, metrics)`` for ``parallel.pmap_update``.

    The metrics: each loss term, ``loss``, ``grad_norm`` before clipping, what the head has to say
    about its targets, and ``dropped_instances``, left out of the whole batch by the pipeline's cap.
    """

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        inputs = images.normalize(batch.images, batch.sizes)
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        unpacked = masks.unpack(batch.instances.masks, width=batch.images.shape[2])
        instances = batch.instances._replace(masks=unpacked)
        targets = model.head.targets(instances, jax.random.fold_in(key, lax.axis_index(AXIS)))

        def local_loss(params: Any) -> tuple[Array, tuple[Metrics, Any]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, changed = model.apply(variables, inputs, train=True, mutable="batch_stats")
            terms = model.head.loss(outputs, targets)
            shares = {name: _share(term) for name, term in terms.items()}
            return sum(shares.values()), (shares, changed.get("batch_stats", {}))

        grads, (shares, batch_stats) = jax.grad(local_loss, has_aux=True)(state.params)
        about = {name: _share(term) for name, term in targets.metrics.items()}
        grads, terms, about = lax.psum((grads, shares, about), AXIS)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_decay:
            # The ramp lets an average of young parameters forget their beginnings.
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema_params = optax.incremental_update(params, ema_params, 1 - decay)
        metrics = {
            **terms,
            "loss": sum(terms.values()),
            "grad_norm": optax.tree.norm(grads),
            **about,
            "dropped_instances": lax.psum(jnp.sum(batch.dropped), AXIS),
        }
        state = TrainState(state.step + 1, params, batch_stats, opt_state, ema_params)
        return state, metrics

    return update


def _share(term: Mean) -> Array:
    """This device's part of a mean over all devices; only the count crosses, without gradient."""
    count = lax.psum(lax.stop_gradient(term.count), AXIS) + term.prior
    return term.total / jnp.maximum(count, 1.0)
