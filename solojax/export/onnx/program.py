"""Walks a traced program and writes each of its equations into a graph."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from onnx import helper

from solojax.export.onnx import elementwise, indexing
from solojax.export.onnx.graph import Graph, Value
from solojax.types import InputError

RULES = elementwise.RULES | indexing.RULES
CALLS = {  # primitives that hold a program, and what it is called there
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


def write(graph: Graph, program: ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
    """Adds a program to a graph; its results.

    Raises:
      InputError: a primitive has no rule.
    """
    constants = [graph.constant(one) for one in program.consts]
    return _walk(graph, program.jaxpr, [*constants, *inputs])


def _walk(graph: Graph, program: Jaxpr, inputs: Sequence[Value]) -> list[Value]:
    values = dict(zip([*program.constvars, *program.invars], inputs, strict=True))

    def of(one: Any) -> Value:
        return (
            graph.constant(one.val, _aval(one).dtype.name)
            if isinstance(one, Literal)
            else values[one]
        )

    wanted: set[Any] = {one for one in program.outvars if not isinstance(one, Literal)}
    needed = []
    for equation in reversed(program.eqns):  # what nobody asks for is left out
        if wanted.intersection(equation.outvars):
            needed.append(equation)
            wanted.update(one for one in equation.invars if not isinstance(one, Literal))
    for equation in reversed(needed):
        made = _write(graph, equation, [of(one) for one in equation.invars])
        values.update(zip(equation.outvars, made, strict=True))
    return [of(one) for one in program.outvars]


def _write(graph: Graph, equation: JaxprEqn, inputs: list[Value]) -> list[Value]:
    name, parameters = equation.primitive.name, equation.params
    if name in CALLS:
        inner = parameters[CALLS[name]]
        if isinstance(inner, ClosedJaxpr):
            return write(graph, inner, inputs)
        return _walk(graph, inner, inputs)
    if name == "platform_index":
        default = next(i for i, one in enumerate(parameters["platforms"]) if one is None)
        return [graph.constant(default, "int32")]
    if name == "cond" and inputs[0].array is not None:
        branch = int(np.clip(inputs[0].array, 0, len(parameters["branches"]) - 1))
        return write(graph, parameters["branches"][branch], inputs[1:])
    if name == "while":
        return _while(graph, parameters, inputs)
    if name == "scan":
        return _scan(graph, parameters, inputs)
    shapes = [tuple(_aval(one).shape) for one in equation.outvars]
    if all(0 in shape for shape in shapes):  # a 0 in the shape of a Reshape means another thing
        return [
            graph.constant(np.zeros(shape), _type(_aval(one).dtype))
            for shape, one in zip(shapes, equation.outvars, strict=True)
        ]
    if name not in RULES and all(one.array is not None for one in inputs):
        return [graph.constant(one) for one in _compute(equation, inputs)]
    dtype = _type(_aval(equation.outvars[0]).dtype)
    try:
        made = RULES[name](graph, inputs, shapes[0], dtype, **parameters)
    except (KeyError, NotImplementedError) as error:
        kinds = ", ".join(f"{one.dtype}{list(one.shape)}" for one in inputs)
        raise InputError(
            f"--to onnx has no rule for the operation {name} of {kinds}; --to stablehlo exports "
            "every network"
        ) from error
    return made if isinstance(made, list) else [made]


def _aval(one: Any) -> Any:
    return one.aval  # of arrays, which have a shape and a type


def _type(dtype: Any) -> str:
    return "float32" if dtype.name == "bfloat16" else dtype.name


def _compute(equation: JaxprEqn, inputs: list[Value]) -> list[Any]:
    """The results of an equation of constants, by JAX."""
    given = [
        np.asarray(x.array, _aval(v).dtype) for x, v in zip(inputs, equation.invars, strict=True)
    ]
    with jax.ensure_compile_time_eval():
        made = equation.primitive.bind(*given, **equation.params)
    return made if equation.primitive.multiple_results else [made]


def _while(graph: Graph, parameters: Any, inputs: list[Value]) -> list[Value]:
    many, more = parameters["cond_nconsts"], parameters["body_nconsts"]
    tested, fixed, carried = inputs[:many], inputs[many : many + more], inputs[many + more :]
    (begin,) = write(graph, parameters["cond_jaxpr"], [*tested, *carried])
    with graph.loop() as nodes:
        number, going = graph.input((), "int64"), graph.input((), "bool")
        before = [graph.input(one.shape, one.dtype) for one in carried]
        after = write(graph, parameters["body_jaxpr"], [*fixed, *before])
        (again,) = write(graph, parameters["cond_jaxpr"], [*tested, *after])
        body = graph.close(nodes, [number, going, *before], [again, *after])
    return loop(graph, None, begin, carried, body, after)


def _scan(graph: Graph, parameters: Any, inputs: list[Value]) -> list[Value]:
    length = parameters["length"]
    if "ft_in" in parameters:  # JAX 0.12
        many, carries, _ = map(len, parameters["ft_in"].unpack())
    else:
        many, carries = parameters["num_consts"], parameters["num_carry"]
    more = many + carries
    fixed, carried, rows = inputs[:many], inputs[many:more], inputs[more:]
    with graph.loop() as nodes:
        number, going = graph.input((), "int64"), graph.input((), "bool")
        before = [graph.input(one.shape, one.dtype) for one in carried]
        place = number
        if parameters["reverse"]:
            place = graph.emit("Sub", [graph.constant(length - 1, "int64"), number], (), "int64")
        row = [graph.emit("Gather", [one, place], one.shape[1:], one.dtype, axis=0) for one in rows]
        after = write(graph, parameters["jaxpr"], [*fixed, *before, *row])
        body = graph.close(nodes, [number, going, *before], [going, *after])
    if parameters["reverse"] and len(after) > len(carried):
        raise NotImplementedError
    made = loop(graph, graph.constant(length, "int64"), None, carried, body, after)
    stacked = [one._replace(shape=(length, *one.shape)) for one in made[len(carried) :]]
    return made[: len(carried)] + stacked


def loop(
    graph: Graph,
    times: Value | None,
    begin: Value | None,
    carried: Sequence[Value],
    body: Any,
    after: Sequence[Value],
) -> list[Value]:
    """The node of a loop, outside of it; what it carries, then what it gathers."""
    given = [*(one for one in (times, begin) if one is not None), *carried]
    names = [graph.name_of(one) if one is not None else "" for one in (times, begin, *carried)]
    depth = max([one.depth for one in given if one.array is None] + [graph.depth])
    made = [Value(graph.new_name(), one.shape, one.dtype, depth) for one in after]
    graph.nodes[depth].append(
        helper.make_node("Loop", names, [one.name for one in made], body=body)
    )
    return made
