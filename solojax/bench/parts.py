"""Parameters and operations of a network by part, as XLA counts them; nothing is compiled."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solojax import config as config_lib
from solojax import parallel
from solojax.bench import rows, synthetic
from solojax.inference import predict
from solojax.models import detector
from solojax.training import memory

PARTS = ("backbone", "neck", "head")


class Part(NamedTuple):
    """Of one image, forward."""

    parameters: int
    operations: float  # floating-point, a multiplication and an addition being two
    moved: float  # bytes that its operations read and write, before any is fused


def lower(function: Any, *shapes: Any) -> Any:
    """The program of a function for an accelerator."""
    return jax.jit(function).trace(*shapes).lower(lowering_platforms=(rows.ACCELERATOR,))


def by_part(
    config: config_lib.Config, canvas: tuple[int, int], precision: parallel.Precision = "float32"
) -> dict[str, Part]:
    """Of one image on a canvas (height, width): the parts, and ``detection`` from their outputs.

    Detection has one block of candidates here, as XLA counts loops.
    """
    model = config.model
    variables = detector.variable_shapes(model)
    x: Any = jax.ShapeDtypeStruct((1, *canvas, 3), jnp.dtype(precision))
    found = {}
    for name in PARTS:
        part = getattr(model, name)
        own = {kind: tree[name] for kind, tree in variables.items() if name in tree}
        lowered = lower(part.apply, own, x)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(own.get("params", {})))
        found[name] = Part(parameters, *rows.count(lowered))
        x = lowered.out_info
    found["detection"] = Part(
        0, *rows.count(lower(lambda outputs: predict.answer_of(model.head, outputs, 1, canvas), x))
    )
    return found


def lower_step(
    config: config_lib.Config, canvas: tuple[int, int], precision: parallel.Precision = "float32"
) -> Any:
    """The training step of one image on each device, as accelerators are given it."""
    each = config_lib.override(
        config,
        f"training.batch_size={jax.device_count()}",
        "training.accumulate=1",
        f"training.precision={precision}",
    )
    return memory.lower_step(each, *memory.arguments(each, canvas))


def table(config: config_lib.Config) -> str:
    """The parts of a config on its largest canvas as lines for people."""
    canvas = synthetic.largest(config)
    parts = by_part(config, canvas)
    listed = [(name, *part) for name, part in parts.items()]
    listed.append(("in all", *np.sum([part for part in parts.values()], 0).tolist()))
    lines = [
        f"one image on {memory.name_of(canvas)}, float32, as XLA counts the program of a GPU",
        "  part         parameters    GFLOP  GB moved, unfused",
    ]
    lines += [
        f"  {name:10} {parameters:12,.0f} {operations / 1e9:8.1f} {moved / 1e9:8.2f}"
        for name, parameters, operations, moved in listed
    ]
    step, _ = rows.count(lower_step(config, canvas))
    forward = sum(parts[name].operations for name in PARTS)
    lines.append(
        f"  a training step takes {step / 1e9:,.1f} GFLOP an image, {step / forward:.2f} times its "
        "forward pass"
    )
    return "\n".join(lines)
