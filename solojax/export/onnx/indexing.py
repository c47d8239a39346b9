"""Primitives that multiply, sum up, look for places, or convolve."""

import string
from typing import Any

import numpy as np
from jax import lax

from solojax.export.onnx.elementwise import Rule, slice_of
from solojax.export.onnx.graph import ARITHMETIC, Graph, Value


def _dot(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    dimension_numbers: Any,
    **_: Any,
) -> Value:
    (left_sum, right_sum), (left_batch, right_batch) = dimension_numbers
    left, right = inputs
    letters = iter(string.ascii_lowercase)
    first = [next(letters) for _ in left.shape]
    second = [""] * len(right.shape)
    for mine, other in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        second[other] = first[mine]
    second = [one or next(letters) for one in second]
    free = [one for i, one in enumerate(first) if i not in (*left_sum, *left_batch)]
    free += [one for i, one in enumerate(second) if i not in (*right_sum, *right_batch)]
    result = "".join([*(first[i] for i in left_batch), *free])
    equation = f"{''.join(first)},{''.join(second)}->{result}"
    return graph.emit(
        "Einsum", [graph.cast(one, dtype) for one in inputs], shape, dtype, equation=equation
    )


def _reduce(kind: str) -> Rule:
    def rule(
        graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, axes: Any, **_: Any
    ) -> Value:
        given = tuple(int(one) for one in axes)
        x = inputs[0] if inputs[0].dtype in ARITHMETIC else graph.cast(inputs[0], "int32")
        some = graph.constant(np.array(given, np.int64))
        return graph.cast(graph.emit(kind, [x, some], shape, x.dtype, keepdims=0), dtype)

    return rule


def _argmax(kind: str) -> Rule:
    def rule(
        graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, axes: Any, **_: Any
    ) -> Value:
        made = graph.emit(kind, inputs, shape, "int64", axis=int(axes[0]), keepdims=0)
        return graph.cast(made, dtype)

    return rule


def _top(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, k: int, axis: int, **_: Any
) -> list[Value]:
    wanted = graph.constant(np.array([k], np.int64))
    last = graph.emit("TopK", [inputs[0], wanted], shape, "int64", outputs=2, axis=axis)
    first = last._replace(name=graph.nodes[last.depth][-1].output[0], dtype=dtype)
    return [first, graph.cast(last, "int32")]


def _sort(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    dimension: int,
    num_keys: int,
    **_: Any,
) -> list[Value]:
    """By the first, lesser first; equals stay in their order."""
    if num_keys != 1:
        raise NotImplementedError
    axis, x = int(dimension), inputs[0]
    wanted = graph.constant(np.array([shape[axis]], np.int64))
    order = graph.emit("TopK", [x, wanted], shape, "int64", outputs=2, axis=axis, largest=0)
    return [
        graph.emit("GatherElements", [one, order], shape, one.dtype, axis=axis) for one in inputs
    ]


def _cumulate(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    axis: int,
    reverse: bool,
    **_: Any,
) -> Value:
    where = graph.constant(int(axis), "int64")
    return graph.emit("CumSum", [inputs[0], where], shape, dtype, reverse=int(reverse))


def _gather(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    dimension_numbers: Any,
    slice_sizes: Any,
    mode: Any,
    fill_value: Any,
    **_: Any,
) -> Value:
    """``GatherND``: the axes that are looked up before the rest, and back."""
    x, places = inputs
    numbers = dimension_numbers
    batch, looked = (
        [int(axis) for axis in some]
        for some in (numbers.operand_batching_dims, numbers.start_index_map)
    )
    rest = [axis for axis in range(len(x.shape)) if axis not in (*batch, *looked)]
    single = all(slice_sizes[axis] == 1 for axis in (*batch, *looked))
    whole = all(slice_sizes[axis] == x.shape[axis] for axis in rest)
    gone = sorted(int(axis) for axis in numbers.collapsed_slice_dims) == sorted(looked)
    ordered = list(numbers.start_indices_batching_dims) == list(range(len(batch)))
    if not (single and whole and gone and ordered):
        raise NotImplementedError
    last = np.array([x.shape[axis] - 1 for axis in looked], np.int64)
    places = graph.cast(places, "int64")
    limits = [graph.constant(0, "int64"), graph.constant(last)]
    inside = graph.emit("Max", [places, limits[0]], places.shape, "int64")
    inside = graph.emit("Min", [inside, limits[1]], places.shape, "int64")
    ready = graph.transpose(x, [*batch, *looked, *rest])
    kept = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    order = np.argsort([*kept, *map(int, numbers.offset_dims)])
    made_shape = (*places.shape[:-1], *(x.shape[axis] for axis in rest))
    if not batch and len(looked) == 1:
        flat = graph.reshape(inside, places.shape[:-1])
        made = graph.emit("Gather", [ready, flat], made_shape, x.dtype, axis=0)
    else:
        made = graph.emit("GatherND", [ready, inside], made_shape, x.dtype, batch_dims=len(batch))
    if mode == lax.GatherScatterMode.FILL_OR_DROP:
        good = graph.emit("Equal", [inside, places], places.shape, "bool")
        good = graph.cast(good, "int32")
        good = _reduce("ReduceMin")(graph, [good], places.shape[:-1], "int32", axes=[-1])
        good = graph.reshape(graph.cast(good, "bool"), (*places.shape[:-1], *(1 for _ in rest)))
        kind = x.dtype if x.dtype in ARITHMETIC else "int32"
        filled = [good, graph.cast(made, kind), graph.constant(fill_value, kind)]
        made = graph.cast(graph.emit("Where", filled, made_shape, kind), x.dtype)
    return graph.transpose(made, [int(axis) for axis in order])


