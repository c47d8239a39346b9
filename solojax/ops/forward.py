"""Two ways to one result: one for where it is only wanted, one for where it is differentiated."""

import functools
from collections.abc import Callable

import jax

Function = Callable[..., jax.Array]


def forward_only(fast: Function, direct: Function) -> Function:
    """``fast`` as long as nothing is differentiated, else ``direct``, equal to it but for rounding.

    What is the faster way to a value may keep more for its gradient, or have a slow one.

    Args:
      fast: a function of arrays, without further arguments.
      direct: another of the same arrays; a training has its values and its derivatives.
    """
    function = jax.custom_jvp(fast)
    function.defjvp(functools.partial(jax.jvp, direct))
    return function
