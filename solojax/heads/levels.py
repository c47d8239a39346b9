"""The levels of a pyramid that a head wants, and those that there are."""

import jax

from solojax.types import InputError


def check_levels(field: str, levels: tuple[str, ...], pyramid: dict[str, jax.Array]) -> None:
    """Refuses a head's levels that its neck does not give.

    Args:
      field: of the head, that names them.
      levels: such as p3.
      pyramid: what the neck gives.
    """
    if missing := set(levels) - pyramid.keys():
        raise InputError(
            f"head.{field}={levels}: the neck gives {', '.join(pyramid)}, not "
            f"{', '.join(sorted(missing))}"
        )