def _dynamic_slice(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, *, slice_sizes: Any, **_: Any
) -> Value:
    x = inputs[0]
    starts = _starts(graph, x, inputs[1:], slice_sizes)
    sizes = graph.constant(np.array(slice_sizes, np.int64))
    ends = graph.emit("Add", [starts, sizes], sizes.shape, "int64")
    return slice_of(graph, x, shape, starts, ends)


def _dynamic_update(
    graph: Graph, inputs: list[Value], shape: tuple, dtype: str, /, **_: Any
) -> Value:
    """What is before, the update, and what is behind; along one axis."""
    x, update, *starts = inputs
    axes = [i for i, (n, m) in enumerate(zip(x.shape, update.shape, strict=True)) if n != m]
    if not axes:
        return update
    if len(axes) > 1:
        raise NotImplementedError
    (axis,) = axes
    first = slice_of(graph, _starts(graph, x, starts, update.shape), (1,), [axis], [axis + 1], [1])
    count = graph.constant(np.array([update.shape[axis]], np.int64))
    behind = graph.emit("Add", [first, count], (1,), "int64")
    where = graph.constant(np.array([axis], np.int64))
    zero, end = (graph.constant(np.array([n], np.int64)) for n in (0, x.shape[axis]))
    parts = [
        graph.emit("Slice", [x, *ends, where], x.shape, dtype)
        for ends in ((zero, first), (behind, end))
    ]
    return graph.emit("Concat", [parts[0], update, parts[1]], shape, dtype, axis=axis)


def _starts(graph: Graph, x: Value, starts: list[Value], sizes: Any) -> Value:
    """Where a part begins, moved so that all of it is inside, as an int64 vector."""
    ones = [graph.reshape(graph.cast(one, "int64"), (1,)) for one in starts]
    made = graph.emit("Concat", ones, (len(ones),), "int64", axis=0)
    most = [n - int(size) for n, size in zip(x.shape, sizes, strict=True)]
    made = graph.emit("Max", [made, graph.constant(0, "int64")], made.shape, "int64")
    return graph.emit("Min", [made, graph.constant(np.array(most, np.int64))], made.shape, "int64")


def _convolve(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    dimension_numbers: Any,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_group_count: int,
    batch_group_count: int,
    **_: Any,
) -> Value:
    if set(lhs_dilation) != {1} or batch_group_count != 1:
        raise NotImplementedError
    x = graph.transpose(inputs[0], dimension_numbers.lhs_spec)
    kernel = graph.transpose(inputs[1], dimension_numbers.rhs_spec)
    order = [int(axis) for axis in dimension_numbers.out_spec]
    low, high = zip(*((int(a), int(b)) for a, b in padding), strict=True)
    if min(*low, *high) < 0:
        raise NotImplementedError
    made = graph.emit(
        "Conv",
        [x, kernel],
        [shape[axis] for axis in order],
        dtype,
        pads=[*low, *high],
        strides=[int(one) for one in window_strides],
        dilations=[int(one) for one in rhs_dilation],
        group=int(feature_group_count),
    )
    return graph.transpose(made, np.argsort(order).tolist())


def _window_max(
    graph: Graph,
    inputs: list[Value],
    shape: tuple,
    dtype: str,
    /,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Value:
    """Of the two axes in the middle of four."""
    ends = [window_dimensions[0], window_dimensions[-1], *padding[0], *padding[-1]]
    ones = {*base_dilation, *window_dilation, window_strides[0], window_strides[-1]}
    if len(shape) != 4 or ends != [1, 1, 0, 0, 0, 0] or ones != {1} or dtype != "float32":
        raise NotImplementedError
    x = graph.transpose(inputs[0], [0, 3, 1, 2])
    low, high = zip(*((int(a), int(b)) for a, b in padding[1:3]), strict=True)
    made = graph.emit(
        "MaxPool",
        [x],
        [shape[axis] for axis in (0, 3, 1, 2)],
        dtype,
        pads=[*low, *high],
        kernel_shape=[int(one) for one in window_dimensions[1:3]],
        strides=[int(one) for one in window_strides[1:3]],
    )
    return graph.transpose(made, [0, 2, 3, 1])


RULES: dict[str, Rule] = {
    "dot_general": _dot,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce("ReduceMax"),
    "reduce_and": _reduce("ReduceMin"),
    "argmax": _argmax("ArgMax"),
    "argmin": _argmax("ArgMin"),
    "top_k": _top,
    "sort": _sort,
    "cumsum": _cumulate,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "conv_general_dilated": _convolve,
    "reduce_window_max": _window_max,
}
