"""The optimizer: gradient clip, decay, momentum, Adam or Muon, warm-up, schedule, parts' rates."""

import difflib
import fnmatch
import functools
import operator
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from flax import traverse_util
from optax import contrib

from solojax import config as config_lib
from solojax.models import detector
from solojax.training import packing
from solojax.types import InputError

DROP_FACTOR = 0.1  # of the learning rate at each drop of the step schedule
MUON_ADAM_FACTOR = 0.4  # of Muon's learning rate, for what Adam moves beside it

# Muon's five iterations of Newton and Schulz. Given one by one they are a loop, where optax unrolls
# what is given once: half the lines to compile.
_ITERATIONS = ((3.4445, -4.775, 2.0315),) * 5

POLY_POWER = 0.9  # of the share of the steps that is left (ParseNet, Liu et al., 2015)

# A convolution's kernel h w C O, or a stack of them, as a matrix of hwC x O; a layer's I O.
_CONVOLUTION = contrib.MuonDimensionNumbers(reduction_axis=(-4, -3, -2), output_axis=-1)
_LINEAR = contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)


def scaled_learning_rate(optimizer: config_lib.Optimizer, batch_size: int) -> float:
    """The learning rate for this batch size, by the linear scaling rule (Goyal et al., 2017)."""
    if not optimizer.base_batch_size:
        return optimizer.learning_rate
    return optimizer.learning_rate * batch_size / optimizer.base_batch_size


