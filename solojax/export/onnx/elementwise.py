"""Primitives that take arrays element by element, or change where the elements lie."""

from collections.abc import Callable
from typing import Any

import numpy as np

from solojax.export.onnx.graph import ARITHMETIC, Graph, Value

Rule = Callable[..., Any]
"""(graph, its inputs as values, shape and type of its first output, parameters) -> its outputs."""


def _node(kind: str, *, result: str = "", **attributes: Any) -> Rule:
    """A node of the same meaning; what is narrower than 32 bits is computed in 32."""

    def rule(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
        inputs = _narrow(inputs, shape)
        widest = inputs[0].dtype
        if widest not in ARITHMETIC:
            inputs = [graph.cast(one, "int32") for one in inputs]
        made = graph.emit(kind, inputs, shape, result or inputs[0].dtype, **attributes)
        return graph.cast(made, dtype)

    return rule


def _narrow(inputs: list[Value], shape: tuple) -> list[Value]:
    """The inputs before they were repeated, where together they have the whole shape still."""
    shapes = [one.narrow[1] if one.narrow else one.shape for one in inputs]
    whole = all(any(x and x[axis] == n for x in shapes) for axis, n in enumerate(shape))
    if not whole:
        return inputs
    return [
        one._replace(name=one.narrow[0], shape=one.narrow[1], narrow=None) if one.narrow else one
        for one in inputs
    ]


def _logical(boolean: str, bits: str) -> Rule:
    def rule(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
        return graph.emit(boolean if dtype == "bool" else bits, inputs, shape, dtype)

    return rule


def _not(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return graph.emit("Not" if dtype == "bool" else "BitwiseNot", inputs, shape, dtype)


def _unequal(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return graph.emit(
        "Not", [_node("Equal", result="bool")(graph, inputs, shape, "bool")], shape, dtype
    )


def _where(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    if inputs[0].dtype != "bool":
        raise NotImplementedError
    which, no, yes = _narrow(inputs, shape)
    kind = dtype if dtype in ARITHMETIC else "int32"
    yes, no = graph.cast(yes, kind), graph.cast(no, kind)
    return graph.cast(graph.emit("Where", [which, yes, no], shape, kind), dtype)


def _cast(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return graph.cast(inputs[0], dtype)


def _rsqrt(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    root = graph.emit("Sqrt", inputs, shape, dtype)
    return graph.emit("Reciprocal", [root], shape, dtype)


def _square(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return _node("Mul")(graph, inputs * 2, shape, dtype)


def _power(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, y: int, **_: Any
) -> Value:
    return graph.emit("Pow", [inputs[0], graph.constant(float(y), "float32")], shape, dtype)


def _is_finite(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    # Not a number minus itself is none, nor is infinity.
    zero = graph.emit("Sub", inputs * 2, shape, "float32")
    return graph.emit("Equal", [zero, graph.constant(0, "float32")], shape, dtype)


def _count_bits(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    if dtype != "uint8":
        raise NotImplementedError
    table = graph.constant([bin(i).count("1") for i in range(256)], "uint8")
    return graph.emit("Gather", [table, graph.cast(inputs[0], "int32")], shape, dtype)


def _shift(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    x, places = _narrow(inputs, shape)
    if places.array is None or dtype not in ("uint8", "int32"):
        raise NotImplementedError
    factors = graph.constant(
        2 ** places.array.astype(np.int64), "int32"
    )  # nodes that shift are slow
    return graph.cast(graph.emit("Mul", [graph.cast(x, "int32"), factors], shape, "int32"), dtype)


def _same(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return inputs[0]


def _reshape(graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any) -> Value:
    return graph.reshape(inputs[0], shape)


def _broadcast(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    broadcast_dimensions: Any,
    **_: Any,
) -> Value:
    short = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, inputs[0].shape, strict=True):
        short[axis] = length
    return graph.expand(graph.reshape(inputs[0], short), shape)


def _transpose(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, permutation: Any
) -> Value:
    return graph.transpose(inputs[0], permutation)


def _concatenate(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, dimension: int, **_: Any
) -> Value:
    inputs = [one for one in inputs if 0 not in one.shape]
    return graph.emit("Concat", inputs, shape, dtype, axis=int(dimension))


def _stack(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, axis: int, **_: Any
) -> Value:
    longer = [graph.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in inputs]
    return _concatenate(graph, longer, shape, dtype, dimension=axis)


def slice_of(
    graph: Graph, x: Value, shape: tuple, starts: Any, ends: Any, steps: Any = None
) -> Value:
    """``x[start:end:step]`` of every axis; the bounds may be values."""
    vectors = [
        one if isinstance(one, Value) else graph.constant(np.array(one, np.int64))
        for one in (starts, ends, range(len(x.shape)), steps or [1] * len(x.shape))
    ]
    return graph.emit("Slice", [x, *vectors], shape, x.dtype)


def _slice(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    start_indices: Any,
    limit_indices: Any,
    strides: Any,
) -> Value:
    return slice_of(graph, inputs[0], shape, start_indices, limit_indices, strides)


def _reverse(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, dimensions: Any
) -> Value:
    steps = [-1 if axis in dimensions else 1 for axis in range(len(shape))]
    starts = [-1 if step < 0 else 0 for step in steps]
    ends = [-(2**31) if step < 0 else 2**31 - 1 for step in steps]
    return slice_of(graph, inputs[0], shape, starts, ends, steps)


def _pad(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, padding_config: Any
) -> Value:
    x, value = inputs
    low, high, inner = zip(*((int(a), int(b), int(c)) for a, b, c in padding_config), strict=True)
    if any(inner):
        raise NotImplementedError
    if min(*low, *high) < 0:
        starts = [max(-one, 0) for one in low]
        ends = [length + min(one, 0) for length, one in zip(x.shape, high, strict=True)]
        cut = [end - start for start, end in zip(starts, ends, strict=True)]
        x = slice_of(graph, x, tuple(cut), starts, ends)
        low, high = (tuple(max(one, 0) for one in some) for some in (low, high))
    if not any(low + high):
        return x
    kind = dtype if dtype in ARITHMETIC else "int32"
    sides = graph.constant(np.array([*low, *high], np.int64))
    made = graph.emit("Pad", [graph.cast(x, kind), sides, graph.cast(value, kind)], shape, kind)
    return graph.cast(made, dtype)


def _iota(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, dimension: int, **_: Any
) -> Value:
    zero, one = (graph.constant(i, "int64") for i in (0, 1))
    length = graph.size(shape[dimension])
    line = graph.emit("Range", [zero, length, one], (shape[dimension],), "int64")
    short = [n if axis == dimension else 1 for axis, n in enumerate(shape)]
    return graph.cast(graph.expand(graph.reshape(line, short), shape), dtype)


RULES: dict[str, Rule] = {
    **{
        name: _node(kind)
        for name, kind in {
            "add": "Add",
            "add_any": "Add",
            "sub": "Sub",
            "mul": "Mul",
            "div": "Div",
            "max": "Max",
            "min": "Min",
            "neg": "Neg",
            "abs": "Abs",
            "sign": "Sign",
            "floor": "Floor",
            "ceil": "Ceil",
            "exp": "Exp",
            "log": "Log",
            "sqrt": "Sqrt",
            "tanh": "Tanh",
            "logistic": "Sigmoid",
            "sin": "Sin",
            "cos": "Cos",
            "erf": "Erf",
            "pow": "Pow",
        }.items()
    },
    **{
        name: _node(kind, result="bool")
        for name, kind in {
            "lt": "Less",
            "le": "LessOrEqual",
            "gt": "Greater",
            "ge": "GreaterOrEqual",
            "eq": "Equal",
        }.items()
    },
    "rem": _node("Mod", fmod=1),
    "ne": _unequal,
    "and": _logical("And", "BitwiseAnd"),
    "or": _logical("Or", "BitwiseOr"),
    "xor": _logical("Xor", "BitwiseXor"),
    "not": _not,
    "select_n": _where,
    "convert_element_type": _cast,
    "rsqrt": _rsqrt,
    "square": _square,
    "integer_pow": _power,
    "is_finite": _is_finite,
    "population_count": _count_bits,
    "shift_left": _shift,
    "stop_gradient": _same,
    "copy": _same,
    "optimization_barrier": _same,
    "reduce_precision": _same,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "slice": _slice,
    "rev": _reverse,
    "pad": _pad,
    "iota": _iota,
}
