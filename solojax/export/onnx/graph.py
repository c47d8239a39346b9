"""A graph in the making: values, nodes and the loops inside of it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from solojax.export.quantised import Stored

OPSET = 18  # the first with bitwise and; onnxruntime 1.14, of 2023
IR_VERSION = 8  # what goes with it
ARITHMETIC = ("float32", "int32", "int64")  # types that onnxruntime has kernels of all nodes for


LARGEST = 2**16  # elements of what is computed ahead, unless its inputs have as many
_AHEAD: dict[str, Callable[..., Any]] = {  # nodes of constants that are none in the file
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Equal": np.equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Where": np.where,
    "Floor": np.floor,
    "Abs": np.abs,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Neg": np.negative,
    "Mod": lambda x, y, fmod: np.fmod(x, y),
    "Div": lambda x, y: x // y if x.dtype.kind == "i" and min(x.min(), y.min()) >= 0 else x / y,
    "CumSum": lambda x, axis, reverse: np.cumsum(x, int(axis)),
    "ReduceSum": lambda x, axes, keepdims: x.sum(tuple(axes)),
    "ReduceMax": lambda x, axes, keepdims: x.max(tuple(axes)),
    "ReduceMin": lambda x, axes, keepdims: x.min(tuple(axes)),
    "Expand": np.broadcast_to,
    "Range": np.arange,
    "Concat": lambda *some, axis: np.concatenate(some, axis),
    "Einsum": lambda *some, equation: np.einsum(equation, *some),
    "Gather": lambda x, places, axis=0: np.take(x, places, axis),
    "Slice": lambda x, starts, ends, axes, steps: x[
        tuple(
            slice(start, None if abs(end) >= 2**31 - 1 else end, step)
            for start, end, step in zip(starts.tolist(), ends.tolist(), steps.tolist(), strict=True)
        )
    ],
}


class Value(NamedTuple):
    """A tensor of the graph; of a constant its array is known."""

    name: str
    shape: tuple[Any, ...]  # numbers, or names of jax.export's dimensions
    dtype: str
    depth: int = 0  # of the loop that it is computed in
    array: np.ndarray | None = None
    # The name and shape it had before it was repeated along axes of length 1, if it was.
    narrow: tuple[str, tuple[Any, ...]] | None = None
    stored: Stored | None = None  # what the array is made of in the file, if not itself


class Graph:
    """Nodes in the order of their inputs; loops are graphs in it."""

    def __init__(self) -> None:
        # Scalars int64 of the graph by the names of dimensions that are not known.
        self.dimensions: dict[str, Value] = {}
        self.nodes: list[list[onnx.NodeProto]] = [[]]
        self.weights: list[onnx.TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def constant(self, array: Any, dtype: str = "") -> Value:
        """A constant; bfloat16 becomes float32. Written when it is first named in a node."""
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        array = array.astype(dtype) if dtype else array
        return Value("", array.shape, array.dtype.name, 0, array)

    def weight(self, array: Any, stored: Stored) -> Value:
        """A constant that the file keeps in another form."""
        made = self.constant(array)
        return made if stored.values.dtype == made.dtype else made._replace(stored=stored)

    def name_of(self, value: Value) -> str:
        """What it is called in nodes."""
        if value.array is None:
            return value.name
        array = np.ascontiguousarray(value.array)
        key = (value.dtype, value.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.new_name()
            if value.stored is None:
                self.weights.append(
                    numpy_helper.from_array(array.reshape(value.shape), self._known[key])
                )
            else:
                self._restore(value.stored, self._known[key])
        return self._known[key]

    def _restore(self, stored: Stored, name: str) -> None:
        """Adds the node that makes float32 of what the file keeps."""
        kept = [self.name_of(self.constant(x)) for x in stored[:2] if x is not None]
        if stored.scale is None:
            node = helper.make_node("Cast", kept, [name], to=onnx.TensorProto.FLOAT)
        else:
            node = helper.make_node("DequantizeLinear", kept, [name], axis=stored.axis)
        self.nodes[0].append(node)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Value],
        shape: Sequence[Any],
        dtype: str,
        outputs: int = 1,
        **attributes: Any,
    ) -> Value:
        """Adds a node to the innermost loop that it depends on; the last of its outputs."""
        if (known := self._computed(kind, inputs, shape, dtype, attributes)) is not None:
            return known
        depth = max((one.depth for one in inputs), default=0)
        names = [self.new_name() for _ in range(outputs)]
        node = helper.make_node(
            kind,
            [self.name_of(one) for one in inputs],
            names,
            name=f"{kind}_{names[0]}",
            **attributes,
        )
        self.nodes[depth].append(node)
        return Value(names[-1], tuple(shape), dtype, depth)

    def _computed(
        self, kind: str, inputs: Sequence[Value], shape: Sequence[Any], dtype: str, attributes: Any
    ) -> Value | None:
        arrays = [one.array for one in inputs if one.array is not None]
        if kind not in _AHEAD or len(arrays) < len(inputs):
            return None
        if not all(isinstance(one, int | np.integer) for one in shape):
            return None
        if prod(shape) > max([LARGEST, *(one.size for one in arrays)]):
            return None
        return self.constant(_AHEAD[kind](*arrays, **attributes), dtype)

    def rename(self, x: Value, name: str) -> Value:
        """The same by a name for people."""
        self.nodes[x.depth].append(helper.make_node("Identity", [self.name_of(x)], [name]))
        return x._replace(name=name)

    def cast(self, x: Value, dtype: str) -> Value:
        if x.dtype == dtype:
            return x
        if x.array is not None:
            return self.constant(x.array, dtype)
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.emit("Cast", [x], x.shape, dtype, to=to)

    def size(self, dimension: Any) -> Value:
        """A length as an int64 scalar: a number, a dimension's name, or a multiple of one."""
        if isinstance(dimension, int | np.integer):
            return self.constant(int(dimension), "int64")
        *times, name = str(dimension).split("*")
        length = self.dimensions[name]
        if not times:
            return length
        return self.emit("Mul", [length, self.constant(int(times[0]), "int64")], (), "int64")

    def shape(self, shape: Sequence[Any]) -> Value:
        """A shape as an int64 vector."""
        if all(isinstance(one, int | np.integer) for one in shape):
            return self.constant(np.array(shape, np.int64))
        parts = [self.reshape(self.size(one), (1,)) for one in shape]
        return self.emit("Concat", parts, (len(parts),), "int64", axis=0)

    def reshape(self, x: Value, shape: Sequence[Any]) -> Value:
        if tuple(x.shape) == tuple(shape):
            return x
        if x.array is not None:
            made = self.constant(x.array.reshape(shape))
            return made._replace(stored=x.stored and x.stored.reshape(shape))
        return self.emit("Reshape", [x, self.shape(shape)], shape, x.dtype)

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        order = [int(one) for one in order]
        if order == list(range(len(order))):
            return x
        if x.array is not None:
            made = self.constant(np.transpose(x.array, order))
            return made._replace(stored=x.stored and x.stored.transpose(order))
        return self.emit("Transpose", [x], [x.shape[i] for i in order], x.dtype, perm=order)

    def expand(self, x: Value, shape: Sequence[Any]) -> Value:
        """Repeats along axes of length 1; what then takes it elementwise does without."""
        if tuple(x.shape) == tuple(shape):
            return x
        made = self.emit("Expand", [x, self.shape(shape)], shape, x.dtype)
        return made if made.array is not None else made._replace(narrow=(self.name_of(x), x.shape))

    @contextlib.contextmanager
    def loop(self) -> Iterator[list[onnx.NodeProto]]:
        """Begins a loop: the nodes that depend on a value of its depth come into the list."""
        self.nodes.append([])
        try:
            yield self.nodes[-1]
        finally:
            self.nodes.pop()

    @property
    def depth(self) -> int:
        """Of the innermost loop that is open."""
        return len(self.nodes) - 1

    def input(self, shape: Sequence[Any], dtype: str, name: str = "") -> Value:
        """A value that comes from outside of the innermost loop."""
        return Value(name or self.new_name(), tuple(shape), dtype, self.depth)

    def close(
        self, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> onnx.GraphProto:
        """The graph of a loop, or the whole."""
        nodes, outputs = list(nodes), list(outputs)
        for i, one in enumerate(outputs):  # an output is made by a node of the graph itself
            made = {name for node in nodes for name in node.output}
            repeated = [self.name_of(one)] in [[self.name_of(x)] for x in outputs[:i]]
            if self.name_of(one) not in made or repeated:
                name = self.new_name()
                nodes.append(helper.make_node("Identity", [self.name_of(one)], [name]))
                outputs[i] = Value(name, one.shape, one.dtype, one.depth)
        given, found = ([self._described(one) for one in some] for some in (inputs, outputs))
        return helper.make_graph(nodes, "graph", given, found)

    def _described(self, value: Value) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        shape = [one if isinstance(one, int) else str(one) for one in value.shape]
        return helper.make_tensor_value_info(value.name, kind, shape)
