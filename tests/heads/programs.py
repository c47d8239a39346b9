"""Traced programs, to look for what is computed in them without running it."""

from collections.abc import Iterator

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def equations(program: Jaxpr, primitive: str) -> Iterator[JaxprEqn]:
    """Those of a primitive, in the programs inside of a program as well."""
    for equation in program.eqns:
        if equation.primitive.name == primitive:
            yield equation
        inner = jax.tree.leaves(equation.params, is_leaf=_is_program)
        for each in filter(_is_program, inner):
            yield from equations(each.jaxpr if isinstance(each, ClosedJaxpr) else each, primitive)


def _is_program(x: object) -> bool:
    return isinstance(x, Jaxpr | ClosedJaxpr)