def make_schedule(
    optimizer: config_lib.Optimizer, *, batch_size: int, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Step -> learning rate: linear warm-up, then drops, or a fall to zero at the last step."""
    peak = scaled_learning_rate(optimizer, batch_size)
    warmup = min(optimizer.warmup_steps, steps // 2)
    if optimizer.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif optimizer.schedule == "poly":
        after = optax.polynomial_schedule(peak, 0, POLY_POWER, max(steps - warmup, 1))
    else:
        ends = (round(epoch * steps_per_epoch) for epoch in optimizer.drop_epochs)
        # Those beyond the end may be at numbers that a program has no bits for.
        drops = {end - warmup for end in ends if end <= steps}
        after = optax.piecewise_constant_schedule(peak, dict.fromkeys(drops, DROP_FACTOR))
    rise = optax.linear_schedule(peak * optimizer.warmup_factor, peak, max(warmup, 1))
    return optax.join_schedules([rise, after], [warmup])


class UpdateRule(NamedTuple):
    """An ``optax.GradientTransformation`` that tells which parameters it treats alike."""

    init: Callable[[Any], optax.OptState]
    update: Callable[..., tuple[Any, optax.OptState]]
    kinds: packing.Kinds


def make_optimizer(
    optimizer: config_lib.Optimizer, schedule: optax.Schedule, model: nn.Module
) -> UpdateRule:
    """The whole update rule.

    What the backbone calls frozen it leaves alone, decay included, and so what has a factor of 0.

    Raises:
      InputError: from its ``init``, where a pattern of the config is of no use for the parameters.
    """

    def label(path: str) -> str:
        frozen = detector.is_frozen(model, path) or _rate_factor(optimizer, path) == 0
        return "frozen" if frozen else "trained"

    def decays(path: str, norms: Collection[str]) -> bool:
        owner, _, name = path.rpartition("/")
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in optimizer.undecayed):
            return False
        if owner in norms:
            return optimizer.decay_norms
        return optimizer.decay_biases or name != "bias"

    def kinds(leaves: Mapping[str, Any]) -> dict[str, Hashable]:
        norms = _norms_of(leaves)

        def kind(path: str) -> Hashable:
            of_norm = path.rpartition("/")[0] in norms
            # Matrices of one shape are a stack.
            shape = leaves[path].shape if by_muon(path) else None
            return label(path), of_norm, decays(path, norms), _rate_factor(optimizer, path), shape

        return {path: kind(path) for path in leaves}

    def by_muon(path: str) -> bool:
        if optimizer.algorithm != "muon" or not path.endswith("/kernel"):
            return False
        return not any(fnmatch.fnmatchcase(path, pattern) for pattern in optimizer.by_adam)

    def labels(params: Any) -> Any:
        return _for_each_path(params, label)

    def decayed(params: Any) -> Any:
        norms = _norms_of(_paths(params))
        return _for_each_path(params, lambda path: decays(path, norms))

    adamw = functools.partial(optax.adamw, weight_decay=optimizer.weight_decay, mask=decayed)
    if optimizer.algorithm == "sgd":
        # PyTorch's order: the decay enters the momentum.
        rule = optax.chain(
            optax.add_decayed_weights(optimizer.weight_decay, decayed),
            optax.trace(optimizer.momentum),
            optax.scale_by_learning_rate(schedule),
        )
    elif optimizer.algorithm == "adamw":
        rule = adamw(schedule)
    else:
        muon = contrib.muon(
            schedule,
            ns_coeffs=_ITERATIONS,
            weight_decay=optimizer.weight_decay,
            weight_decay_mask=decayed,
            muon_weight_dimension_numbers=lambda kernels: jax.tree.map(_matrix, kernels),
        )
        rule = optax.multi_transform(
            {"muon": muon, "adam": adamw(lambda step: MUON_ADAM_FACTOR * schedule(step))},
            lambda params: _for_each_path(params, lambda path: "muon" if by_muon(path) else "adam"),
        )
    clip = optimizer.clip_norm
    trained = optax.chain(optax.clip_by_global_norm(clip) if clip else optax.identity(), rule)
    tx = optax.multi_transform({"trained": trained, "frozen": optax.set_to_zero()}, labels)

    def init(params: Any) -> optax.OptState:
        _check_patterns(optimizer, _paths(params))
        return tx.init(params)

    def update(gradients: Any, state: optax.OptState, params: Any = None) -> tuple[Any, Any]:
        updates, state = tx.update(gradients, state, params)
        if optimizer.rate_factors:
            # Behind momentum, Adam and decay, as a rate of their own does in PyTorch and Paddle.
            factors = _for_each_path(updates, lambda path: _rate_factor(optimizer, path))
            updates = jax.tree.map(operator.mul, updates, factors)
        return updates, state

    return UpdateRule(init, update, kinds)


def _matrix(kernel: Any) -> Any:
    """How Muon reads a kernel, or a stack of them, as a matrix."""
    return _LINEAR if kernel.ndim < 4 else _CONVOLUTION


def _paths(params: Any) -> Collection[str]:
    """The path of each parameter, such as ``backbone/layer1_0/bn1/scale``."""
    return traverse_util.flatten_dict(params, sep="/").keys()


def _norms_of(paths: Collection[str]) -> set[str]:
    """The paths of the norms: they alone have a scale."""
    return {path.rpartition("/")[0] for path in paths if path.endswith("/scale")}


def _for_each_path(params: Any, choose: Callable[[str], Any]) -> Any:
    """A tree like that of the parameters, packed or not, of what is chosen for the path of each."""
    flat = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({keys: choose("/".join(keys)) for keys in flat})


def _rate_factor(optimizer: config_lib.Optimizer, path: str) -> float:
    """What the learning rate of a parameter is multiplied by."""
    fitting = (
        factor for pattern, factor in optimizer.rate_factors if fnmatch.fnmatchcase(path, pattern)
    )
    return next(fitting, 1.0)


def _check_patterns(optimizer: config_lib.Optimizer, paths: Collection[str]) -> None:
    """Refuses patterns that fit no parameter, and factors that never decide."""
    rated = tuple(pattern for pattern, _ in optimizer.rate_factors)
    left = set(paths)  # no factor is given to them yet
    for name, patterns in (
        ("rate_factors", rated),
        ("undecayed", optimizer.undecayed),
        ("by_adam", optimizer.by_adam),
    ):
        for pattern in patterns:
            fitting = {path for path in paths if fnmatch.fnmatchcase(path, pattern)}
            if not fitting:
                nearest = difflib.get_close_matches(pattern, paths, n=3, cutoff=0)
                raise InputError(
                    f"optimizer.{name}: {pattern!r} fits no parameter; the nearest are called "
                    f"{', '.join(nearest)}"
                )
            if name == "rate_factors":
                if fitting.isdisjoint(left):
                    raise InputError(
                        f"optimizer.rate_factors: {pattern!r} decides nothing, as all that it "
                        "fits is decided by patterns before it; move it up, or remove it"
                    )
                left -= fitting
