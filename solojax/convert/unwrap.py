"""The weights among what a checkpoint holds."""

import re
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solojax.convert.inert import Opaque, Unreadable
from solojax.fields import shown

# Where projects keep their weights, and those that are averages over a training, the surest first.
_WRAPPERS = (
    "state_dict model_state_dict model weights weight net network params parameters module blobs"
).split()
_AVERAGES = (
    "ema_state_dict state_dict_ema model_ema_state_dict model_ema ema_model ema params_ema teacher"
).split()
_DEEPEST = 4  # wrappers in one another
_PREFIXES = ("module.", "_orig_mod.", "model.")
_COUNTERS = ("steps", "n_averaged")  # beside the names of which all others begin with module.
_PADDLES = "StructuredToParameterName@@"


class StateDict(NamedTuple):
    """Weights by the names of their layers."""

    arrays: dict[str, np.ndarray]
    left_out: dict[str, str]  # name -> why it is none of them
    place: str  # where in the file they stood, such as state_dict; empty at its root


def unwrapped(content: Any, ema: bool) -> StateDict:
    """Looks for the innermost dictionary of arrays under the names that are in use.

    Raises:
      Unreadable: there is none.
    """
    left_out: dict[str, str] = {}
    places: list[str] = []
    averaged = False
    while isinstance(content, dict) and len(places) < _DEEPEST:
        wanted = [*_AVERAGES * (ema and not averaged), *_WRAPPERS]
        inside = next((key for key in wanted if _has_arrays(content.get(key))), None)
        if inside is None:
            break
        for key in content:
            if key != inside:
                left_out[".".join([*places, _text(key)])] = f"stands beside {inside}"
        averaged |= inside in _AVERAGES
        content = content[inside]
        places.append(inside)
    if not isinstance(content, dict) or not _has_arrays(content):
        raise Unreadable(_why_none(content))
    arrays: dict[str, np.ndarray] = {}
    for key, value in content.items():
        array = _array(value)
        if not isinstance(key, str) or array is None:
            left_out[_text(key)] = (
                "Paddle's own names" if key == _PADDLES else f"is {_kind(value)}, no array"
            )
        elif key.endswith("_momentum"):  # of Caffe2
            left_out[key] = "is a momentum"
        elif key in _COUNTERS:
            left_out[key] = "counts the steps of an average"
        elif _PADDLES in content and array.dtype == np.uint16:  # so Paddle writes bfloat16
            arrays[key] = array.view(jnp.bfloat16).astype(np.float32)
        else:
            arrays[key] = array
    arrays = _stripped(arrays)
    arrays, others = _divided(arrays, ema and not averaged)
    return StateDict(arrays, left_out | others, ".".join(places))


def _has_arrays(value: Any, depth: int = 0) -> bool:
    """Whether there are arrays in a dictionary, or in one of its wrappers."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        return False
    return any(_array(one) is not None for one in value.values()) or any(
        _has_arrays(value.get(key), depth + 1) for key in (*_WRAPPERS, *_AVERAGES)
    )


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # Paddle's name of a tensor, and the tensor
    return value if isinstance(value, np.ndarray) else None


def _stripped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without what all of them begin with in a training on several GPUs, or compiled."""
    for _ in range(_DEEPEST):
        prefix = next((one for one in _PREFIXES if all(k.startswith(one) for k in arrays)), "")
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        if "" in arrays:
            raise Unreadable("has an array without a name")
    return arrays


def _divided(
    arrays: dict[str, np.ndarray], ema: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tells weights from the second set that mmcv's EMAHook keeps: ``ema_`` and no dots."""
    twins = {name: f"ema_{name.replace('.', '_')}" for name in arrays}
    second = {twin for twin in twins.values() if twin in arrays}
    if ema and not second:
        raise Unreadable("has no second set of weights: nothing of it begins with ema_")
    chosen = {
        name: arrays[twins[name] if ema and twins[name] in second else name]
        for name in arrays
        if name not in second
    }
    why = "is not averaged" if ema else "is of the second set of weights, which ema takes"
    left = [name for name in chosen if twins[name] in second] if ema else sorted(second)
    return chosen, dict.fromkeys([f"{name} (first set)" for name in left] if ema else left, why)


def _why_none(content: Any) -> str:
    if isinstance(content, Opaque):
        return f"holds a whole object, {content.name}; save the state_dict() of the model"
    if not isinstance(content, dict):
        return f"holds {_kind(content)} and no weights by name"
    whole = [f"{_text(k)} ({v.name})" for k, v in content.items() if isinstance(v, Opaque)]
    if whole:
        return f"holds whole objects, {shown(', '.join(whole[:3]))}; save the state_dict() instead"
    return f"holds no weights: it has {shown([_text(key) for key in list(content)[:8]])}"


def _text(key: Any) -> str:
    return re.sub(r"\s+", " ", key if isinstance(key, str) else repr(key))[:200]


def _kind(value: Any) -> str:
    if isinstance(value, Opaque):
        return f"an object of {value.name}"
    return f"a {type(value).__name__}"
