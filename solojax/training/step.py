"""One training step, and the only collectives of the network's arithmetic.

Losses are local sums over *global* counts, and gradients are summed over the devices afterwards:
1 and 8 devices give the same numbers for the same batch, and so does a batch taken in parts.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jax.interpreters import partial_eval

from solojax import config as config_lib
from solojax import parallel
from solojax.heads import protocol
from solojax.heads.protocol import Head
from solojax.ops import masks
from solojax.parallel import AXIS, Precision
from solojax.training.optimizer import UpdateRule
from solojax.training.packing import Packing
from solojax.types import Array, Batch, InputError, Logged, TrainState

Metrics = dict[str, Array]

OTHERS_LOGGED = (
    # By the step itself, by the loop and the log, by the clock.
    *("loss", "grad_norm", "dropped_instances", "finite"),
    *("step", "time", "learning_rate", "PQ", "AP", "mIoU"),
    *("waiting_for_data", "compiling", "checkpointing", "evaluating", "compilations"),
    *("goodput", "step_seconds", "images_per_second", "share_of_peak"),
)
"""Names in a row of the log that are not a head's to take."""


def start_state(variables: dict[str, Any], tx: UpdateRule, ema: bool) -> TrainState:
    """The state of step 0 for given variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        # A copy: donating one buffer under two names is an error.
        ema=jax.tree.map(jnp.copy, _variables(params, batch_stats)) if ema else (),
        finite=jnp.ones((), bool),
    )


def eval_variables(state: TrainState) -> dict[str, Any]:
    """What to evaluate: the averages where there are any."""
    return state.ema or _variables(state.params, state.batch_stats)


def _variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    return {"params": params, "batch_stats": batch_stats}


def make_update(
    model: nn.Module,
    tx: UpdateRule,
    *,
    seed: int,
    ema_decay: float = 0.0,
    accumulate: int = 1,
    precision: Precision = "float32",
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds ``update(state, batch) -> (state, metrics)`` for ``parallel.pmap_update``.

    A device takes its images in ``accumulate`` equal parts, one after the other: the memory of one,
    the gradient of all. Norm "sync" sees the parts of all devices that are taken at the same time.

    The metrics: each loss term; ``loss``, the sum of those that are minimised; ``grad_norm`` before
    clipping; what the head has to say about its targets; ``dropped_instances``, left out of the
    whole batch by the pipeline's cap; and ``finite``: where a loss or a gradient is not, the state
    stays what it was, then and ever after.
    """
    head: Head = model.head

    def forward(variables: dict[str, Any], part: Batch, key: Array) -> tuple[Any, Any]:
        inputs = model.normalize(part.images, part.sizes, jnp.dtype(precision))
        rngs = {"dropout": key}
        return model.apply(variables, inputs, train=True, mutable="batch_stats", rngs=rngs)

    def targets_of(part: Batch, key: Array) -> Any:
        unpacked = masks.unpack(part.instances.masks, width=part.images.shape[2])
        return head.targets(part.instances._replace(masks=unpacked), key)

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        keys = jax.random.split(jax.random.fold_in(key, lax.axis_index(AXIS)), (accumulate, 2))
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)

        minimised: set[str] = set()  # names of terms, known once they are counted

        def count(_: None, part_and_keys: tuple[Batch, Array]) -> tuple[None, Any]:
            part, (target_key, key) = part_and_keys
            variables = _variables(state.params, state.batch_stats)
            outputs, _ = jax.eval_shape(forward, variables, part, key)
            # What a loss is divided by follows from the targets; the outputs may as well be zero.
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), outputs)
            targets = targets_of(part, target_key)
            protocol.check_means(head, "targets", targets.metrics)
            counted = _count_terms(head, nothing, targets, minimised)
            about = {name: (mean.total, mean.count) for name, mean in targets.metrics.items()}
            priors = {name: mean.prior for name, mean in targets.metrics.items()}
            _check_names(head, counted, about)
            return None, ((counted, about), priors)

        def add_part(sums: Any, part_and_keys: tuple[Batch, Array]) -> tuple[Any, None]:
            grads, shares, batch_stats = sums
            part, (target_key, key) = part_and_keys
            targets = targets_of(part, target_key)

            def local_loss(params: Any) -> tuple[Array, tuple[Metrics, Any]]:
                outputs, changed = forward(_variables(params, batch_stats), part, key)
                terms = head.loss(outputs, targets)
                shares = {
                    name: term.total / jnp.maximum(counts[name] + term.prior, 1.0)
                    for name, term in terms.items()
                }
                loss = sum(
                    shares[name] for name, term in terms.items() if not isinstance(term, Logged)
                )
                return loss, (shares, changed.get("batch_stats", {}))

            more, (more_shares, batch_stats) = jax.grad(local_loss, has_aux=True)(state.params)
            grads, shares = jax.tree.map(jnp.add, (grads, shares), (more, more_shares))
            return (grads, shares, batch_stats), None

        packing = Packing(state.params, tx.kinds)
        _, (counted, priors) = _scan(count, None, (parts, keys))
        counts, about = lax.psum(jax.tree.map(functools.partial(jnp.sum, axis=0), counted), AXIS)
        nothing = jax.tree.map(jnp.zeros_like, (state.params, counts))
        sums, _ = _scan(add_part, (*nothing, state.batch_stats), (parts, keys))
        (grads, terms), batch_stats = lax.psum(packing.pack(sums[:2]), AXIS), sums[2]

        before = packing.pack(state)
        updates, opt_state = tx.update(grads, before.opt_state, before.params)
        params, batch_stats = optax.apply_updates(before.params, updates), packing.pack(batch_stats)
        loss = sum(term for name, term in terms.items() if name in minimised)
        grad_norm = optax.tree.norm(grads)
        changed = TrainState(
            step=before.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=_follow(before, _variables(params, batch_stats), ema_decay) if ema_decay else (),
            finite=before.finite,
        )
        # A finite gradient may still be too long a step for float32.
        finite = state.finite & jnp.isfinite(loss + grad_norm) & _all_finite(changed)
        metrics = {
            **terms,
            "loss": loss,
            "grad_norm": grad_norm,
            **{
                name: total / jnp.maximum(number + priors[name][0], 1.0)
                for name, (total, number) in about.items()
            },
            "dropped_instances": lax.psum(jnp.sum(batch.dropped), AXIS),
            "finite": finite,
        }
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), changed, before)
        return packing.unpack(kept, like=state)._replace(finite=finite), metrics

    return update


