"""What a recipe decides, and why."""

from collections.abc import Iterable
from typing import NamedTuple


class Decision(NamedTuple):
    """One line of a plan."""

    what: str  # in a word or two
    value: str  # what was chosen, as a person would write it
    why: str  # the reason, with the number behind it
    doubtful: bool = False  # whether it is a warning: something of the data set speaks against it


def lines(decisions: Iterable[Decision]) -> list[str]:
    """A line for each, in columns."""
    decisions = list(decisions)
    widths = max(len(one.what) for one in decisions), max(len(one.value) for one in decisions)
    return [
        f"{'!' if one.doubtful else ' '} {one.what:{widths[0]}}  {one.value:{widths[1]}}  {one.why}"
        for one in decisions
    ]
