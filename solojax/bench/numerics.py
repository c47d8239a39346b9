"""How far outputs, losses and gradients of a device are from those of the CPU in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solojax import config as config_lib
from solojax import parallel
from solojax.bench import synthetic
from solojax.ops import masks
from solojax.ops.precision import whole_products
from solojax.types import Batch, Logged

BOUNDS = {
    "float32": {"outputs": 1e-4, "losses": 1e-4, "gradients": 1e-3},
    "bfloat16": {"outputs": 0.03, "losses": 0.01, "gradients": 0.15},
}
"""The greatest distances, of the size of what is compared."""

Distances = dict[str, dict[str, float]]


def distances(
    config: config_lib.Config, canvas: tuple[int, int], images: int, device: Any = None
) -> Distances:
    """By precision, then of outputs, losses and gradients: the norm of the difference over its own.

    Args:
      config: its network is fresh.
      canvas: (height, width), network pixels.
      images: of one batch.
      device: what is compared with the CPU; None: the first.
    """
    model = config.model
    variables, batch = synthetic.variables_of(model), synthetic.batch(config, canvas, images)
    cpu, device = jax.local_devices(backend="cpu")[0], device or jax.local_devices()[0]

    def found(where: Any, precision: parallel.Precision) -> Any:
        run = jax.jit(make_gradients(model, precision))
        return jax.device_get(run(*jax.device_put((variables, batch), where)))

    exact = found(cpu, "float32")
    kinds = ("outputs", "losses", "gradients")
    precisions: tuple[parallel.Precision, ...] = ("float32", "bfloat16")
    return {
        precision: {
            kind: distance(ours, theirs)
            for kind, ours, theirs in zip(kinds, found(device, precision), exact, strict=True)
        }
        for precision in precisions
    }


def make_gradients(model: Any, precision: parallel.Precision) -> Any:
    """Builds ``(variables, batch) -> (outputs, terms of the loss, gradients)``, on one device."""

    def run(variables: dict[str, Any], batch: Batch) -> Any:
        unpacked = masks.unpack(batch.instances.masks, width=batch.images.shape[2])
        key = jax.random.key(0)
        targets = model.head.targets(batch.instances._replace(masks=unpacked), key)
        inputs = model.normalize(batch.images, batch.sizes, jnp.dtype(precision))

        def loss(params: Any) -> Any:
            outputs, _ = model.apply(
                {**variables, "params": params},
                inputs,
                train=True,
                mutable="batch_stats",
                rngs={"dropout": key},
            )
            terms = {
                name: (term, term.total / jnp.maximum(term.count + term.prior, 1))
                for name, term in model.head.loss(outputs, targets).items()
            }
            total = sum(share for term, share in terms.values() if not isinstance(term, Logged))
            return total, (outputs, {name: share for name, (_, share) in terms.items()})

        with whole_products(precision):
            gradients, (outputs, terms) = jax.grad(loss, has_aux=True)(variables["params"])
        return outputs, terms, gradients

    def alone(variables: dict[str, Any], batch: Batch) -> Any:  # norm "sync" asks for an axis
        mapped = jax.vmap(run, (None, 0), axis_name=parallel.AXIS, axis_size=1)
        return mapped(variables, jax.tree.map(lambda x: x[None], batch))

    return alone


def distance(ours: Any, theirs: Any) -> float:
    """Of two trees: the norm of the difference over that of ``theirs``; NaN is no agreement."""
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
    off, size = (
        np.sqrt(sum(float(np.sum(np.square(np.float64(one)))) for one in leaves))
        for leaves in (
            [np.float64(a) - np.float64(b) for a, b in pairs],
            [b for _, b in pairs],
        )
    )
    return float(off / size) if size else float(off)


def broken(found: Distances) -> list[str]:
    """What is beyond the bounds, for people."""
    return [
        f"{kind} in {precision} are {one[kind]:.2g} off, more than {bound:g}"
        for precision, one in found.items()
        for kind, bound in BOUNDS[precision].items()
        if not one[kind] <= bound
    ]