def _count_terms(head: Head, outputs: Any, targets: Any, minimised: set[str]) -> dict[str, Array]:
    """The counts of a head's loss; adds the names of the terms that are ``minimised``.

    Raises:
      InputError: one depends on the outputs, so that it cannot be known before them; or nothing is
        to be minimised.
    """

    def counts(outputs: Any) -> dict[str, Array]:
        terms = head.loss(outputs, targets)
        protocol.check_means(head, "loss", terms)
        minimised.update(name for name, term in terms.items() if not isinstance(term, Logged))
        return {name: term.count for name, term in terms.items()}

    kind = type(head).__name__
    program, shapes = jax.make_jaxpr(counts, return_shape=True)(outputs)
    if not minimised:
        raise InputError(f"{kind}.loss has no term to minimise")
    # What prints and returns nothing would count as using what it prints.
    useful = program.jaxpr.replace(eqns=[one for one in program.jaxpr.eqns if one.outvars])
    for number, name in enumerate(sorted(shapes)):  # as JAX orders a dictionary's leaves
        _, used = partial_eval.dce_jaxpr(useful, [place == number for place in range(len(shapes))])
        if any(used):
            raise InputError(
                f"{kind}.loss: the count of {name!r} depends on the outputs, or may: it must be "
                "computed from the targets alone, apart from the total, since the sums of all "
                "devices and parts are divided by it"
            )
    leaves = jaxpr_as_fun(program)(*jax.tree.leaves(outputs))
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _check_names(head: Head, terms: Iterable[str], metrics: Iterable[str]) -> None:
    """Refuses names in the log that two numbers would share."""
    names = [*terms, *metrics, *OTHERS_LOGGED]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{type(head).__name__} gives the log {', '.join(twice)} where there is one already; "
            "take another name"
        )


def _all_finite(tree: Any) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _scan(step: Callable, carry: Any, rows: Any) -> tuple[Any, Any]:
    """``lax.scan`` that leaves no loop behind where there is one row only.

    XLA would unroll it, but on CPUs only after it has chosen a slow form for the convolutions.
    """
    if len(jax.tree.leaves(rows)[0]) > 1:
        return lax.scan(step, carry, rows)
    carry, result = step(carry, jax.tree.map(lambda x: x[0], rows))
    return carry, jax.tree.map(lambda x: jnp.asarray(x)[None], result)


def update_of(config: config_lib.Config, tx: UpdateRule) -> Any:
    """The update of a config, as ``make_update`` builds it."""
    return make_update(
        config.model,
        tx,
        seed=config.training.seed,
        ema_decay=config.optimizer.ema_decay,
        accumulate=config.training.accumulate,
        precision=parallel.resolve_precision(config.training.precision),
    )


def _follow(state: TrainState, variables: dict[str, Any], decay: float) -> dict[str, Any]:
    """The averages after one more step; the ramp lets them forget their young beginnings."""
    share = 1 - jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    # In this form what does not change stays what it is, to the bit.
    return jax.tree.map(lambda old, new: old + share * (new - old), state.ema, variables)
